"""Distillation in a run from nothing: a new network learns a text and what a trained one predicts of it.

`lmworks distill` begins with a part of the teacher, and keeps what it predicts on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from lmworks.basics.errors import ConfigError
from lmworks.objectives.declaration import ObjectiveKind, ObjectiveSettings

if TYPE_CHECKING:
    from lmworks.objectives.distillation import Distillation


class DistillationSettings(ObjectiveSettings):
    """Of learning from a trained model."""

    teacher: str = "smollm2"
    """The model that is learnt from; `tokenizer` must be its own."""

    share: float = Field(default=0.5, ge=0, le=1)
    """Of the loss, the teacher's predictions; the rest is the text's own tokens."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Both distributions are made flatter by it before they are compared; the loss is multiplied by its square."""

    states: float = Field(default=0.0, ge=0)
    """Times 1 - the cosine between the last states of the two; where they are not equally wide, a linear map to the
    teacher's is trained along, and thrown away."""

    def plain(self) -> Self:
        """The text alone."""
        return self.but(share=0.0, states=0.0)


def _make(settings: DistillationSettings, tokenizer: Any) -> Distillation:
    """ConfigError for a teacher of another vocabulary, or one that does not write."""
    from lmworks.language_model import LanguageModel
    from lmworks.models.precision import fast_dtype
    from lmworks.objectives.distillation import Distillation
    from lmworks.objectives.predicting import predictions_by

    if not settings.share and not settings.states:
        return Distillation(None, 0.0, settings.temperature)
    teacher = LanguageModel.load(settings.teacher, dtype=fast_dtype())
    teacher.must_write()
    if teacher.tokenizer.words != tokenizer.words:
        raise ConfigError(
            f"{{at}}objective.teacher is {settings.teacher}, which has another vocabulary than the text's tokenizer; "
            f"set {{at}}tokenizer = {settings.teacher!r}"
        )
    return Distillation(
        predictions_by(teacher.network),
        settings.share,
        settings.temperature,
        settings.states,
        teacher.network.head_weight.shape[1],
    )


def _planned(settings: DistillationSettings, vocabulary: int) -> Distillation:
    from lmworks.objectives.distillation import Distillation

    return Distillation(None, 0.0, settings.temperature)


DISTILLATION = ObjectiveKind(
    "distillation",
    "each next token, and what a teacher predicts in its place",
    DistillationSettings,
    "decoder",
    _make,
    planned=_planned,
)

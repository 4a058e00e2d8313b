"""DistillRecipe: everything that shapes a run of `lmworks distill`.

recipe = DistillRecipe.read("distill", ["student.layers=15", "training.steps=400"])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.config import Config, merge, overrides
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.recipe import DataSettings, EvaluationSettings, ModelSettings
from lmworks.training.settings import TrainingConfig


class StudentSettings(Config):
    """What the student is: a part of its teacher, or a model that is there."""

    reference: str | None = None
    """A model with the teacher's vocabulary, of any family; None for a part of the teacher."""

    layers: int | None = Field(default=None, gt=0)
    """Layers of the teacher that the student begins with, half of them from each end; None for all."""

    hidden_dim: int | None = Field(default=None, gt=0)
    """Units inside each feed-forward that the student begins with, those that weigh most; None for all."""


class TeachingSettings(Config):
    """What the student learns of its teacher."""

    share: float = Field(default=0.5, ge=0, le=1)
    """Of the loss, the teacher's predictions; the rest is the text's own tokens (hard labels). 0 asks no teacher."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Both distributions are made flatter by it before they are compared; the loss is multiplied by its square."""

    samples: int = Field(default=64, ge=0, le=4096)
    """Tokens drawn from each of the teacher's predictions, which are kept on disk for other students and epochs; 0 to
    ask the teacher for the whole distribution at each step."""

    tokens: int | None = Field(default=300_000, gt=0)
    """At most about this many tokens of the text are learnt, and asked of the teacher; None for all."""

    states: float = Field(default=0.0, ge=0)
    """Times 1 - the cosine between the last states of student and teacher is added (DistilBERT); a student of another
    width learns a linear map to its teacher's, which is thrown away (TinyBERT). Needs samples = 0."""

    written: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows that the teacher writes itself (sequence-level distillation)."""

    cache_mb: float = Field(default=4_000.0, gt=0)
    """At most this much of the disk is taken by what teachers were asked; the oldest goes first."""

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.states and self.samples:
            raise ConfigError(
                "{at}states needs the teacher at each step, and {at}samples keeps its predictions alone; set "
                "{at}samples = 0, or leave out {at}states"
            )
        return self


class DistillRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks distill`."""

    explain_as: ClassVar[str] = "distill"

    kind = "distill"

    teacher: ModelSettings = ModelSettings()
    student: StudentSettings = StudentSettings()
    data: DataSettings = DataSettings()
    teaching: TeachingSettings = TeachingSettings()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig(learning_rate=3e-4)
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _one_student(self) -> Self:
        parts = self.student.layers is not None or self.student.hidden_dim is not None
        if parts and self.student.reference is not None:
            raise ConfigError(
                "{at}student.layers or {at}student.hidden_dim (--layers) and {at}student.reference (--student) "
                "contradict each other; give one of them"
            )
        if not parts and self.student.reference is None:
            raise ConfigError(
                "a student is a part of its teacher or a model that is there; give {at}student.layers (or "
                "{at}student.hidden_dim), or {at}student.reference: --layers or --student on the command line"
            )
        return self


def with_arguments(
    recipe: str | Path | DistillRecipe,
    changes: Sequence[str] = (),
    teacher: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    layers: int | None = None,
    student: str | os.PathLike[str] | None = None,
) -> DistillRecipe:
    """The recipe with what a call says in its place; ConfigError for what makes no sense."""
    given = {
        "teacher.reference": teacher,
        "data.text": None if data is None else str(data),
        "student.layers": layers,
        "student.reference": student,
    }
    said = [f"{name}={value}" for name, value in given.items() if value is not None]
    if not isinstance(recipe, DistillRecipe):
        return DistillRecipe.read(recipe, [*said, *changes])
    return DistillRecipe(**merge(recipe.model_dump(), overrides([*said, *changes])))

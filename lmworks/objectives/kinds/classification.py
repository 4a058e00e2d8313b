"""Classification: the class of a text, or of each of its tokens. The rows are `lmworks.tokens.pairs.TextClasses`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError
from lmworks.models.families.bert import BERT
from lmworks.objectives.declaration import FullRow, ObjectiveKind, SmoothedSettings
from lmworks.objectives.loss import Loss, OfStates, check_strength
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.basics.arrays import Float
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class Classification(OfStates):
    """Cross-entropy of the network's classifier, over what has a class."""

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over the classes (Szegedy et al. 2016, section 7)."""

    def __post_init__(self) -> None:
        check_strength("label_smoothing", self.label_smoothing, below=1.0)

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss of a batch; ConfigError where it has no classes, or others than the network's classifier judges."""
        import torch.nn.functional as F

        if batch.classes is None:
            raise ConfigError("Classification needs texts with their classes; train on TextClasses")
        of = "tokens" if batch.classes.ndim == 2 else "texts"
        if network.config.labels_of != of:
            raise ConfigError(
                f"the rows have classes of {of}, and the network's classifier judges {network.config.labels_of}; set "
                f"labels_of = {of!r} in its config"
            )
        scores = network.classify(hidden, batch.documents >= 0)
        (count,) = self.counts(batch)
        total = F.cross_entropy(
            scores.flatten(0, -2),
            batch.classes.flatten(),
            ignore_index=IGNORE,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return Loss(total, count)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Texts, or tokens, that have a class."""
        return (0 if batch.classes is None else int((batch.classes != IGNORE).sum()),)


def _make(settings: SmoothedSettings, tokenizer: Any) -> Classification:
    return Classification(label_smoothing=settings.label_smoothing)


CLASSIFICATION = ObjectiveKind(
    "classification",
    "the class of a text, from records with a prompt and its response",
    SmoothedSettings,
    "encoder",
    _make,
    task="classifying",
    network={"family": "bert", **BERT.fixed, "activation": "gelu", "segments": 2, "pooler": True},
    row=lambda settings, context: FullRow(context, 0, 0, classes=True),
    paired=True,
    labelled=True,
)

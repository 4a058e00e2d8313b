"""Two texts in a row: does the second go on from the first, or were they swapped?

    MaskedLM.of(tokenizer) + NextSentence()

The rows are `lmworks.tokens.sentence_pairs`; the classifier is the network's, over its pooled state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmworks.basics.errors import ConfigError
from lmworks.objectives.declaration import ObjectiveKind
from lmworks.objectives.kinds.masked import MASKED
from lmworks.objectives.loss import Loss, OfStates
from lmworks.objectives.token_objective import require_arrangement
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.pair_labels import NEXT_SENTENCE, SENTENCE_ORDER

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.basics.arrays import Float
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class _OfPairs(OfStates):
    """Cross-entropy of the class of each pair."""

    labels: tuple[str, ...] = ()

    def fits(self, network: Network) -> None:
        """ConfigError for a network that is no encoder, or does not tell two classes."""
        require_arrangement(network, self, "encoder", "reads two texts at once")
        if network.config.labels_of != "texts":
            raise ConfigError(
                f"{type(self).__name__} tells classes of texts, and the network's classifier judges "
                f"{network.config.labels_of}; set labels_of = 'texts' in its config"
            )
        if len(network.config.labels) != 2:
            raise ConfigError(
                f"{type(self).__name__} tells two classes, and the network has {len(network.config.labels)} labels; "
                f"set labels to {self.labels} in its config"
            )

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss of a batch of pairs; ConfigError where it has none."""
        import torch.nn.functional as F

        if batch.classes is None:
            raise ConfigError(f"{type(self).__name__} needs pairs of texts with their classes; train on SentencePairs")
        scores = network.classify(hidden, batch.documents >= 0)
        (count,) = self.counts(batch)
        return Loss(F.cross_entropy(scores, batch.classes, ignore_index=IGNORE, reduction="sum"), count)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Pairs."""
        return (0 if batch.classes is None else int((batch.classes != IGNORE).sum()),)


@dataclass(eq=False)
class NextSentence(_OfPairs):
    """Is the second text what follows the first, or from elsewhere? (Devlin et al. 2018, section 3.1)"""

    labels: tuple[str, ...] = NEXT_SENTENCE


@dataclass(eq=False)
class SentenceOrder(_OfPairs):
    """Are two texts that follow one another in their order, or swapped? (Lan et al. 2019, section 3.1)"""

    labels: tuple[str, ...] = SENTENCE_ORDER


def _with_masked(objective: type[NextSentence | SentenceOrder], name: str, asks: str) -> ObjectiveKind:
    """Masked tokens of pairs of texts, and an objective of the pairs."""
    assert MASKED.planned is not None
    make, row, planned = MASKED.make, MASKED.row, MASKED.planned
    return replace(
        MASKED,
        name=f"masked+{name}",
        summary=f"masked tokens, and {asks}",
        make=lambda settings, tokenizer: make(settings, tokenizer) + objective(),
        task=f"filling+{name}",
        network={**MASKED.network, "pooler": True, "labels": objective.labels},
        row=lambda settings, context: replace(row(settings, context), pair=True, classes=True),
        planned=lambda settings, vocabulary: planned(settings, vocabulary) + objective(),
    )


MASKED_NEXT = _with_masked(NextSentence, "next-sentence", "whether a second text goes on from the first (BERT)")
MASKED_ORDER = _with_masked(SentenceOrder, "sentence-order", "whether two texts were swapped (ALBERT)")

"""Learning from pairs of answers: the better one is to become more probable, measured against the worse one.

    objective = Preference(DPO, DPOSettings(beta=0.1))

What is made of the two probabilities is said by a file of lmworks/objectives/preferences, which declares a
PreferenceLoss. Recipes are read without torch: such a file imports it inside its function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.basics.config import Config
from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError
from lmworks.objectives.loss import Loss, OfStates
from lmworks.objectives.token_objective import require_arrangement
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.basics.arrays import Float, Int
    from lmworks.models.network import Network
    from lmworks.objectives.labels import WrongLabels
    from lmworks.tokens.batch import Batch


@dataclass(frozen=True)
class Answers:
    """One answer of each of some pairs."""

    log_probability: Float[Tensor, " pairs"]
    """Summed over its tokens, in nats."""
    reference: Float[Tensor, " pairs"]
    """The same under the reference: the model before it was trained."""
    tokens: Int[Tensor, " pairs"]
    """How many it has, its end included."""

    @property
    def reward(self) -> Float[Tensor, " pairs"]:
        """How much more probable it is than under the reference, in nats: DPO's implicit reward, without beta."""
        return self.log_probability - self.reference


@dataclass(frozen=True)
class PreferenceLoss:
    """One way to learn from pairs."""

    name: str
    """`loss` in a recipe of `lmworks prefer`, and the name of the table with its settings."""
    summary: str
    """What it does, in a clause."""
    settings: type[Config]
    """The table; its docstrings are the help. Each has a `beta`."""
    of: Callable[[Answers, Answers, Any], Float[Tensor, " pairs"]]
    """The loss of each pair, from the better answers, the worse ones, and the settings."""
    looks_back: bool = True
    """It reads `Answers.reference`."""


def preference_losses() -> dict[str, PreferenceLoss]:
    """Every loss that is declared, by name."""
    return declared("lmworks.objectives.preferences", PreferenceLoss)


class Preference(OfStates):
    """A loss over pairs of answers, and cross-entropy over whatever else stands in the rows (old text that is
    rehearsed), each a mean over its own count."""

    def __init__(self, loss: PreferenceLoss, settings: Config) -> None:
        self.loss, self.settings = loss, settings

    def states(self, network: Network, batch: Batch) -> Float[Tensor, "batch seq dim"]:
        """See OfStates."""
        return network.hidden(batch.tokens, documents=batch.documents)

    def fits(self, network: Network) -> None:
        """ConfigError for a network that is no decoder."""
        require_arrangement(network, self, "decoder", "compares what follows a prompt")

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss of a batch."""
        sums, sizes, places = sums_by_document(network, batch, hidden)
        references = _references(batch).to(sums.device)[places]
        paired = ~references.isnan()
        better, worse = (
            Answers(sums[paired][side::2], references[paired][side::2].to(sums.dtype), sizes[paired][side::2])
            for side in (0, 1)
        )
        pairs, others = self.counts(batch)
        found = Loss(self.loss.of(better, worse, self.settings).sum(), pairs)
        return found + Loss(-sums[~paired].sum(), others)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Pairs, and supervised tokens of documents that are in none."""
        paired = ~_references(batch).isnan()
        inside = paired.gather(0, _places(batch).flatten()) & (batch.labels != IGNORE).flatten()
        return int(paired.sum()) // 2, batch.supervised - int(inside.sum())

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """See Objective: the labels are the next tokens."""
        from lmworks.objectives.labels import next_tokens

        return next_tokens(prepared)


def sums_by_document(
    network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]
) -> tuple[Float[Tensor, " documents"], Int[Tensor, " documents"], Int[Tensor, " documents"]]:
    """Of each document with supervised tokens: their log-probability, their number, and its place among all documents
    of the batch, row by row. ConfigError for an adaptive softmax."""
    import torch

    from lmworks.objectives.cross_entropy import log_probabilities

    labels = batch.labels.flatten()
    rows = (labels != IGNORE).nonzero()[:, 0]
    found = list(network.softmaxes(hidden.flatten(0, 1)[rows], labels[rows]))
    if len(found) != 1:
        raise ConfigError("answers are compared by a plain softmax, and the network has an adaptive one")
    [(states, head, wanted)] = found
    each = log_probabilities(states, head, wanted, network.config.logit_cap)
    places, sizes = _places(batch).flatten()[rows].unique_consecutive(return_counts=True)
    return torch.stack([part.sum() for part in each.split(sizes.tolist())]), sizes, places


def _references(batch: Batch) -> Float[Tensor, " documents"]:
    """Of each place for a document, row by row, its reference; NaN where it has none."""
    if batch.references is not None:
        return batch.references.flatten()
    return batch.tokens.new_full((len(batch.tokens) * _width(batch),), 0).double().fill_(float("nan"))


def _places(batch: Batch) -> Int[Tensor, "batch seq"]:
    """The place of each token's document among all; of padding any place of its row."""
    import torch

    rows = torch.arange(len(batch.tokens), device=batch.tokens.device)[:, None]
    return rows * _width(batch) + batch.documents.clamp_min(0)


def _width(batch: Batch) -> int:
    """Places for documents in a row."""
    return int(batch.documents.max()) + 1 if batch.references is None else batch.references.shape[1]

"""Loss and Objective: what an objective returns, and how objectives add up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:  # recipes are read without torch
    from torch import Tensor

    from lmworks.basics.arrays import Float
    from lmworks.models.network import Network
    from lmworks.objectives.labels import WrongLabels
    from lmworks.tokens.batch import Batch


@dataclass(frozen=True)
class Loss:
    """A sum and what it runs over: the mean is taken over a whole step, never over a micro-batch.

    Losses that count different things (tokens, sentences, a penalty that counts nothing) add up as parts, and each
    part is divided by its own count over the whole step. To divide one by another's count would give a gradient
    that depends on how the step was split.
    """

    total: Float[Tensor, ""]
    """Summed over what is counted, with its graph; in nats where it is a cross-entropy."""
    count: int
    """How many there were: supervised tokens, for most objectives."""
    others: tuple[Loss, ...] = ()
    """What was added to it, each with a count of its own."""

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.total, self.count, (*self.others, Loss(other.total, other.count), *other.others))

    @property
    def counts(self) -> tuple[int, ...]:
        """The count of each part."""
        return (self.count, *(other.count for other in self.others))

    @property
    def mean(self) -> Float[Tensor, ""]:
        """The mean of this batch alone: each part's mean over its own count, added up."""
        return self.over(self.counts)

    def over(self, counts: Sequence[float]) -> Float[Tensor, ""]:
        """This batch's share of the mean over a step, given what each part counts in the whole step."""
        mean = self.total / max(counts[0], 1)  # what counts nothing adds nothing
        for other, count in zip(self.others, counts[1:], strict=True):
            mean = mean + other.total / max(count, 1)
        return mean


class Objective(ABC):
    """Something to minimise. `a + b` minimises the mean of a plus the mean of b, each over what it counts itself."""

    @abstractmethod
    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch."""

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """What each part of the batch's loss will count: known before the network runs, because the first of
        several micro-batches is divided by the counts of all. Supervised tokens unless an objective says otherwise."""
        return (batch.supervised,)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The batch as this objective wants it (tokens masked, a prefix drawn), before it is counted and read.

        `seeds` has one seed for each row, made of the run's seed, the epoch and the row's place, so that a step does
        not depend on how it was split into micro-batches.
        """
        return batch

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """Where the labels of a batch are not what they should be: for `lmworks check`. Unless an objective says
        otherwise, the tokens that stood there before `prepare`."""
        from lmworks.objectives.labels import in_their_place

        return in_their_place(plain, prepared)

    def parts(self) -> list[Objective]:
        """What is added up."""
        return [self]

    @contextmanager
    def beside(self, network: Network) -> Iterator[None]:
        """Entered while the objectives before this one in a sum run: one that judges their pass watches it here."""
        yield

    @contextmanager
    def along(self, network: Network) -> Iterator[None]:
        """Entered for the length of a run, before its optimiser is made: what the objective trains along with the
        network, and throws away afterwards, is a part of the network within it."""
        yield

    def __add__(self, other: Objective) -> Objective:
        return Sum(self, other)


class OfStates(Objective):
    """An objective of the states that an encoder gives a batch's own tokens; a sum of several has them made once."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch."""
        self.fits(network)
        return self.of_states(network, batch, self.states(network, batch))

    def states(self, network: Network, batch: Batch) -> Float[Tensor, "batch seq dim"]:
        """The states after the last norm."""
        return network.hidden(batch.tokens, documents=batch.documents, segments=batch.segments)

    def fits(self, network: Network) -> None:
        """ConfigError for a network that has not what the objective needs."""

    @abstractmethod
    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss of a batch whose states are at hand."""


class Sum(Objective):
    """Two objectives as one."""

    def __init__(self, first: Objective, second: Objective) -> None:
        self.first, self.second = first, second

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """Both losses, part by part."""
        hidden: Tensor | None = None
        losses = []
        with ExitStack() as stack:
            for part in self.parts():
                stack.enter_context(part.beside(network))
            for part in self.parts():
                if isinstance(part, OfStates):
                    part.fits(network)
                    hidden = part.states(network, batch) if hidden is None else hidden
                    losses.append(part.of_states(network, batch, hidden))
                else:
                    losses.append(part(network, batch))
        first, *others = losses
        return sum(others, first)

    def parts(self) -> list[Objective]:
        """What is added up, sums within it opened."""
        return self.first.parts() + self.second.parts()

    @contextmanager
    def along(self, network: Network) -> Iterator[None]:
        """What either trains along."""
        with self.first.along(network), self.second.along(network):
            yield

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """As the first says: the others predict nothing, or classes."""
        return self.first.wrong_labels(plain, prepared)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """As both want it, the first before the second."""
        return self.second.prepare(self.first.prepare(batch, seeds), seeds)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """The counts of both, part by part."""
        return self.first.counts(batch) + self.second.counts(batch)


def check_strength(name: str, value: float, below: float = float("inf")) -> None:
    """ConfigError unless 0 <= value < below."""
    if not 0.0 <= value < below:
        bound = "a finite number" if below == float("inf") else f"below {below:g}"
        raise ConfigError(f"{name} is {value!r}; it must be at least 0 and {bound}")

"""One run by one process or by several: what the training loop asks of its processes (ranks), and one process' answers.

    with joined() as ranks:                    # as many as torchrun started; ALONE without it (`processes.py`)
        text = ranks.first_alone(read)         # rank 0 reads, the others wait; an error is everybody's
        train(network, objective, rows, config, folder, ranks=ranks)

Whoever writes for `Ranks` writes for any number. `lmworks.training.distributed` has the answers of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from lmworks.models.network import Network
from lmworks.objectives import Loss, Objective
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

T = TypeVar("T")
Places = tuple[int, list[int]]
"""The epoch of a micro-batch and the rows that it is made of."""


class Ranks:
    """The processes of a run, seen from one of them; this class is the only one of its run."""

    rank = 0
    """Its number."""
    size = 1
    """How many there are."""
    device = torch.device("cpu")
    """Where its part of the network is."""

    @property
    def first(self) -> bool:
        """Does it speak and write for all?"""
        return self.rank == 0

    def together(self, work: Callable[[], T]) -> T:
        """What `work` gives on this rank; an LmworksError that it raises on any rank is raised on all of them."""
        return work()

    def first_alone(self, work: Callable[[], T]) -> T | None:
        """Done on rank 0 while the others wait; they get None, or its LmworksError."""
        return self.together(lambda: work() if self.first else None)

    def agree(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """ConfigError on every rank, which names the first fact that differs, unless all ranks give equal ones."""

    def same(self, value: T) -> T:
        """Rank 0's value on every rank."""
        return value

    def gather(self, value: T) -> list[T]:
        """Every rank's value, on every rank."""
        return [value]

    def total(self, values: Sequence[float]) -> list[float]:
        """Each of the values summed over the ranks."""
        return list(values)

    def seed(self, seed: int) -> None:
        """Random numbers from here on: another sequence on each rank."""
        torch.manual_seed(seed + self.rank)

    def check(self, config: TrainingConfig) -> None:
        """ConfigError where this number of processes cannot make this run."""

    def micro_batches(self, config: TrainingConfig) -> int:
        """How many of a step's micro-batches it takes part in."""
        return config.accumulate

    def share(self, config: TrainingConfig, micro_batches: Iterable[Places]) -> Iterator[tuple[int, list[int], bool]]:
        """Its part of each micro-batch, given all of them from the beginning of a step on.

        False where the part is empty and a row stands in for it, whose loss must not count.
        """
        return ((epoch, places, True) for epoch, places in micro_batches)

    @contextmanager
    def holding(self, network: Network, config: TrainingConfig) -> Iterator[Network]:
        """The network to be trained, in this rank's part; at the end the given one has what was learnt, whole."""
        yield network

    def loss(self, objective: Objective, network: Network, batch: Batch, *, last: bool) -> Loss:
        """The loss of this rank's micro-batch, the `last` of its step or an earlier one."""
        return objective(network, batch)

    def backward(self, share: Tensor) -> None:
        """Add a share of the step's mean loss to the gradients; after the last they are those of all ranks' shares."""
        share.backward()

    def measured(self, measure: Callable[[Network], float], network: Network) -> float:
        """A figure of the network as it is now: every rank measures, and rank 0's counts."""
        return measure(network)


ALONE = Ranks()

"""Deep networks with attention, residual connections or norms taken away, trained as well as they can be.

network = fresh("without residual", seed, depth=12, dim=48)
trial = Trial(data, dim=48, steps=150)
bits = trial.bits("without norm", depth=12, rate=trial.rate("without norm", 12, (1e-3, 4e-3)), seed=1)
power, endless = trial.highest("whole", depth=12, seed=1, lowest=4e-3, most=5)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.deep_network import deep_network
from lmworks.lab.bench.rates import SWEEP, best_rate
from lmworks.lab.bench.small_network import (
    WARMUP,
    ByteText,
    bits_per_byte,
    frequency_bits,
    held_out_logits,
    train,
)
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.models.scheme import Scheme
from lmworks.training.loop import DivergedError
from lmworks.training.settings import TrainingConfig

WHOLE, AVERAGES, NO_RESIDUAL, NO_NORM, NEITHER = KINDS = (
    "whole",
    "averages for attention",
    "without residual",
    "without norm",
    "without both",
)
SETTINGS: dict[str, dict[str, Any]] = {
    NO_RESIDUAL: {"residual": False},
    NO_NORM: {"norm": "none"},
    NEITHER: {"residual": False, "norm": "none"},
}
CONTEXT = 32
Text = Int[Tensor, " bytes"]


def fresh(kind: str, seed: int, depth: int, dim: int, scheme: Scheme = "width") -> Network:
    """Fresh weights by seed; the one with averages is to be used within `as_kind`."""
    return deep_network(seed, depth, dim, CONTEXT, scheme=scheme, **SETTINGS.get(kind, {}))


@contextlib.contextmanager
def as_kind(kind: str, network: Network) -> Iterator[None]:
    """For AVERAGES, attention takes the mean of all that it sees: every score is 0. For others nothing changes."""
    paths = [path for path in hook_points(network) if path.endswith("attention.scores")] if kind == AVERAGES else []
    with hooked(network, dict.fromkeys(paths, lambda scores: torch.where(scores == -torch.inf, scores, 0.0))):
        yield


@dataclass(frozen=True)
class Trial:
    """How networks are trained: all alike but for what is taken away, their depth and the learning rate."""

    data: ByteText
    dim: int
    steps: int
    windows: int = 100

    def bits(self, kind: str, depth: int, rate: float, seed: int, judged: Text | None = None) -> float:
        """Bits per byte of the held-out text, or of another, after training; DivergedError where a loss is not
        finite."""
        network = fresh(kind, seed, depth, self.dim)
        config = TrainingConfig(steps=self.steps, rows=16, learning_rate=rate, warmup=WARMUP, seed=seed)
        with as_kind(kind, network):
            train(network, self.data.train, config)
            text = self.data.held_out if judged is None else judged
            return bits_per_byte(*held_out_logits(network, text, self.windows))

    def rate(self, kind: str, depth: int, rates: Sequence[float]) -> float:
        """The best of these rates on the text for choosing."""
        return best_rate(rates, lambda rate: self.bits(kind, depth, rate, SWEEP, self.data.choose))

    def learns(self, kind: str, depth: int, rate: float, seed: int) -> bool:
        """Whether it comes to know more than the frequencies of bytes."""
        try:
            return self.bits(kind, depth, rate, seed) < frequency_bits(self.data)
        except DivergedError:
            return False

    def highest(self, kind: str, depth: int, seed: int, lowest: float, most: int) -> tuple[int, bool]:
        """How often the lowest rate can be made four times as large before this network fails to learn; see
        `last_before_failure`."""
        return last_before_failure(lambda power: self.learns(kind, depth, lowest * 4**power, seed), most)


def last_before_failure(learns: Callable[[int], bool], most: int) -> tuple[int, bool]:
    """The number before the first, from 0 on, at which a network fails to learn, and whether no end was found either
    way: it fails at once, or it never does."""
    for number in range(most + 1):
        if not learns(number):
            return max(number - 1, 0), number == 0
    return most, True

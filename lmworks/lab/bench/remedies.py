"""A small network that learns a small text by heart, with remedies against it.

setting = Setting(byte_text("tinyshakespeare"), train_bytes=6_000, steps=600, dim=96, rows=8)
remedy = chosen(setting, [Remedy(dropout=0.1), Remedy(dropout=0.2)], seed=0)
run = trained(setting, remedy, seed=100)
run.at_best, run.last       # bits per byte of text that no choice has seen
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import WARMUP, ByteText, small_network
from lmworks.lab.bench.training import fit
from lmworks.models.network import Network
from lmworks.objectives import L1, L2, CausalLM, Objective
from lmworks.training.settings import TrainingConfig

LAYERS, CONTEXT, RATE = 1, 64, 5e-3
VALIDATIONS = 16
WINDOWS = 200
"""Of each text, at every validation."""


@dataclass(frozen=True)
class Remedy:
    """What is done against overfitting; nothing by default."""

    l1: float = 0.0
    l2: float = 0.0
    decay: float = 0.0
    dropout: float = 0.0

    @property
    def strength(self) -> float:
        """Of a remedy that has one alone."""
        return self.l1 + self.l2 + self.decay + self.dropout

    def weaker(self, share: float) -> Remedy:
        """The same with a share of each strength."""
        return Remedy(**{one.name: share * getattr(self, one.name) for one in fields(self)})

    def with_all_of(self, other: Remedy) -> Remedy:
        """Both together, where each has strengths of its own."""
        return replace(self, **{one.name: value for one in fields(other) if (value := getattr(other, one.name))})


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    data: ByteText
    train_bytes: int
    steps: int
    dim: int
    rows: int

    def piece(self, seed: int) -> Int[Tensor, " bytes"]:
        """The small text of a seed: other seeds learn other pieces, as far as the text goes."""
        places = max(len(self.data.train) // self.train_bytes, 1)
        start = seed % places * self.train_bytes
        return self.data.train[start : start + self.train_bytes]


@dataclass(frozen=True)
class Curve:
    """Bits per byte along one run."""

    steps: tuple[int, ...]
    """Steps done at each validation."""
    choose: tuple[float, ...]
    """Text that strengths are chosen and training is stopped by, at each validation."""
    held_out: tuple[float, ...]
    """The judged text, at each validation."""
    train: float
    """The text that was trained on, by the network that is left (the restored one, where training was stopped)."""
    end: float
    """The judged text, by that network."""

    @property
    def best(self) -> int:
        """The number of the validation with the lowest loss on the text for choosing."""
        return min(range(len(self.choose)), key=self.choose.__getitem__)

    @property
    def at_best(self) -> float:
        """The judged text at that validation."""
        return self.held_out[self.best]


def chosen(setting: Setting, candidates: Sequence[Remedy], seed: int) -> Remedy:
    """The remedy whose run comes lowest on the text for choosing, at a seed that is not judged."""

    def lowest(remedy: Remedy) -> float:
        losses: list[float] = []
        _train(setting, remedy, seed, losses=losses)
        return min(losses)

    return min(candidates, key=lowest) if len(candidates) > 1 else candidates[0]


def trained(setting: Setting, remedy: Remedy, seed: int, patience: int | None = None) -> Curve:
    """Train one network with one remedy, and measure it on the three texts; with `patience` it stops and goes back."""
    losses: list[float] = []
    held_out: list[float] = []
    network, steps = _train(setting, remedy, seed, patience, losses, held_out)
    return Curve(
        steps=steps,
        choose=tuple(map(_bits, losses)),
        held_out=tuple(map(_bits, held_out)),
        train=_bits(nats_per_byte(network, setting.piece(seed), WINDOWS)),
        end=_bits(nats_per_byte(network, setting.data.held_out, WINDOWS)),
    )


def _train(
    setting: Setting,
    remedy: Remedy,
    seed: int,
    patience: int | None = None,
    losses: list[float] | None = None,
    held_out: list[float] | None = None,
) -> tuple[Network, tuple[int, ...]]:
    """The network and the steps of its validations; the losses there are appended to the lists."""
    plain = small_network(seed, dim=setting.dim, layers=LAYERS, context=CONTEXT)
    network = Network(plain.config.but(dropout=remedy.dropout)).initialise(seed)
    config = TrainingConfig(
        context=CONTEXT,
        rows=setting.rows,
        steps=setting.steps,
        learning_rate=RATE,
        warmup=WARMUP,
        weight_decay=remedy.decay,
        evaluate_every=max(setting.steps // VALIDATIONS, 1),
        patience=patience,
        seed=seed,
    )
    objective: Objective = CausalLM()
    if remedy.l1:
        objective = objective + L1(remedy.l1)
    if remedy.l2:
        objective = objective + L2(remedy.l2)

    def validate(network: Network) -> float:
        if held_out is not None:
            held_out.append(nats_per_byte(network, setting.data.held_out, WINDOWS))
        loss = nats_per_byte(network, setting.data.choose, WINDOWS)
        if losses is not None:
            losses.append(loss)
        return loss

    result = fit(network, objective, byte_rows(setting.piece(seed), CONTEXT), config, validate)
    return network, tuple(step for step, _ in result.validation)


def _bits(nats: float) -> float:
    return nats / math.log(2)

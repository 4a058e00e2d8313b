"""A small network that learns a second text after a first, by several ways. What claims 4, 14, 29 and 35 compare.

texts = TwoTexts.read("tinyshakespeare", "multi30k-de", windows=200)
base = texts.first_learnt(steps=400, dim=64, seed=0)
tuned = texts.second(base, steps=100, seed=0).tuned(lora(8))
after = texts.scores(tuned)                     # bits per byte of each window of both
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.merge_settings import MergeSettings
from lmworks.adaptation.merging import merged
from lmworks.adaptation.methods import METHODS
from lmworks.basics.arrays import Float, Int
from lmworks.evaluation.forgetting import at_equal_gain
from lmworks.lab.bench.small_network import (
    ByteText,
    byte_text,
    held_out_logits,
    named,
    random_windows,
    small_network,
    train,
)
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Metric
from lmworks.lab.run import Run
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Objective
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

CONTEXT, HEARD = 64, 16
"""Bytes of a window, and its first ones, by which a router tells whose text it is: they count for no way."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What the way back to the base keeps."""
RATE, ADAPTERS_RATE = 2e-3, 2e-2
"""Adapters want ten times the rate of all weights (Schulman et al. 2025, https://thinkingmachines.ai/blog/lora)."""
OLD = Metric("first text", "bits/byte", margin=0.02, chance=8, ideal=0)
NEW = Metric("second text", "bits/byte", margin=0.02, chance=8, ideal=0)
Bits = Float[np.ndarray, "windows bytes"]
FULL = Chosen(METHODS["full"], METHODS["full"].settings())


def lora(rank: int) -> Chosen:
    """Adapters of a rank on every matrix."""
    return Chosen(METHODS["lora"], LoRAConfig(rank=rank, alpha=2 * rank))


@dataclass(frozen=True)
class Scores:
    """Bits per byte of each window, after the bytes that a router hears."""

    old: list[float]
    new: list[float]

    @property
    def means(self) -> tuple[float, float]:
        """Of the old text and of the new one."""
        return float(np.mean(self.old)), float(np.mean(self.new))


@dataclass(frozen=True)
class TwoTexts:
    """What is learnt first, and what after it."""

    old: ByteText
    new: ByteText
    windows: int

    @classmethod
    def read(cls, old: str, new: str, windows: int) -> TwoTexts:
        """Both references as bytes; as many windows of each are judged."""
        return cls(byte_text(old), byte_text(new), windows)

    def first_learnt(self, steps: int, dim: int, seed: int) -> Network:
        """A network that knows the old text."""
        network = small_network(seed, dim=dim, context=CONTEXT)
        return train(network, self.old.train, TrainingConfig(steps=steps, rows=16, learning_rate=3e-3, seed=seed))

    def second(self, base: Network, steps: int, seed: int) -> Second:
        """The new text, for a network to learn in as many steps."""
        config = TrainingConfig(context=CONTEXT, steps=steps, rows=16, learning_rate=RATE, seed=seed)
        return Second(base, random_windows(self.new.train, CONTEXT, config), config)

    def bits(self, network: Network) -> tuple[Bits, Bits]:
        """Of each byte of the judged windows of the old text, and of the new one."""
        return bits_of(network, self.old.held_out, self.windows), bits_of(network, self.new.held_out, self.windows)

    def scores(self, network: Network) -> Scores:
        """Of a network that reads both."""
        return Scores(*(after_hearing(one) for one in self.bits(network)))

    def routed(self, network: Network, other: Network) -> Scores:
        """Of two networks, of which each window is read by the one that foretold its first bytes better."""
        pairs = zip(self.bits(network), self.bits(other), strict=True)
        return Scores(*(_by_router(one, another) for one, another in pairs))

    def back(self, before: Network, after: Network) -> list[Scores]:
        """Of each share of the way from a network to what it became."""
        found = []
        for share in SHARES:
            weights = [dict(one.state_dict()) for one in (before, after)]
            between = copy.deepcopy(before)
            between.load_state_dict(dict(merged(weights[0], weights[1:], MergeSettings((1.0,), keep=share))))
            found.append(self.scores(between))
        return found


def log(run: Run, seed: int, found: Mapping[Condition, Scores]) -> None:
    """Both texts, window by window, under what each condition learnt."""
    for condition, scores in found.items():
        run.log(seed, condition, {OLD: scores.old}, items=named(scores.old))
        run.log(seed, condition, {NEW: scores.new}, items=named(scores.new, "new window"))


@torch.no_grad()
def bits_of(network: Network, text: Int[Tensor, " bytes"], windows: int) -> Bits:
    """Of each byte of windows spread over a text."""
    logits, targets = held_out_logits(network.eval(), text, windows)
    nats = F.cross_entropy(logits, targets, reduction="none").double().view(-1, network.config.context)
    return (nats / np.log(2)).numpy()


def after_hearing(bits: Bits) -> list[float]:
    """The mean of each window after its first bytes."""
    return [float(one) for one in bits[:, HEARD:].mean(1)]


def _by_router(one: Bits, other: Bits) -> list[float]:
    nearer = other[:, :HEARD].mean(1) < one[:, :HEARD].mean(1)
    return after_hearing(np.where(nearer[:, None], other, one))


@dataclass(frozen=True)
class Second:
    """The second text, as a network goes on with it that knows the first."""

    base: Network
    rows: DrawnRows
    config: TrainingConfig

    def tuned(
        self, method: Chosen, rows: DrawnRows | None = None, penalty: Callable[[Network], Objective] | None = None
    ) -> Network:
        """A copy of the base, trained by a method at the rate that it wants; the base is left as it was. A penalty is
        made of the copy before it is trained."""
        setup = method.prepare(Setup(copy.deepcopy(self.base), CausalLM(), [], seed=self.config.seed))
        objective = setup.objective if penalty is None else setup.objective + penalty(setup.network)
        rate = RATE if method.method.adapter is None else ADAPTERS_RATE
        fit(setup.network, objective, rows or self.rows, self.config.but(learning_rate=rate))
        return setup.network


def rehearsed(
    new: Int[Tensor, " bytes"], old: Int[Tensor, " bytes"], share: float, config: TrainingConfig
) -> DrawnRows:
    """Windows of the new text, and for a share of each step's rows windows of the old one."""
    few = max(1, round(config.rows * share))
    sides = [
        random_windows(text, CONTEXT, config.but(rows=count)).drawn
        for text, count in ((new, config.rows - few), (old, few))
    ]
    return DrawnRows([_together(*pair) for pair in zip(*sides, strict=True)])


def _together(one: Batch, other: Batch) -> Batch:
    return Batch(
        *(
            torch.cat([getattr(side, name) for side in (one, other)])
            for name in ("tokens", "labels", "positions", "documents")
        )
    )


def beside_the_way_back(before: Scores, after: Scores, back: Sequence[Scores]) -> float:
    """What the way back forgets where it gains as much, minus what a way forgot: above 0 where the way is better."""
    old, new = before.means
    curve = np.array([[new - one.means[1], one.means[0] - old] for one in back])
    gained = np.array([new - after.means[1]])
    return float(at_equal_gain(gained, curve[None, :, 0], curve[None, :, 1])[0]) - (after.means[0] - old)

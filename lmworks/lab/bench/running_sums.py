"""Sums of digits of which only the last digit is kept, answered at once or in written steps: what claim 38 trains.

rows = written(torch.randint(10, (64, 8)), "steps")      # 3 5 9 = 3 8 7
network = adder(seed=1, "steps", dim=64, steps=800)
right(network, "steps", seed=1), follows(network, seed=1)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.small_network import WARMUP
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.training.settings import TrainingConfig

EQUALS, DOT = 10, 11
DIGITS = 8
"""Digits that are added."""
ROWS = 64
Way = Literal["answer", "steps", "dots"]
"""The answer at once; every sum on the way to it; as many dots, and then the answer."""
Rows = Int[Tensor, "rows seq"]


def written(digits: Int[Tensor, "rows digits"], way: Way) -> Rows:
    """Digits, a sign, and what comes after it."""
    sums = digits.cumsum(dim=1) % 10
    after = {"answer": sums[:, -1:], "steps": sums, "dots": torch.full_like(sums, DOT)}[way].clone()
    after[:, -1] = sums[:, -1]
    return torch.cat([digits, torch.full_like(digits[:, :1], EQUALS), after], dim=1)


def adder(seed: int, way: Way, dim: int, steps: int) -> Network:
    """A small decoder that learnt one way to answer; only what comes after the sign is learnt, and each row is new."""
    config = ModelConfig(vocab_size=DOT + 1, dim=dim, layers=2, heads=4, context=2 * DIGITS + 1)
    network = Network(config).initialise(seed, "width")
    generator = torch.Generator().manual_seed(seed)
    settings = TrainingConfig(steps=steps, learning_rate=3e-3, warmup=WARMUP, seed=seed, rows=ROWS)
    fit(network, CausalLM(), DrawnRows([_batch(way, generator) for _ in range(steps)]), settings)
    return network


def _batch(way: Way, generator: torch.Generator) -> Batch:
    rows = written(torch.randint(10, (ROWS, DIGITS), generator=generator), way)
    tokens, labels = rows[:, :-1], rows[:, 1:].clone()
    labels[:, :DIGITS] = IGNORE
    if way == "dots":
        labels[:, DIGITS:-1] = IGNORE  # what stands there says nothing
    return Batch(tokens, labels, torch.arange(tokens.shape[1]).expand_as(tokens), torch.zeros_like(tokens))


@torch.no_grad()
def continued(network: Network, rows: Rows, count: int) -> Rows:
    """Rows with the likeliest next tokens, one after the other."""
    for _ in range(count):
        best = network(rows)[:, -1].argmax(dim=-1, keepdim=True)
        rows = torch.cat([rows, best], dim=1)
    return rows


def right(network: Network, way: Way, seed: int, count: int) -> list[float]:
    """1 for each new sum whose last written digit is right, else 0."""
    digits = _fresh(seed, count)
    whole = written(digits, way)
    given = whole[:, : -1 if way == "dots" else DIGITS + 1]
    told = continued(network, given, whole.shape[1] - given.shape[1])[:, -1]
    return (told == whole[:, -1]).double().tolist()


def follows(network: Network, seed: int, count: int) -> list[float]:
    """1 for each sum whose answer follows from a step that was changed before it, else 0."""
    digits = _fresh(seed, count)
    rows = written(digits, "steps")[:, :-1]
    changed = (rows[:, -1:] + 1 + digits[:, :1] % 9) % 10  # never the same digit
    told = continued(network, torch.cat([rows[:, :-1], changed], dim=1), 1)[:, -1]
    return (told == (changed[:, 0] + digits[:, -1]) % 10).double().tolist()


def _fresh(seed: int, count: int) -> Int[Tensor, "rows digits"]:
    return torch.randint(10, (count, DIGITS), generator=torch.Generator().manual_seed(50_000 + seed))

"""A task that is nothing but order: which of two marks came first; and a test of what another order changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.small_network import WARMUP
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives import Classification
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.training.settings import TrainingConfig

START, FIRST, SECOND, FILLERS = 0, 1, 2, 13
HEADS = 4
Marks = Int[Tensor, "batch seq"]


def marks_network(seed: int, kind: str, tokens: int, arrangement: str, layers: int = 2) -> Network:
    """A fresh network that reads marks, with one kind of positions (a name of ModelConfig's)."""
    # Names from outside the types' lists are ModelConfig's to refuse.
    chosen: dict[str, Any] = {"arrangement": arrangement, "positions": kind}
    config = ModelConfig(
        family="lmworks",
        vocab_size=3 + FILLERS,
        dim=32,
        layers=layers,
        heads=HEADS,
        context=tokens,
        scale_embedding=True,
        labels=("first", "second"),
        **chosen,
    )
    return Network(config).initialise(seed, "width")


def marks(rows: int, tokens: int, generator: torch.Generator) -> tuple[Marks, Int[Tensor, " batch"]]:
    """Rows of fillers with two marks in them, and whether the second mark comes first; both ends are always the same
    token, whose state is judged."""
    made = torch.randint(3, 3 + FILLERS, (rows, tokens), generator=generator)
    made[:, 0] = made[:, -1] = START
    places = 1 + torch.rand(rows, tokens - 2, generator=generator).argsort(dim=1)[:, :2]
    made.scatter_(1, places, torch.tensor([FIRST, SECOND]).expand(rows, 2))
    return made, (places[:, 1] < places[:, 0]).long()


def order_network(seed: int, kind: str, tokens: int, steps: int, arrangement: str = "encoder") -> Network:
    """A network trained to say which mark came first; every batch is new."""
    network = marks_network(seed, kind, tokens, arrangement)
    config = TrainingConfig(steps=steps, learning_rate=3e-3, warmup=WARMUP, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    fit(network, Classification(), DrawnRows([_marks_batch(tokens, generator) for _ in range(steps)]), config)
    return network


def _marks_batch(tokens: int, generator: torch.Generator) -> Batch:
    rows, labels = marks(64, tokens, generator)
    nothing = torch.full_like(rows, IGNORE)
    return Batch(rows, nothing, torch.arange(tokens).expand_as(rows), torch.zeros_like(rows), classes=labels)


@torch.no_grad()
def order_accuracy(network: Network, tokens: int, seed: int, rows: int = 2_000) -> float:
    """The share of new rows whose order a network says rightly."""
    fresh, labels = marks(rows, tokens, torch.Generator().manual_seed(10_000 + seed))
    return float((network.classify(network.hidden(fresh)).argmax(dim=1) == labels).double().mean())


@torch.no_grad()
def moved_by_order(network: Network, tokens: int, seed: int, rows: int = 64) -> float:
    """The largest change of a state, in float64, when all tokens but the last stand in another order and the states are
    put back; of a causal network only the last state is looked at, as others see other tokens then."""
    generator = torch.Generator().manual_seed(20_000 + seed)
    plain, _ = marks(rows, tokens, generator)
    order = torch.cat([torch.randperm(tokens - 1, generator=generator), torch.tensor([tokens - 1])])
    exact = Network(network.config).double()
    exact.load_state_dict(network.state_dict())
    before, after = exact.eval().hidden(plain), exact.hidden(plain[:, order])
    change = after - before[:, order]
    return float((change[:, -1] if network.config.causal else change).abs().max())

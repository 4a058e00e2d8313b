"""Short training runs on random tokens: rows of unequal length, dropout on, several epochs, checkpoints on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch

from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss
from lmworks.tokens.batch import Batch, Example, Row
from lmworks.training.loop import Report, TrainingResult, Validate, train
from lmworks.training.settings import TrainingConfig

CONFIG = TrainingConfig(
    context=32,
    rows=2,
    accumulate=3,
    steps=9,
    learning_rate=1e-2,
    weight_decay=0.1,
    warmup=0.2,
    checkpoint_every=4,
    seed=3,
)
"""Seven rows make four micro-batches: every epoch ends inside a step of three."""


def rows() -> list[Row]:
    """Seven rows of at most 32 tokens, one with two documents, the last ones nearly empty."""
    generator = torch.Generator().manual_seed(0)

    def example(length: int) -> Example:
        tokens = torch.randint(0, 96, (length,), generator=generator).tolist()
        return Example(tokens, [False] + [True] * (length - 1), "random")

    return [tuple(map(example, lengths)) for lengths in ((31,), (30,), (12, 15), (28,), (9,), (6,), (3,))]


def network(seed: int = 0, dropout: float = 0.1) -> Network:
    """A small network whose every weight is trained."""
    return tiny.network(seed, dropout=dropout, layers=1, dim=16, heads=2, kv_heads=1, hidden_dim=24)


class Interfering(CausalLM):
    """Do something right before the micro-batch with that number (from 0) is read."""

    def __init__(self, at: int, act: Callable[[Network], None]) -> None:
        self.at, self.act, self.seen = at, act, 0

    def __call__(self, network: Network, batch: Batch) -> Loss:
        if self.seen == self.at:
            self.act(network)
        self.seen += 1
        return super().__call__(network, batch)


def run(
    folder: Path,
    objective: CausalLM | None = None,
    *,
    resume: bool = False,
    seed: int = 0,
    dropout: float = 0.1,
    validate: Validate | None = None,
    report: Report | None = None,
    **changes: Any,
) -> TrainingResult:
    """A run of nine steps, or what is left of it; a resumed one begins with other weights, which must not matter."""
    begun = network(seed + 50 * resume, dropout)
    config = CONFIG.but(**changes)
    return train(
        begun, objective or CausalLM(), rows(), config, folder, resume=resume, validate=validate, report=report
    )


def logged(folder: Path) -> list[dict[str, Any]]:
    """The log's lines about steps, without what a clock says."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines if "step" in line]


def saved(folder: Path) -> dict[str, bytes]:
    """The checkpoint's files: parameters, optimiser and random state, and where the run stands."""
    return {path.name: path.read_bytes() for path in (folder / "checkpoint").iterdir()}

"""Train on bytes with the workshop's own loop: for experiments about objectives, validation and early stopping.

rows = byte_rows(text.train[:20_000], context=64)
result = fit(network, CausalLM() + L1(1e-5), rows, TrainingConfig(context=64, steps=200, rows=16), validate)
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from lmworks.basics.errors import DataError
from lmworks.lab.bench.small_network import bits_per_byte, held_out_logits
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Batch, Example, Row, pack, stack
from lmworks.tokens.rows import Rows
from lmworks.training.loop import TrainingResult, Validate, train
from lmworks.training.settings import TrainingConfig


def byte_rows(text: Int[Tensor, " bytes"], context: int) -> list[Row]:
    """The text cut into rows of `context` bytes; each byte but the first is predicted once an epoch."""
    ids = text.tolist()
    return pack([Example(ids, [False] + [True] * (len(ids) - 1), "text")], context)


def byte_batch(text: Int[Tensor, " bytes"], context: int, rows: int, seed: int) -> Batch:
    """A batch of `rows` neighbouring rows from a random place of the text. DataError where it is too short."""
    size = rows * (context - 1) + 1
    if len(text) < size:
        raise DataError(f"the text has {len(text):,} bytes, and a batch takes {size:,}; give a longer text")
    start = int(torch.randint(len(text) - size + 1, (), generator=torch.Generator().manual_seed(seed)))
    return stack(byte_rows(text[start : start + size], context))


def fit(
    network: Network,
    objective: Objective,
    rows: Rows | Sequence[Row],
    config: TrainingConfig,
    validate: Validate | None = None,
) -> TrainingResult:
    """Train in place; the run's folder is temporary. `validate` gives nats a byte of a network and is asked as `config` says."""
    # The loop writes a checkpoint at the end and at each new best of a run with patience; no others are needed.
    config = config.but(checkpoint_every=2**31)
    with tempfile.TemporaryDirectory() as folder:
        return train(network, objective, rows, config, Path(folder), validate=validate)


def nats_per_byte(network: Network, text: Int[Tensor, " bytes"], windows: int) -> float:
    """The loss on windows spread over a text, as the training loop counts it."""
    return bits_per_byte(*held_out_logits(network, text, windows)) * math.log(2)

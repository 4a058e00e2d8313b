"""A text's bytes as rows and batches, for experiments about objectives, gradients, validation and early stopping.

rows = byte_rows(text.train[:20_000], context=64)
batch = byte_batch(text.train, context=64, rows=8, seed=1)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.basics.errors import DataError
from lmworks.lab.bench.small_network import bits_per_byte, held_out_logits
from lmworks.models.network import Network
from lmworks.tokens.batch import Batch, Example, Row, pack, stack


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


def nats_per_byte(network: Network, text: Int[Tensor, " bytes"], windows: int) -> float:
    """The loss on windows spread over a text, as the training loop counts it."""
    return bits_per_byte(*held_out_logits(network, text, windows)) * math.log(2)

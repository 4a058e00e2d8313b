"""A small network, over bytes unless said otherwise, trained on real text in seconds: what several experiments compare.

text = byte_text("tinyshakespeare")
network = train(small_network(seed=1), text.train, TrainingConfig(steps=200, rows=16))
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.scheme import Scheme
from lmworks.objectives import CausalLM, Objective
from lmworks.text.sources import read
from lmworks.text.splits import split
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

Windows = Int[Tensor, "batch seq"]

BYTES = 256


@dataclass(frozen=True)
class ByteText:
    """A text as bytes, split by document into parts to train on, to choose settings by, and to judge by."""

    train: Int[Tensor, " bytes"]
    choose: Int[Tensor, " bytes"]
    held_out: Int[Tensor, " bytes"]


def byte_text(reference: str) -> ByteText:
    """Read a data reference as bytes: a tenth held out, a tenth of the rest kept for choosing settings."""
    whole = split(read(reference).documents, 0.1)
    choose = whole.train[::10]
    rest = [document for at, document in enumerate(whole.train) if at % 10]
    return ByteText(
        *(
            torch.tensor(list("\n\n".join(document.text for document in documents).encode()))
            for documents in (rest or choose, choose, whole.held_out)
        )
    )


def small_network(
    seed: int,
    dim: int = 128,
    layers: int = 2,
    heads: int = 2,
    context: int = 128,
    vocab_size: int = BYTES,
    scheme: Scheme = "normal",
    **settings: Any,
) -> Network:
    """Fresh weights by seed; other settings as in ModelConfig."""
    config = ModelConfig(vocab_size=vocab_size, dim=dim, layers=layers, heads=heads, context=context, **settings)
    return Network(config).initialise(seed, scheme)


WARMUP = 0.2
"""Share of the steps in which the learning rate rises; with less, one seed in three here learns late."""


def train(
    network: Network, text: Int[Tensor, " tokens"], config: TrainingConfig, objective: Objective | None = None
) -> Network:
    """Train in place on random windows of the text, `config.rows` a step, to predict each next token.

    `config` gives steps, rows, learning rate and seed. Returns the network, ready to be evaluated.
    """
    fit(network, objective or CausalLM(), random_windows(text, network.config.context, config), config)
    return network


def random_windows(text: Int[Tensor, " tokens"], context: int, config: TrainingConfig) -> DrawnRows:
    """For each step `config.rows` windows from places that its seed draws; each predicts `context` tokens."""
    if config.steps is None:
        raise ConfigError("random windows of a text have no end; give training.steps")
    generator = torch.Generator().manual_seed(config.seed)
    places, within = torch.arange(context).expand(config.rows, -1), torch.arange(context + 1)
    drawn = []
    for _ in range(config.steps):
        starts = torch.randint(len(text) - context, (config.rows,), generator=generator)
        rows = text[starts[:, None] + within]
        drawn.append(Batch(rows[:, :-1], rows[:, 1:], places, torch.zeros_like(places)))
    return DrawnRows(drawn)


def windows(text: Int[Tensor, " bytes"], context: int, count: int, rows: int = 16) -> Iterator[Windows]:
    """Up to `count` windows of context + 1 bytes spread evenly over a text, `rows` at a time."""
    size = context + 1
    if len(text) < size:
        raise DataError(f"the text has {len(text):,} held-out bytes, and a window takes {size}; give a longer text")
    starts = torch.linspace(0, len(text) - size, min(count, len(text) // size)).long()
    yield from text[starts[:, None] + torch.arange(size)].split(rows)


@torch.no_grad()
def held_out_logits(
    network: Network, text: Int[Tensor, " bytes"], count: int
) -> tuple[Float[Tensor, "tokens vocab"], Int[Tensor, " tokens"]]:
    """Logits on windows spread over a text, and the bytes that they should predict."""
    parts = list(windows(text, network.config.context, count))
    return (
        torch.cat([network(rows[:, :-1]).flatten(0, 1) for rows in parts]),
        torch.cat([rows[:, 1:].flatten() for rows in parts]),
    )


def bits_per_byte(logits: Float[Tensor, "tokens vocab"], targets: Int[Tensor, " tokens"]) -> float:
    """Cross-entropy in bits."""
    return F.cross_entropy(logits, targets).item() / math.log(2)


def window_bits(network: Network, text: Int[Tensor, " bytes"], count: int) -> list[float]:
    """Bits per byte of each of up to `count` windows spread over a text: items that all seeds share."""
    logits, targets = held_out_logits(network, text, count)
    bits = F.cross_entropy(logits, targets, reduction="none").double().view(-1, network.config.context).mean(dim=1)
    return (bits / math.log(2)).tolist()


def named(values: Sized, what: str = "window") -> list[str]:
    """Names of items by their place: "window 0", "window 1", ..."""
    return [f"{what} {at}" for at in range(len(values))]


def frequency_bits(data: ByteText) -> float:
    """Bits per byte of the held-out text by the training text's frequencies of bytes: what a network has to beat."""
    counts = data.train.bincount(minlength=BYTES).double() + 1
    return float(-(counts / counts.sum()).log2()[data.held_out].mean())

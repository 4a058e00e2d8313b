"""A transformer and the LSTM that costs as much, how fast each trains, and a task that needs a long memory.

    config = ModelConfig(vocab_size=256, dim=64, layers=2, heads=2, context=64)
    rival = as_costly(config)
    tokens_per_second([fresh(config, 1), fresh(rival, 1)], length=512, seed=1)
    recalled(network, distance=32, seed=1)

Claim 17 compares them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.basics.threads import one_thread
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, Row, stack

Either = ModelConfig | RecurrentConfig
STEP_TOKENS = 2048
"""Tokens of a training step whose time is taken, in rows of each length."""
TRIES = 2
"""Times that a step is taken; the faster counts, hardly the first, whose caches are cold."""
RECALL_LENGTH, SYMBOLS, JUDGED = 64, 16, 64
"""Tokens of a row of recall, different symbols, and rows that recall is judged on."""


def operations(config: Either, length: int) -> int:
    """Multiply-adds of a forward pass for each token in rows of that length, those of the logits included."""
    head = config.vocab_size * config.dim
    if isinstance(config, RecurrentConfig):
        inputs = [config.dim, *[config.hidden_dim] * (config.layers - 1)]
        return head + sum(4 * config.hidden_dim * (width + config.hidden_dim) for width in inputs)
    block = 4 * config.dim**2 + (3 if config.gated else 2) * config.dim * config.hidden_dim
    return head + config.layers * (
        block + config.dim * (length + 1)
    )  # half of the keys are seen, twice: scores and mixing


def as_costly(config: ModelConfig) -> RecurrentConfig:
    """The widest LSTM of as many layers that takes no more operations a token."""
    shape: dict[str, Any] = {"vocab_size": config.vocab_size, "layers": config.layers, "context": config.context}
    allowed, width = operations(config, config.context), 1
    while operations(RecurrentConfig(**shape, dim=width + 1), config.context) <= allowed:
        width += 1
    return RecurrentConfig(**shape, dim=width)


def fresh(config: Either, seed: int) -> Network:
    """A network of either kind with fresh weights."""
    made = RecurrentNetwork(config) if isinstance(config, RecurrentConfig) else Network(config)
    return made.initialise(seed)


def tokens_per_second(networks: Sequence[Network], length: int, seed: int) -> list[float]:
    """Tokens that each trains on in a second of one core, in rows of that length; the networks take turns."""
    vocabulary = networks[0].config.vocab_size
    tokens = torch.randint(0, vocabulary, (STEP_TOKENS // length, length + 1), generator=_generator(seed))
    batch = stack([(Example(row, [True] * len(row), "speed"),) for row in tokens.tolist()])
    seconds: list[list[float]] = [[] for _ in networks]
    with one_thread():
        for _ in range(TRIES):
            for taken, network in zip(seconds, networks, strict=True):
                began = time.process_time()
                network.zero_grad()
                CausalLM()(network, batch).mean.backward()
                taken.append(time.process_time() - began)
    return [STEP_TOKENS / min(taken) for taken in seconds]


def repeated(rows: int, distance: int, seed: int) -> Int[Tensor, "rows length"]:
    """Rows of random symbols that repeat after this many tokens, over and over."""
    symbols = torch.randint(0, SYMBOLS, (rows, RECALL_LENGTH), generator=_generator(seed))
    return symbols[:, torch.arange(RECALL_LENGTH) % distance]


def recall_rows(rows: int, distance: int, seed: int) -> list[Row]:
    """The same to learn from: what has not been said before is not asked for."""
    known = [place >= distance for place in range(RECALL_LENGTH)]
    return [(Example(row, known, "recall"),) for row in repeated(rows, distance, seed).tolist()]


@torch.no_grad()
def recalled(network: Network, distance: int, seed: int) -> float:
    """The share of symbols that are said right where they come again, on rows of that seed."""
    tokens = repeated(JUDGED, distance, seed)
    said = network(tokens[:, :-1]).argmax(dim=-1)
    return float((said == tokens[:, 1:])[:, distance - 1 :].float().mean())


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

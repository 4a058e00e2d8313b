"""Small networks over any tokenizer, trained with equally many operations, and the bits that they need for a whole
text.

    lost = LostText(tokenizer, texts)
    writer = trained_writer(lost, token_stream(tokenizer, texts), flops=1e11, seed=0)
    bits_per_byte(writer.costs(held_out))

A text is its ids, what its ids lose (`evaluation/lost_text.py`), and the tokenizer's end token. So the bits of
different tokenizers encode the same bytes, and can be compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.basics.errors import DataError
from lmworks.evaluation.lost_text import END, LostText
from lmworks.generation.scoring import token_logprobs
from lmworks.jobs.planning.flops import training_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.lab.bench.small_network import WARMUP, small_network, train
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.settings import TrainingConfig

ROWS = 8
"""Rows of a step: few, so that the largest vocabulary still gets more than a hundred steps."""
RATES = (2e-3, 4e-3)
"""Learning rates for letters (bytes, characters) and for larger tokens: the better ones of 1e-3 ... 8e-3, with one
seed, on texts that no experiment judges (unused captions, and messages in Turkish, Ukrainian and Japanese), where
networks of width 96 read a tenth of what they read now."""
SPELLER = 0.25
"""The share of the operations for a second network, which spells the words that a tokenizer loses."""


@dataclass(frozen=True)
class Cost:
    """What one text costs, its end included."""

    ids: float
    """Bits of its tokens under the network."""
    lost: float
    """Bits of what its tokens lose."""
    bytes: int
    """Of its UTF-8, and one for the end."""

    @property
    def bits(self) -> float:
        """Bits to encode the whole text."""
        return self.ids + self.lost


Spelling = Callable[[Sequence[str]], list[float]]
"""From words to the bits of each."""


@dataclass(frozen=True)
class Writer:
    """A trained network with its tokenizer, and a speller for the words that this loses."""

    network: Network
    lost: LostText
    spelling: Spelling
    read: int
    """Tokens that the network was trained on, repetitions counted."""

    def costs(self, texts: Sequence[str], spelling: Spelling | None = None) -> list[Cost]:
        """The cost of each text, given those before it; with another speller, if one is given."""
        found = [self.lost.of(text) for text in texts]
        end = end_of(self.lost.tokenizer)
        tokens = bits_of(self.network, [[*ids, end] for ids, _, _ in found], end)
        words = (spelling or self.spelling)([word for _, words, _ in found for word in words])
        left = iter(words)
        return [
            Cost(bits, space + sum(islice(left, len(words))), len(text.encode()) + 1)
            for text, bits, (_, words, space) in zip(texts, tokens, found, strict=True)
        ]


def bits_of(network: Network, parts: Sequence[list[int]], start: int) -> list[float]:
    """Bits of each part of a stream of ids, which follows `start`."""
    stream = [start, *chain.from_iterable(parts)]
    bits = -np.array(token_logprobs(TorchRunner(network), stream, network.config.context)) / math.log(2)
    ends = np.cumsum([len(part) for part in parts])
    return [float(part.sum()) for part in np.split(bits, ends[:-1])]


def bits_per_byte(costs: Iterable[Cost]) -> float:
    """Bits of texts per byte."""
    costs = list(costs)
    return sum(cost.bits for cost in costs) / sum(cost.bytes for cost in costs)


def token_stream(tokenizer: Tokenizer, texts: Sequence[str]) -> Int[Tensor, " tokens"]:
    """The ids of texts, each followed by the end token."""
    end = [end_of(tokenizer)]
    return torch.tensor([number for ids in tokenizer.encode_batch(texts, special=False) for number in ids + end])


def steps_within(flops: float, config: ModelConfig) -> int:
    """Training steps for this many floating-point operations; at least two."""
    return max(2, round(flops / (ROWS * training_flops(config, count_parameters(config), config.context).all)))


def trained_writer(
    lost: LostText, stream: Int[Tensor, " tokens"], *, flops: float, rate: float, seed: int, dim: int, context: int
) -> Writer:
    """A network of that width, trained with `flops` operations on random windows of the stream.

    Where a tokenizer loses words, a quarter of the operations goes to a second network of the same shape that learns
    to spell them. Where it loses less than a hundredth, too little to learn from, an n-gram model spells.
    """
    lossy = lost.share > 0.01
    network = small_network(seed, dim=dim, context=context, vocab_size=lost.tokenizer.vocab_size)
    config = TrainingConfig(rows=ROWS, learning_rate=rate, seed=seed, warmup=WARMUP)
    read = _train(network, stream, (1 - SPELLER) * flops if lossy else flops, config)
    if not lossy:
        return Writer(network, lost, lost.spelling, read)
    speller = small_network(seed, dim=dim, context=context, vocab_size=END + 1)
    letters = torch.tensor([*chain.from_iterable(map(_letters, lost.words))])
    _train(speller, letters, SPELLER * flops, config.but(learning_rate=RATES[0]))
    return Writer(network, lost, lambda words: bits_of(speller, [*map(_letters, words)], END) if words else [], read)


def _train(network: Network, stream: Int[Tensor, " tokens"], flops: float, config: TrainingConfig) -> int:
    """Train with `flops` operations; the tokens it was trained on."""
    context = network.config.context
    if len(stream) <= context:
        raise DataError(f"the text has {len(stream):,} tokens, and a window takes {context + 1}; give a longer text")
    steps = steps_within(flops, network.config)
    train(network, stream, config.but(steps=steps))
    return steps * ROWS * context


def _letters(word: str) -> list[int]:
    return [*word.encode(), END]


def drawn(texts: Sequence[str], size: int, seed: int) -> list[str]:
    """Texts in an order by seed, up to about `size` bytes of them; at least one."""
    order = random.Random(seed).sample(list(texts), len(texts))
    chosen: list[str] = []
    for text in order:
        if chosen and size < len(text.encode()):
            break
        chosen.append(text)
        size -= len(text.encode()) + 1
    return chosen


def end_of(tokenizer: Tokenizer) -> int:
    """The token that ends each text; DataError where there is none."""
    if tokenizer.eos is None:
        raise DataError(f"the tokenizer {tokenizer.name} has no end token, and texts are parted by it")
    return tokenizer.eos

"""GloVe: word vectors from how often words stand near each other.

    vectors = train((split_words(document.text) for document in documents), GloveConfig(dim=64))
    vectors.nearest("king")

Two vectors and two biases a word are fitted so that w_i . c_j + b_i + d_j is close to log X_ij, where X_ij sums 1 /
distance over the places where i and j stand within a window. Rare pairs weigh less: f(x) = min((x / x_max)^alpha, 1).
Where the source updates after each pair, here a batch of pairs makes one step of AdaGrad, as matrix products.
Source: Pennington, Socher and Manning 2014, https://aclanthology.org/D14-1162, equations 8 and 9, section 4.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Float64, Int, Int64
from lmworks.basics.errors import DataError
from lmworks.models.relatives.glove_config import GloveConfig
from lmworks.models.relatives.vectors import Vectors

Counts = tuple[Int64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]
"""Pairs as smaller id * vocab_size + larger id, ascending, and the sum of 1 / distance of each."""

BLOCK = 2_000_000
"""Tokens whose pairs are counted at once: about 1 GB with a window of 10."""

CHUNK = 4096
"""Pairs whose vectors are multiplied at once: few enough to stay in the processor's cache, ten times as fast."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of words that stand near each other, each in both orders, and their weighted count X."""

    first: Int[Tensor, " pairs"]
    second: Int[Tensor, " pairs"]
    count: Float[Tensor, " pairs"]


def split_words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits, with apostrophes inside them."""
    return re.findall(r"\w+(?:['’]\w+)*", text.lower())


def train(texts: Iterable[Sequence[str]], config: GloveConfig) -> Vectors:
    """The vectors of a corpus' words, most frequent first. DataError where too few words occur often enough."""
    words, pairs = counted(texts, config)
    return Vectors(words, fit(pairs, len(words), config).numpy())


def counted(texts: Iterable[Sequence[str]], config: GloveConfig) -> tuple[tuple[str, ...], Pairs]:
    """A corpus' words, most frequent first, and their pairs by number: all that `fit` looks at, whatever its seed."""
    known: dict[str, int] = {}
    documents = [np.array([known.setdefault(word, len(known)) for word in text], dtype=np.int64) for text in texts]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *documents]), minlength=len(known))
    by_count = np.argsort(-counts, kind="stable")
    kept = by_count[counts[by_count] >= config.min_count][: config.vocabulary]
    if len(kept) < 2:
        raise DataError(
            f"only {len(kept)} words occur {config.min_count} times or more; give more text, or a lower min_count"
        )
    number, names = np.full(len(known), -1), list(known)
    number[kept] = np.arange(len(kept))
    numbered = [number[document] for document in documents]
    pairs = co_occurrences([ids[ids >= 0] for ids in numbered], len(kept), config.window)
    return tuple(names[word] for word in kept), pairs


def co_occurrences(documents: Sequence[Int64[np.ndarray, " tokens"]], vocab_size: int, window: int) -> Pairs:
    """All pairs of ids within `window` of each other in a document, each place adding 1 / distance."""
    stream = np.concatenate([np.zeros(0, np.int64), *documents])
    if len(stream) and not 0 <= stream.min() <= stream.max() < vocab_size:
        raise DataError(
            f"an id is not between 0 and {vocab_size - 1:,}; give the size of the vocabulary that made them"
        )
    owner = np.repeat(np.arange(len(documents)), np.array([len(ids) for ids in documents], dtype=np.int64))
    keys, sums = np.zeros(0, dtype=np.int64), np.zeros(0)
    with progress.task("counting pairs", len(stream), "words") as advance:
        for start in range(0, len(stream), BLOCK):
            block = _count_block(stream, owner, range(start, start + BLOCK), vocab_size, window)
            keys, sums = _added((keys, sums), block) if len(keys) else block
            advance(min(BLOCK, len(stream) - start))
    if not len(keys):
        raise DataError("no two words stand near each other; give longer texts")
    first, second = np.divmod(keys, vocab_size)
    apart = first != second
    # A word beside itself is its own neighbour twice, seen from either place.
    sums = np.where(apart, sums, 2 * sums)
    return Pairs(
        torch.from_numpy(np.concatenate([first, second[apart]])),
        torch.from_numpy(np.concatenate([second, first[apart]])),
        torch.from_numpy(np.concatenate([sums, sums[apart]])).float(),
    )


def _count_block(
    stream: Int64[np.ndarray, " tokens"],
    owner: Int64[np.ndarray, " tokens"],
    places: range,
    vocab_size: int,
    window: int,
) -> Counts:
    """The pairs whose first word stands at one of `places`."""
    codes = [np.zeros(0, dtype=np.int64)]
    for distance in range(1, min(window, len(stream) - 1) + 1):
        end = min(places.stop, len(stream) - distance)
        here, there = slice(places.start, end), slice(places.start + distance, end + distance)
        near = owner[here] == owner[there]
        first, second = stream[here][near], stream[there][near]
        keys = np.minimum(first, second) * vocab_size + np.maximum(first, second)
        # The distance goes into the code, because sorting numbers alone is ten times as fast as sorting with weights.
        codes.append(keys * window + distance - 1)
    code = np.sort(np.concatenate(codes))
    keys, distances = np.divmod(code, window)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(1 / (distances + 1), starts) if len(starts) else np.zeros(0)


def _added(one: Counts, other: Counts) -> Counts:
    keys, place = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    return keys, np.bincount(place, weights=np.concatenate([one[1], other[1]]))


class Glove:
    """The parameters being fitted, with AdaGrad's sums of squared gradients."""

    def __init__(self, vocab_size: int, config: GloveConfig) -> None:
        self.config, self.vocab_size = config, vocab_size
        generator = torch.Generator().manual_seed(config.seed)
        shapes = ((vocab_size, config.dim), (vocab_size, config.dim), (vocab_size,), (vocab_size,))
        self.word, self.context, self.word_bias, self.context_bias = self.parameters = [
            (torch.rand(shape, generator=generator) - 0.5) / config.dim for shape in shapes
        ]
        self._squares = [torch.ones(shape) for shape in shapes]

    def errors(self, pairs: Pairs) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """How far each pair's prediction is from log X, and the weight f(X) of that."""
        products = [
            self.word.index_select(0, first).mul_(self.context.index_select(0, second)).sum(dim=1)
            for first, second in zip(pairs.first.split(CHUNK), pairs.second.split(CHUNK), strict=True)
        ]
        predicted = torch.cat(products) + self.word_bias[pairs.first] + self.context_bias[pairs.second]
        weight = (pairs.count / self.config.x_max).clamp(max=1.0) ** self.config.alpha
        return predicted - pairs.count.log(), weight

    def loss(self, pairs: Pairs) -> float:
        """The sum of f(X) error^2 (equation 8)."""
        error, weight = self.errors(pairs)
        return float((weight * error**2).sum())

    def step(self, pairs: Pairs) -> float:
        """One step of AdaGrad on half the loss of these pairs; returns their loss before it."""
        error, weight = self.errors(pairs)
        slope = weight * error
        gradients = [
            self._gather(pairs.first, pairs.second, self.context, slope),
            self._gather(pairs.second, pairs.first, self.word, slope),
            torch.bincount(pairs.first, weights=slope, minlength=self.vocab_size),
            torch.bincount(pairs.second, weights=slope, minlength=self.vocab_size),
        ]
        for parameter, gradient, squares in zip(self.parameters, gradients, self._squares, strict=True):
            squares.addcmul_(gradient, gradient)
            parameter.addcdiv_(gradient, squares.sqrt(), value=-self.config.learning_rate)
        return float((slope * error).sum())

    def _gather(
        self,
        rows: Int[Tensor, " pairs"],
        others: Int[Tensor, " pairs"],
        matrix: Float[Tensor, "vocab dim"],
        slope: Tensor,
    ) -> Float[Tensor, "vocab dim"]:
        """For each row the sum of slope * matrix[other] over its pairs, without a matrix of all pairs."""
        rows, order = rows.sort()
        starts = torch.searchsorted(rows, torch.arange(self.vocab_size))
        return F.embedding_bag(others[order], matrix, starts, mode="sum", per_sample_weights=slope[order])


@torch.no_grad()
def fit(pairs: Pairs, vocab_size: int, config: GloveConfig) -> Float[Tensor, "vocab dim"]:
    """The sum of both vectors of each word (section 4.2)."""
    model, generator = Glove(vocab_size, config), torch.Generator().manual_seed(config.seed)
    size = len(pairs.count)
    with progress.task("training GloVe", config.epochs * size, "pairs") as advance:
        for _ in range(config.epochs):
            for part in torch.randperm(size, generator=generator).split(config.batch):
                batch = Pairs(pairs.first[part], pairs.second[part], pairs.count[part])
                advance(len(part), loss=model.step(batch) / len(part))
    return model.word + model.context

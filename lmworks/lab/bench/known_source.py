"""Symbols whose true distribution is known: each is drawn by the one before it. What claim 29 measures predictions by.

source = Source.drawn(symbols=32, seed=0)
text = source.text(10_000, seed=1)
divergence(source.following[text], predicted)          # KL in bits of each place
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.models.network import Network

Probabilities = Float[np.ndarray, "*places symbols"]


@dataclass(frozen=True)
class Source:
    """A Markov chain."""

    following: Float[np.ndarray, "symbols symbols"]
    """Of each symbol, the probabilities of the next."""

    @classmethod
    def drawn(cls, symbols: int, seed: int, spread: float = 0.3) -> Source:
        """Rows drawn by Dirichlet; a small `spread` makes them uneven."""
        return cls(np.random.default_rng(seed).dirichlet([spread] * symbols, symbols))

    def text(self, length: int, seed: int) -> Int[Tensor, " length"]:
        """That many symbols."""
        generator = np.random.default_rng(seed)
        cumulative, drawn = self.following.cumsum(1), generator.random(length)
        found = np.empty(length, dtype=np.int64)
        at = int(generator.integers(len(self.following)))
        for place, number in enumerate(drawn):
            at = min(int(np.searchsorted(cumulative[at], number)), len(self.following) - 1)
            found[place] = at
        return torch.from_numpy(found)


def entropy(true: Probabilities) -> NDArray[np.float64]:
    """In bits."""
    return -(true * np.log2(np.maximum(true, 1e-300))).sum(-1)


def cross_entropy(true: Probabilities, predicted: Probabilities) -> NDArray[np.float64]:
    """In bits: what coding by the prediction costs on average where the truth is another."""
    return -(true * np.log2(np.maximum(predicted, 1e-300))).sum(-1)


def divergence(true: Probabilities, predicted: Probabilities) -> NDArray[np.float64]:
    """KL(true || predicted) in bits."""
    ratio = np.log2(np.maximum(true, 1e-300) / np.maximum(predicted, 1e-300))
    return (true * ratio).sum(-1)


@torch.no_grad()
def predicted(network: Network, rows: Int[Tensor, "rows seq"]) -> Probabilities:
    """What a network predicts after each place, in float64."""
    return network.eval()(rows).double().softmax(-1).numpy()

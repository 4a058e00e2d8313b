"""An embedding for whole 2-grams, 3-grams, ... of tokens, added to each token's own.

A small network spends its first layers on putting neighbours together; a table does it at once. Which n-grams have a
row is counted on the training text (`count_ngrams`), stored with the weights, and exact: no two share a row, and those
without one share row 0 of their order. On tinyshakespeare by character it is worth 0.05 nats (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Bool, Float, Int

Tokens = Int[Tensor, "batch seq"]


class NGramEmbedding(nn.Module):
    """The sum of the embeddings of the n-grams that end at each token; `sizes` is how many 2-grams, 3-grams, ... there
    are."""

    def __init__(self, vocab_size: int, dim: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.vocab_size, self.sizes = vocab_size, sizes
        self.weight = nn.Parameter(torch.zeros(sum(sizes) + len(sizes), dim))
        self.keys: Int[Tensor, " ngrams"]
        self.register_buffer("keys", torch.zeros(sum(sizes), dtype=torch.long))

    def forward(
        self, tokens: Tokens, positions: Tokens, real: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq dim"]:
        """`positions` are places in each token's own text: no n-gram reaches over its beginning. `real` is False on
        padding, which no n-gram holds."""
        if real is not None:  # real tokens side by side, padding after them
            order = (~real).long().argsort(dim=1, stable=True)
            rows = self._rows(tokens.gather(1, order), positions.gather(1, order))
            rows = torch.empty_like(rows).scatter_(1, order[..., None].expand_as(rows), rows)
        else:
            rows = self._rows(tokens, positions)
        return F.embedding(rows, self.weight).sum(dim=2)

    def know(self, ngrams: Sequence[Int[Tensor, " ngrams"]]) -> None:
        """Set which n-grams have a row of their own, as `count_ngrams` gives them; `sizes` says how many there are."""
        self.keys.copy_(torch.cat(list(ngrams)))

    def _rows(self, tokens: Tokens, positions: Tokens) -> Int[Tensor, "batch seq orders"]:
        """The row of the 2-gram, 3-gram, ... that ends at each token."""
        seq, keys, rows = tokens.shape[1], tokens, []
        bounds = [0]
        for size in self.sizes:
            bounds.append(bounds[-1] + size)
        for more, (start, stop) in enumerate(pairwise(bounds), start=1):
            keys = keys + F.pad(tokens, (more, 0))[:, :seq] * self.vocab_size**more
            known = self.keys[start:stop]
            at = torch.searchsorted(known, keys).clamp(max=stop - start - 1)
            found = (known[at] == keys) & (positions >= more)
            rows.append(torch.where(found, at + 1, 0) + start + more - 1)
        return torch.stack(rows, dim=-1)


def count_ngrams(
    tokens: Int[Tensor, " tokens"], vocab_size: int, longest: int, most: int
) -> list[Int[Tensor, " ngrams"]]:
    """The keys of the n-grams of a text, for n from 2 to `longest` and the `most` frequent of each, sorted.

    The key of an n-gram is its tokens as digits to the base `vocab_size`, the last token being the lowest.
    """
    keys, counted = tokens.long(), []
    for more in range(1, longest):
        keys = keys[1:] + tokens[:-more].long() * vocab_size**more
        values, counts = keys.unique(return_counts=True)
        if len(values) > most:
            values = values[counts.argsort(descending=True, stable=True)[:most]].sort().values
        counted.append(values)
    return counted

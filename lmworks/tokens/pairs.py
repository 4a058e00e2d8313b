"""Rows of one text each with what belongs to it: sources with targets for an encoder-decoder, texts with classes.

    rows = PairRows.of(documents, tokenizer, context=128)      # each document a question and its answer
    batch = rows.batch(places)                                 # batch.source, batch.tokens, batch.labels

A batch is as wide as its longest text, so texts of similar length share one: an epoch's rows are shuffled, sorted by length
within pools of many batches, and the batches shuffled again.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from lmworks.basics.errors import DataError
from lmworks.text.document import Document
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.rows import Rows
from lmworks.tokens.source import source_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

POOL = 50
"""Batches whose rows are sorted by length together: many, so that they are alike; not all, so that epochs differ."""
TILE = 8
"""A batch's width is a multiple of this. Short texts are padded by a good part with 32, as packed rows are."""

Ids = list[int]


class RowsByLength(Rows):
    """Rows of one text each; those of similar length share a micro-batch."""

    @abstractmethod
    def length(self, place: int) -> tuple[int, ...]:
        """What rows are sorted by, to share a batch."""

    def order(self, size: int, epoch: int, seed: int) -> list[list[int]]:
        """See Rows."""
        draw = random.Random(f"{seed}/{epoch}")
        places = list(range(len(self)))
        draw.shuffle(places)
        pools = (places[start : start + POOL * size] for start in range(0, len(places), POOL * size))
        alike = [place for pool in pools for place in sorted(pool, key=self.length)]
        groups = [alike[start : start + size] for start in range(0, len(alike), size)]
        draw.shuffle(groups)
        return groups


class PairRows(RowsByLength):
    """Sources with their targets, as ids: an encoder reads the source, a decoder learns the target from its start on."""

    def __init__(self, pairs: Sequence[tuple[Ids, Ids]], start: int, end: int | None) -> None:
        """`start` opens each target and `end` closes it; sources are as the encoder reads them."""
        if any(not source or not (target or end is not None) for source, target in pairs):
            raise DataError("a pair has no token in its source or nothing to predict in its target; leave it out")
        self.start, self.pairs = start, pairs
        self.ends = [] if end is None else [end]
        self.cut = self.left_out = 0

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, context: int) -> PairRows:
        """Pairs of texts as rows. A source of more than `context` tokens is cut behind them, and counted in `cut`; a pair
        whose target is longer, or that has nothing in one of the two, is left out, and counted in `left_out`."""
        end = tokenizer.document_end
        sources = [source_ids(tokenizer, source) for source, _ in pairs]
        targets = tokenizer.encode_batch([target for _, target in pairs], special=False)
        kept = [
            (shortened(source, context), target)
            for source, target in zip(sources, targets, strict=True)
            if source and target and len(target) + 1 <= context
        ]
        if not kept:
            raise DataError(
                f"none of {len(pairs):,} pairs can be learnt: their targets are empty or have more than {context - 1:,} "
                "tokens; look at the data, or raise training.context"
            )
        rows = cls(kept, target_start(tokenizer), end)
        rows.cut, rows.left_out = sum(len(source) > context for source in sources), len(pairs) - len(kept)
        return rows

    def __len__(self) -> int:
        return len(self.pairs)

    def length(self, place: int) -> tuple[int, ...]:
        """The target's, then the source's: a target's tokens cost more."""
        source, target = self.pairs[place]
        return len(target), len(source)

    def batch(self, places: Sequence[int]) -> Batch:
        """Each target from its start on, the token behind each as its label, and the sources beside them."""
        sources = [self.pairs[place][0] for place in places]
        targets = [[*self.pairs[place][1], *self.ends] for place in places]
        tokens, labels = padded([[self.start, *ids[:-1]] for ids in targets], 0), padded(targets, IGNORE)
        source = padded(sources, 0)
        real = torch.arange(source.shape[1]) < torch.tensor([len(ids) for ids in sources])[:, None]
        return _batch(tokens, labels, [len(ids) for ids in targets], source=source, source_real=real)


def shortened(ids: Ids, most: int) -> Ids:
    """At most so many ids: the first ones and the last, which ends the text."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def padded(rows: Sequence[Ids], filler: int) -> Int[Tensor, "batch seq"]:
    """Rows of ids as one tensor, filled up at the end."""
    width = -(-max(map(len, rows)) // TILE) * TILE
    return torch.tensor([[*ids, *[filler] * (width - len(ids))] for ids in rows])


def _batch(tokens: Tensor, labels: Tensor, sizes: Sequence[int], **more: Tensor) -> Batch:
    """Rows of one document each; -1 numbers the padding."""
    at = torch.arange(tokens.shape[1]).expand_as(tokens)
    documents = torch.where(at < torch.tensor(sizes)[:, None], 0, -1)
    return Batch(tokens, labels, at, documents, **more)

"""From texts to batches: documents as token ids, packed into rows that waste little, stacked into tensors.

    examples = [example_of(document, tokenizer) for document in documents]
    for batch in batches(pack(examples, seq=1024), batch_rows=4, seed=0, epoch=0):
        ...

A row holds several documents, which must not see each other: the network builds its mask from
`Batch.documents`. Every token that carries loss is predicted exactly once, also where a long document is
cut: the next piece begins with the last token of the one before as its context.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import torch
from torch import Tensor

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.tokens.chat.conversation import encode_document
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.tokenizer import Tokenizer

TILE = 32
"""A batch's width is a multiple of this; so it may be a little wider than `seq`, by padding alone."""


@dataclass(frozen=True)
class Example:
    """A document as tokens; `supervised[i]` says that token i is to be predicted (from those before it)."""

    tokens: list[int]
    supervised: list[bool]
    source: str
    reference: float | None = None
    """Of one of a pair of answers, the log-probability that the reference gives the supervised tokens; such examples
    stand in a row by twos, the better answer first. None for any other example."""


@dataclass(frozen=True)
class Taught:
    """What a teacher would have predicted, as samples: a token that stands among them n times has the probability n
    over their number."""

    ids: Int[Tensor, "*rows samples"]
    """Tokens drawn from the teacher's predictions."""
    entropy: Float[Tensor, "*rows"]
    """Of the predictions themselves, in nats."""

    def of(self, rows: Int[Tensor, " some"]) -> Taught:
        """Those of some tokens of a batch, counted through its rows."""
        return Taught(self.ids.flatten(0, -2)[rows], self.entropy.flatten()[rows])

    def chunk(self, parts: int) -> list[Taught]:
        """As many parts with equally many rows each."""
        return [Taught(*both) for both in zip(self.ids.chunk(parts), self.entropy.chunk(parts), strict=True)]

    def to(self, device: torch.device | str) -> Taught:
        """The same on another device."""
        return Taught(self.ids.to(device), self.entropy.to(device))


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, or rows of one text each with what an objective needs beside it."""

    tokens: Int[Tensor, "batch seq"]
    labels: Int[Tensor, "batch seq"]
    """`labels[t]` belongs to the logits at t: the token at t + 1 of the same document, or at t itself where masked
    tokens are restored; IGNORE where nothing is to be predicted."""
    positions: Int[Tensor, "batch seq"]
    """From 0 in each document."""
    documents: Int[Tensor, "batch seq"]
    """Numbers the documents of a row; -1 is padding."""
    source: Int[Tensor, "batch source"] | None = None
    """What an encoder-decoder's encoder reads."""
    source_real: Bool[Tensor, "batch source"] | None = None
    """False on the source's padding."""
    segments: Int[Tensor, "batch seq"] | None = None
    """Which of two texts each token belongs to (BERT)."""
    classes: Int[Tensor, " batch"] | Int[Tensor, "batch seq"] | None = None
    """The class of each text, or of each token; IGNORE where there is none."""
    prefix: Bool[Tensor, "batch seq"] | None = None
    """True on tokens that all of their document may see, those before them too (prefix LM)."""
    references: Float[Tensor, "batch documents"] | None = None
    """`Example.reference` of each document of a row, NaN where there is none; None where no row has any."""
    taught: Taught | None = field(default=None, kw_only=True)
    """What a teacher predicts at each token, [batch, seq] of it; whatever stands where nothing is to be predicted."""
    pixels: Float[Tensor, "batch channels height width"] | None = field(default=None, kw_only=True)
    """The image of each row, whose caption or class stands beside it."""
    states: Float[Tensor, "batch dim"] | None = field(default=None, kw_only=True)
    """What a frozen tower made of each row's image before training."""
    groups: Int[Tensor, " batch"] | None = field(default=None, kw_only=True)
    """Rows of one group are too much alike to tell apart: their captions repeat, or are siblings."""

    @property
    def supervised(self) -> int:
        """How many labels carry loss."""
        return int((self.labels != IGNORE).sum())

    def without_loss(self) -> Batch:
        """The same rows, of which nothing is to be predicted."""
        classes = None if self.classes is None else torch.full_like(self.classes, IGNORE)
        return replace(self, labels=torch.full_like(self.labels, IGNORE), classes=classes)

    def split(self, parts: int) -> list[Batch]:
        """As many batches with equally many of the rows each, in their order."""
        fields = {name: value.chunk(parts) for name, value in vars(self).items() if value is not None}
        return [replace(self, **{name: pieces[at] for name, pieces in fields.items()}) for at in range(parts)]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        there = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return replace(self, **there)


Row = tuple[Example, ...]
"""The pieces that one packed row holds, in order; together at most `seq` tokens."""


def examples_of(document: Document, tokenizer: Tokenizer) -> list[Example]:
    """A document as it is learnt. A text is `[document_start] text [document_end]`, all but the first supervised; of a
    conversation what the assistant says is supervised, and it is one example for each answer where the template
    rewrites earlier turns. DataError where nothing could be learnt."""
    if document.messages is not None:
        return [Example(*one, document.source) for one in encode_document(tokenizer, document)]
    start, end = tokenizer.document_start, tokenizer.document_end
    tokens = [
        *([] if start is None else [start]),
        *tokenizer.encode(document.text, special=False),
        *([] if end is None else [end]),
    ]
    if len(tokens) < 2:
        raise DataError(f"{document.source} has no token that could be predicted; leave it out")
    return [Example(tokens, [False] + [True] * (len(tokens) - 1), document.source)]


def example_of(document: Document, tokenizer: Tokenizer) -> Example:
    """The only example of a document, by `examples_of`. DataError where there are several."""
    example, *more = examples_of(document, tokenizer)
    if more:
        raise DataError(f"{document.source} is learnt answer by answer; read it with examples_of")
    return example


def pack(examples: Sequence[Example], seq: int, *, seed: int | None = None) -> list[Row]:
    """Fill rows of `seq` tokens with whole documents, the longest first into the fullest row that has room.

    Documents of more than `seq` tokens are cut; a piece in which nothing is supervised is left out. With a
    `seed`, documents of equal length share rows in a random order, else in the order given. DataError for a
    document in which nothing is supervised.
    """
    if seq < 2:
        raise ConfigError(f"seq is {seq}; a row needs at least 2 tokens to predict one")
    pieces = [piece for example in examples for piece in _cut(example, seq)]
    if seed is not None:
        random.Random(seed).shuffle(pieces)
    pieces.sort(key=lambda piece: len(piece.tokens), reverse=True)
    rows: list[list[Example]] = []
    for piece, row in zip(pieces, fill((len(piece.tokens) for piece in pieces), seq), strict=True):
        if row == len(rows):
            rows.append([])
        rows[row].append(piece)
    return [tuple(row) for row in rows]


def fill(sizes: Iterable[int], seq: int) -> list[int]:
    """The row of each piece: the fullest that has room, the first of equals, or a new one. `sizes` must not grow.

    Rows are kept by their free tokens, and one bit for each number of free tokens says whether there are any: so a
    piece is placed in about the same time however many rows there are.
    """
    by_room: list[list[int]] = [[] for _ in range(seq + 1)]
    has_rows = rows = 0
    placed = []
    for size in sizes:
        fitting = has_rows >> size
        if fitting:
            free = size + (fitting & -fitting).bit_length() - 1
            row = heappop(by_room[free])
            if not by_room[free]:
                has_rows ^= 1 << free
        else:
            free, row = seq, rows
            rows += 1
        placed.append(row)
        if free - size > 1:  # one token alone predicts nothing
            heappush(by_room[free - size], row)
            has_rows |= 1 << (free - size)
    return placed


def batches(rows: Sequence[Row], batch_rows: int, seed: int, epoch: int) -> Iterator[Batch]:
    """All rows once, `batch_rows` at a time, in an order that depends on the seed and the epoch alone."""
    if batch_rows < 1:
        raise ConfigError(f"batch_rows is {batch_rows}; it must be at least 1")
    order = list(range(len(rows)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    for start in range(0, len(order), batch_rows):
        yield stack([rows[place] for place in order[start : start + batch_rows]])


def stack(rows: Sequence[Row]) -> Batch:
    """Rows as tensors, as wide as the fullest of them, rounded up to a TILE and padded at the end."""
    # Kernels work on tiles: a width that they divide costs less than the padding.
    width = -(-max(sum(len(piece.tokens) for piece in row) for row in rows) // TILE) * TILE
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    labels, documents = torch.full_like(tokens, IGNORE), torch.full_like(tokens, -1)
    positions = torch.zeros_like(tokens)
    for number, row in enumerate(rows):
        start = 0
        for document, piece in enumerate(row):
            size = len(piece.tokens)
            here = (number, slice(start, start + size))
            tokens[here] = torch.tensor(piece.tokens)
            following = [
                token if carries else IGNORE
                for token, carries in zip(piece.tokens[1:], piece.supervised[1:], strict=True)
            ]
            labels[here] = torch.tensor([*following, IGNORE])
            positions[here] = torch.arange(size)
            documents[here] = document
            start += size
    return Batch(tokens, labels, positions, documents, references=_references(rows))


def _references(rows: Sequence[Row]) -> Float[Tensor, "batch documents"] | None:
    if all(piece.reference is None for row in rows for piece in row):
        return None
    found = torch.full((len(rows), max(map(len, rows))), torch.nan, dtype=torch.float64)
    for number, row in enumerate(rows):
        for document, piece in enumerate(row):
            if piece.reference is not None:
                found[number, document] = piece.reference
    return found


def _cut(example: Example, seq: int) -> list[Example]:
    """Pieces of at most `seq` tokens; each but the first begins with the last token of the one before."""
    if not any(example.supervised[1:]):
        raise DataError(f"{example.source} has no token that carries loss; leave it out, or check its turns")
    parts = [slice(start, start + seq) for start in range(0, len(example.tokens) - 1, seq - 1)]
    pieces = [Example(example.tokens[part], example.supervised[part], example.source) for part in parts]
    return [piece for piece in pieces if any(piece.supervised[1:])]

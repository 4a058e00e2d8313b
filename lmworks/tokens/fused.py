"""Captions and images in one vocabulary as rows of a batch: an image after its caption, or before it.

Each epoch says a part of the tags in another order, takes another version of the image, leaves some captions out and
puts some images first, by draws that depend on the run's seed, the epoch and the row alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import numpy as np

from lmworks.basics.arrays import Int
from lmworks.text.document import Document
from lmworks.text.images.splits import style_of
from lmworks.tokens.batch import Batch, Example, stack
from lmworks.tokens.rows import Rows

ARTICLE, STYLE = 0.3, 0.5
"""Shares of the captions of emoji that begin with "a", as people ask for an image, and that name the style."""


class FusedImages(Rows):
    """A row for each image."""

    def __init__(
        self,
        documents: Sequence[Document],
        codes: Int[np.ndarray, "views images places"],
        encode: Callable[[str], list[int]],
        around: Callable[[Sequence[int]], list[int]],
        end: int,
        context: int,
        *,
        dropped: float = 0.0,
        captioning: float = 0.0,
        changed: bool = False,
    ) -> None:
        """`encode` gives a caption's tokens, `around` those of an image with its marks; `end` begins and ends a row of
        at most `context` tokens, for which captions are cut. Only what is `changed` differs between epochs."""
        self.documents, self.codes, self.encode, self.around, self.end = documents, codes, encode, around, end
        self.room = context - len(around(codes[0, 0].tolist())) - 2
        self.dropped, self.captioning, self.changed = dropped, captioning, changed
        self.epoch, self.seed = 0, 0

    def __len__(self) -> int:
        return len(self.documents)

    def batches(self, size: int) -> int:
        """See Rows: whole batches; an epoch leaves a few rows out."""
        return max(len(self) // size, 1)

    def at_epoch(self, epoch: int, seed: int) -> Self:
        """The same images with other captions, in another version."""
        turned = copy(self)
        turned.epoch, turned.seed = epoch, seed
        return turned

    def width(self, context: int) -> float:
        """See Rows: an image, its marks and ends, and a caption of usual length."""
        return context - self.room + min(self.room, 12)

    def batch(self, places: Sequence[int]) -> Batch:
        """Some images with their captions as tokens."""
        return stack([(self._example(place),) for place in places])

    def _example(self, place: int) -> Example:
        document, draw = self.documents[place], random.Random(f"{self.seed}/{self.epoch}/{place}")
        view = draw.randrange(len(self.codes)) if self.changed else 0
        image, first = self.around(self.codes[view, place].tolist()), draw.random() < self.captioning
        if first:  # what is said of it is all that is known
            tokens = [self.end, *image, *self.encode(document.text)[: self.room], self.end]
        elif draw.random() < self.dropped:
            tokens = [self.end, *image]  # and no end: after an image without a caption comes one, where any is wanted
        else:
            tokens = [self.end, *self.encode(self._caption(document, draw))[: self.room], *image, self.end]
        return Example(tokens, [False] + [True] * (len(tokens) - 1), document.source)

    def _caption(self, document: Document, draw: random.Random) -> str:
        """As somebody might ask for the image: of an emoji, some of its tags, and its style."""
        name, _, _ = document.text.partition(": ")
        if not self.changed or "tags" not in document.metadata:
            return document.text
        known = document.metadata["tags"]
        tags = draw.sample(list(known), draw.randint(0, len(known))) if draw.random() < 0.5 else []
        if draw.random() < STYLE:
            tags.append(style_of(document))
        if draw.random() < ARTICLE:
            name = f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
        return f"{name}: {', '.join(tags)}" if tags else name

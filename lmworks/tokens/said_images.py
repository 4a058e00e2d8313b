"""Images and what is said of them as rows of a batch: an image's places, then its caption, which is learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lmworks.text.document import Document
from lmworks.tokens.batch import Batch, Example, stack
from lmworks.tokens.captioned import ImageRows, Normalise

ROW = 256
"""Tokens of a row that holds several images with their captions; a longer one has a row of its own."""


class SaidImages(ImageRows):
    """Images with their captions, several in a row, which do not see each other. Every image stands as the first ids
    past the vocabulary; `Captioning` gives each its own."""

    def __init__(
        self,
        documents: Sequence[Document],
        around: Callable[[str], list[int]],
        before: Sequence[int],
        normalise: Normalise,
        *,
        change: float = 0.0,
    ) -> None:
        """`around` gives a caption's tokens with its end, and `before` are those that stand before it, an image's
        places among them. `change` as of ImageRows."""
        super().__init__(documents, normalise, change)
        self.around, self.before = around, list(before)

    def width(self, context: int) -> float:
        """See Rows: an image's places and a caption."""
        return len(self.before) + context / 2

    def batch(self, places: Sequence[int]) -> Batch:
        """Some images with their captions, in rows that are filled one after another."""
        rows, room = list[list[Example]](), 0
        for one in map(self._example, places):
            if len(one.tokens) > room:
                rows.append([])
                room = ROW
            rows[-1].append(one)
            room -= len(one.tokens)
        return replace(stack([tuple(row) for row in rows]), states=self.states_of(places))

    def apart(self, places: Sequence[int]) -> Batch:
        """The same, each in a row of its own."""
        return replace(stack([(self._example(at),) for at in places]), states=self.states_of(places))

    def _example(self, place: int) -> Example:
        document = self.documents[place]
        said = self.around(document.text)
        supervised = [False] * len(self.before) + [True] * len(said)
        return Example([*self.before, *said], supervised, document.source)

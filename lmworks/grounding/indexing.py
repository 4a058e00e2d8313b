"""How documents enter an index and leave it: cut into chunks, embedded, and counted word by word."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.grounding import postings
from lmworks.grounding.changes import Found
from lmworks.grounding.chunks import Chunk, chunks_of
from lmworks.grounding.storage import Reading, Writing
from lmworks.grounding.terms import terms
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document

AT_ONCE = 512
"""Chunks that are embedded together."""


@dataclass(frozen=True)
class Indexer:
    """What takes changes over into an index."""

    embedder: Callable[[], LanguageModel]
    """Called when there is something to cut or to embed."""
    longest: int
    """Tokens of a chunk."""
    language: str
    """Whose stems words are cut to."""

    def take_over(self, found: Found, writing: Writing) -> None:
        """Take out what was deleted or changed, and put in what was changed or added."""
        # Rows of chunks that go now may still be read by others until the commit: they are not used again before.
        free = _free(writing)
        gone: dict[int, list[str]] = {}
        for file in (*found.changes.deleted, *found.changes.changed):
            gone |= {number: self._terms(chunk) for number, chunk in writing.chunks_of(file).items()}
            writing.remove(file)
        postings.change(writing, {}, gone)
        waiting: list[tuple[int, Chunk]] = []
        for document, file in found.documents:
            # A NUL ends a text in SQL.
            sound = replace(document, text=document.text.replace("\0", "\ufffd")) if "\0" in document.text else document
            number = writing.add_document(sound, file)
            waiting += [(number, chunk) for chunk in self._chunks(sound)]
        with progress.task("embedding", len(waiting), "chunks") as advance:
            for start in range(0, len(waiting), postings.SEGMENT):
                self._add(waiting[start : start + postings.SEGMENT], free, writing, advance)
        writing.set_files(found.files)
        if found.changes or found.documents:
            writing.set("state", uuid.uuid4().hex)

    def _chunks(self, document: Document) -> list[Chunk]:
        tokenizer = self.embedder().tokenizer

        def count(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in tokenizer.encode_batch(list(texts), special=False)] if texts else []

        return chunks_of(document, count, self.longest)

    def _add(
        self,
        chunks: Sequence[tuple[int, Chunk]],
        free: Iterator[int],
        writing: Writing,
        advance: Callable[[int], None],
    ) -> None:
        numbered = {next(free): one for one in chunks}
        writing.add_chunks(numbered)
        postings.change(writing, {number: self._terms(chunk) for number, (_, chunk) in numbered.items()}, {})
        numbers = list(numbered)
        for start in range(0, len(numbers), AT_ONCE):
            batch = numbers[start : start + AT_ONCE]
            vectors = self.vectors([numbered[number][1].whole for number in batch])
            writing.add_vectors(dict(zip(batch, vectors, strict=True)))
            advance(len(batch))

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """A vector for each text, the same to the bit whatever is embedded beside it."""
        embedder = self.embedder()
        batches = [texts] if embedder.batch_invariant else [[text] for text in texts]
        with progress.hidden():
            return np.concatenate([embedder.embed(batch, cut=True).numpy() for batch in batches])

    def _terms(self, chunk: Chunk) -> list[str]:
        """What a chunk is found by; never empty, as a length of 0 stands for no chunk."""
        return terms(chunk.whole, self.language) or [""]


def _free(index: Reading) -> Iterator[int]:
    """Numbers for new chunks: those that are free at this moment, then new ones."""
    lengths = postings.lengths_of(index)  # now, and not at the first `next`
    return itertools.chain(map(int, np.flatnonzero(lengths == 0)), itertools.count(len(lengths)))

"""How documents enter an index and leave it: cut into chunks, embedded, and counted word by word."""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.grounding import postings
from lmworks.grounding.changes import FileState, FoundChanges, Read
from lmworks.grounding.chunks import Chunk, chunks_of
from lmworks.grounding.storage import Snapshot, Transaction
from lmworks.grounding.terms import languages_of, terms
from lmworks.text.document import Document
from lmworks.tokens.counting import TokenCounter

if TYPE_CHECKING:
    from lmworks.language_model import LanguageModel

AT_ONCE = 512
"""Chunks that are embedded together."""
BATCH = postings.SEGMENT
"""Chunks that are written together; while an index is made, what is kept when it is stopped."""
LANGUAGES = "languages"
"""The setting that counts the chunks of each language, as JSON."""


@dataclass(frozen=True)
class Indexer:
    """What takes changes over into an index."""

    embedder: Callable[[], LanguageModel]
    """Called when there is something to cut or to embed."""
    longest: int
    """Tokens of a chunk."""
    language: str
    """Whose stems words are cut to; "auto" for each document's own."""

    def take_over(self, found: FoundChanges, writing: Transaction, keep: bool = False) -> None:
        """Take out what was deleted or changed, and put in what was changed or added.

        While an index is made, `keep` what is done from time to time: the next one goes on from there.
        """
        # Rows of chunks that go now may still be read by others until the commit: they are not used again before.
        free, languages, batch = _free(writing), languages_in(writing), _Batch()
        without_text: list[FileState] = []  # named again by a build that goes on: they are kept at the end
        with progress.task("indexing", found.bytes / 1000, "kB") as advance:

            def write() -> None:
                for start in range(0, max(len(batch.chunks), 1), BATCH):
                    self._change(batch.chunks[start : start + BATCH], batch.gone, free, writing, advance)
                    batch.gone.clear()
                languages.update(one.language for one in batch.chunks)
                writing.set_files(batch.files)
                writing.set(LANGUAGES, json.dumps({name: languages[name] for name in sorted(+languages)}))
                if keep:
                    writing.checkpoint()

            for file in found.changes.deleted:
                self._remove(file, batch, languages, writing)
            for one in found.files:
                if one.known:
                    self._remove(one.state[0], batch, languages, writing)
                batch.chunks.extend(self._enter(one, writing))
                (batch.files if one.documents or not keep else without_text).append(one.state)
                if max(len(batch.chunks), len(batch.files)) >= BATCH:
                    write()
                    batch = _Batch()
            batch.files.extend(without_text)
            write()

    def _remove(self, file: str, batch: _Batch, languages: Counter[str], writing: Transaction) -> None:
        gone = writing.chunks_of(file)
        languages.subtract(language for language, _ in gone.values())
        batch.gone.update({number: _terms(chunk, language) for number, (language, chunk) in gone.items()})
        writing.remove(file)

    def _enter(self, file: Read, writing: Transaction) -> list[_New]:
        """Keep the documents of a file; the chunks that are to be added."""
        # A NUL ends a text in SQL.
        sound = [
            replace(one, text=one.text.replace("\0", "\ufffd")) if "\0" in one.text else one for one in file.documents
        ]
        of_file = [self.language] * len(sound)
        if self.language == "auto":
            of_file = languages_of([one.text for one in sound])
        found = []
        for document, language in zip(sound, of_file, strict=True):
            number = writing.add_document(document, file.state[0], language)
            found += [(number, language, chunk) for chunk in self._chunks(document)]
        return [_New(*one, share=file.bytes / len(found)) for one in found]

    def _chunks(self, document: Document) -> list[Chunk]:
        return chunks_of(document, self._count, self.longest)

    @cached_property
    def _count(self) -> TokenCounter:
        return TokenCounter(self.embedder().tokenizer)

    def _change(
        self,
        chunks: Sequence[_New],
        gone: Mapping[int, Sequence[str]],
        free: Iterator[int],
        writing: Transaction,
        advance: progress.Advance,
    ) -> None:
        if not chunks and not gone:
            return
        numbered = {next(free): one for one in chunks}
        writing.add_chunks({number: (one.document, one.chunk) for number, one in numbered.items()})
        postings.change(writing, {number: _terms(one.chunk, one.language) for number, one in numbered.items()}, gone)
        numbers = list(numbered)
        for start in range(0, len(numbers), AT_ONCE):
            some = [numbered[number] for number in numbers[start : start + AT_ONCE]]
            vectors = self.vectors([one.chunk.whole for one in some])
            writing.add_vectors(dict(zip(numbers[start : start + AT_ONCE], vectors, strict=True)))
            advance(sum(one.share for one in some) / 1000)
        writing.set("state", uuid.uuid4().hex)

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """A vector for each text, the same to the bit whatever is embedded beside it."""
        embedder = self.embedder()
        batches = [texts] if embedder.batch_invariant else [[text] for text in texts]
        with progress.hidden():
            return np.concatenate([embedder.vectors(batch, prompt="passage", cut=True) for batch in batches])


@dataclass(frozen=True)
class _New:
    """A chunk that is to be added."""

    document: int
    """The number of its document."""
    language: str
    chunk: Chunk
    share: float
    """Of its file's bytes."""


@dataclass(frozen=True)
class _Batch:
    """Files whose documents are kept, and their chunks, which are not yet."""

    files: list[FileState] = field(default_factory=list)
    chunks: list[_New] = field(default_factory=list)
    gone: dict[int, list[str]] = field(default_factory=dict)
    """Terms of chunks that were taken out, by number."""


def languages_in(index: Snapshot) -> Counter[str]:
    """How many chunks there are of each language."""
    return Counter(json.loads(index.settings().get(LANGUAGES, "{}")))


def _terms(chunk: Chunk, language: str) -> list[str]:
    """What a chunk is found by; never empty, as a length of 0 stands for no chunk."""
    return terms(chunk.whole, language) or [""]


def _free(index: Snapshot) -> Iterator[int]:
    """Numbers for new chunks: those that are free at this moment, then new ones."""
    lengths = postings.lengths_of(index)  # now, and not at the first `next`
    return itertools.chain(map(int, np.flatnonzero(lengths == 0)), itertools.count(len(lengths)))

"""Index: the chunks of a folder of documents, found by keywords and by vectors, kept in one folder.

    index = build("notes/", out="indexes/notes")
    for passage in index.search("when is rent due?", k=3): print(passage.file, passage.text)
    index.update()                                    # what was added, changed or deleted since

`index.sqlite` holds documents, chunks and keywords, `vectors.i8` a row for each chunk. An update is one transaction:
whoever reads sees the index before it or after it, and after a kill it is one of the two. It scores and ranks exactly
as an index that is built anew from the same files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import directory_written_whole
from lmworks.grounding import postings
from lmworks.grounding.answer import Answer, Way
from lmworks.grounding.asking import ask
from lmworks.grounding.changes import Changes, Found, changes_of
from lmworks.grounding.chunks import Chunk, chunks_of
from lmworks.grounding.matrix import Matrix
from lmworks.grounding.passage import Passage
from lmworks.grounding.terms import check_language, language_of, terms
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.document import Document

VERSION = 1
By = Literal["hybrid", "keywords", "vectors"]
PATIENCE = 5.0
"""Seconds that a writer waits for another."""
AT_ONCE = 512
"""Chunks that are embedded and written together."""
SAMPLE = 200_000
"""Characters by which the language is told."""

SCHEMA = (
    """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, file TEXT NOT NULL, hash TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE files (file TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE INDEX documents_of_file ON documents (file);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), start INTEGER NOT NULL,
    stop INTEGER NOT NULL, title TEXT NOT NULL, heading TEXT NOT NULL);
CREATE INDEX chunks_of_document ON chunks (document);
"""
    + postings.SCHEMA
)


class IndexSettings(Config):
    """How documents are cut and found; fixed when an index is made."""

    embedder: str = "minilm"
    """The model whose vectors stand for chunks and questions."""

    longest: int = 160
    """Tokens of a chunk, in the embedder's tokens."""

    language: str = "auto"
    """Whose stems words are cut to; "auto" tells it from the text when the index is made, "none" leaves words as they
    are."""

    weight: float = 0.5
    """The share of the vectors in a hybrid score; the rest is the keywords'."""


class Index:
    """An index that exists. Reading never blocks and never sees half of an update."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "index.sqlite").is_file():
            raise DataError(f"{folder} holds no index; make one: lmworks index FOLDER --out {folder}")
        with self._connection() as connection:
            held = dict(connection.execute("SELECT name, value FROM settings"))
        if int(held.get("version", 0)) != VERSION:
            raise DataError(f"{folder} was made by another lmworks (version {held.get('version')}); index it again")
        self.settings = IndexSettings(**json.loads(held["settings"]))
        self.reference: str = held["reference"]
        """The folder, file or named text that was indexed."""
        self.language: str = held["language"]
        self.matrix = Matrix(folder / "vectors.i8", int(held["dim"]))
        self.changes = Changes([], [], [])
        """What the last update took over; after it is made, all files."""

    @cached_property
    def embedder(self) -> LanguageModel:
        """The model of its vectors, loaded when it is first needed; DataError if it makes vectors of another size."""
        return self._loaded()

    @cached_property
    def query_embedder(self) -> LanguageModel:
        """The same for queries, in PyTorch: one short text takes 10 ms there, and compiled kernels seconds to load."""
        return self._loaded(compress="none")

    def _loaded(self, **how: Any) -> LanguageModel:
        model = load(self.settings.embedder, **how)
        if model.config.dim != self.matrix.dim:
            raise DataError(
                f"{self.folder} was made with an embedder of {self.matrix.dim} dimensions, and "
                f"{self.settings.embedder} has {model.config.dim}; index it again"
            )
        return model

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction, so that everything it reads is of one moment."""
        connection = sqlite3.connect(self.folder / "index.sqlite", isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.folder}/index.sqlite cannot be read ({error}); index it again") from error
        finally:
            connection.close()

    def __len__(self) -> int:
        """How many chunks there are."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def search(self, query: str, k: int = 10, by: By = "hybrid") -> list[Passage]:
        """The k best chunks for a query, best first; by keywords, only those that hold one.

        ConfigError for a k below 1, a way that there is not, or an empty query.
        """
        if not query.strip():
            raise ConfigError("the query is empty; give some words or a question")
        if k < 1:
            raise ConfigError(f"k is {k}; ask for at least 1 passage")
        if by not in ("hybrid", "keywords", "vectors"):
            raise ConfigError(f"{by!r} is no way to search; there are hybrid, keywords and vectors")
        with self._connection() as connection:
            lengths = postings.lengths_of(connection)
            there = np.flatnonzero(lengths)
            if not len(there):
                return []
            scores = self._scores(connection, query, by, lengths, there)
            best = there[_best(scores, k)]
            found = [
                self._passage(connection, int(chunk), float(scores[at]))
                for chunk, at in zip(best, np.searchsorted(there, best), strict=True)
                if by != "keywords" or scores[at] > 0
            ]
        # Equal scores in the order of the documents, not of numbers that depend on what was indexed before.
        return sorted(found, key=lambda one: (-one.score, one.file, one.start))[:k]

    def _scores(
        self,
        connection: sqlite3.Connection,
        query: str,
        by: By,
        lengths: NDArray[np.uint32],
        there: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """A score for each chunk that is there."""
        keywords = vectors = np.zeros(len(there))
        if by != "vectors":
            words = terms(query, self.language)
            found = postings.scores(connection, words, lengths, len(there), float(lengths[there].mean()))
            keywords = np.zeros(len(lengths))
            keywords[found.chunks] = found.scores
            keywords = keywords[there]
        if by != "keywords":
            vector = self.query_embedder.embed([query], cut=True)[0].numpy()
            vectors = self.matrix.scores(vector)[there]
        if by == "hybrid":
            weight = self.settings.weight
            return weight * _spread(vectors) + (1 - weight) * _spread(keywords)
        return keywords if by == "keywords" else vectors

    def _passage(self, connection: sqlite3.Connection, chunk: int, score: float) -> Passage:
        source, title, heading, start, stop, text = connection.execute(
            "SELECT source, title, heading, start, stop, substr(text, start + 1, stop - start) FROM chunks "
            "JOIN documents ON documents.id = chunks.document WHERE chunks.id = ?",
            (chunk,),
        ).fetchone()
        return Passage(text, score, title, heading, source, start, stop, chunk)

    def ask(
        self, question: str, model: str | LanguageModel | None = None, way: Way = "extract", **choices: Any
    ) -> Answer:
        """What the documents say to a question, with verbatim citations, or a refusal; `choices` as `asking.ask`'s."""
        return ask(self, question, way, model, **choices)

    def passage(self, chunk: int) -> Passage | None:
        """A chunk by its number, with a score of 0; None where there is none of it (any more)."""
        with self._connection() as connection:
            there = connection.execute("SELECT 1 FROM chunks WHERE id = ?", (chunk,)).fetchone()
            return self._passage(connection, chunk, 0.0) if there else None

    def document(self, file: str) -> str | None:
        """The whole text of a document by its source (`Passage.file`); None where the index has no such document."""
        with self._connection() as connection:
            row = connection.execute("SELECT text FROM documents WHERE source = ?", (file,)).fetchone()
            return str(row[0]) if row else None

    @property
    def tested(self) -> dict[str, Any]:
        """What the index's own test found: figures, and the settings that it chose; empty before there was one."""
        with self._connection() as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = 'tested'").fetchone()
            return dict(json.loads(row[0])) if row else {}

    def keep_test(self, figures: Mapping[str, Any]) -> None:
        """Store what a test of the index found; it is `tested` from now on."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('tested', ?)", (json.dumps(dict(figures)),))

    def update(self) -> Changes:
        """Bring in what was added, changed or deleted since; returns what that was. Nothing is lost where it fails."""
        with self._writing() as connection:
            known = {file: tuple(rest) for file, *rest in connection.execute("SELECT * FROM files")}
            found = changes_of(self.reference, known)
            self._apply(connection, found)
        self.changes = found.changes
        return found.changes

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.folder / "index.sqlite", isolation_level=None, timeout=PATIENCE)
        try:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise DataError(f"another process is updating {self.folder} ({error}); wait for it") from None
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise DataError(f"{self.folder}: the update failed ({error}); the index is as it was before") from error
        finally:
            connection.close()  # without a commit: as it was

    def _apply(self, connection: sqlite3.Connection, found: Found) -> None:
        # Rows of chunks that go now may still be read by others until the commit: they are not used again before.
        free = _free(connection)
        for file in (*found.changes.deleted, *found.changes.changed):
            self._remove(connection, file)
        waiting: list[tuple[int, Chunk]] = []
        for document, file in found.documents:
            row = connection.execute(
                "INSERT INTO documents (source, file, hash, text) VALUES (?, ?, ?, ?)",
                (document.source, file, document.hash, document.text),
            )
            waiting += [(int(row.lastrowid or 0), chunk) for chunk in self._chunks(document)]
        with progress.task("embedding", len(waiting), "chunks") as advance:
            for start in range(0, len(waiting), AT_ONCE):
                self._add(connection, waiting[start : start + AT_ONCE], free)
                advance(len(waiting[start : start + AT_ONCE]))
        connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", found.files)

    def _remove(self, connection: sqlite3.Connection, file: str) -> None:
        rows = connection.execute(
            "SELECT chunks.id, title, heading, substr(text, start + 1, stop - start) FROM chunks "
            "JOIN documents ON documents.id = chunks.document WHERE file = ?",
            (file,),
        ).fetchall()
        gone = {chunk: self._terms(Chunk(0, 0, *parts)) for chunk, *parts in rows}
        postings.change(connection, {}, gone)
        connection.executemany("DELETE FROM chunks WHERE id = ?", [(chunk,) for chunk in gone])
        connection.execute("DELETE FROM documents WHERE file = ?", (file,))
        connection.execute("DELETE FROM files WHERE file = ?", (file,))

    def _chunks(self, document: Document) -> list[Chunk]:
        tokenizer = self.embedder.tokenizer

        def count(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in tokenizer.encode_batch(list(texts), special=False)] if texts else []

        return chunks_of(document, count, self.settings.longest)

    def _add(self, connection: sqlite3.Connection, chunks: Sequence[tuple[int, Chunk]], free: Iterator[int]) -> None:
        ids = [next(free) for _ in chunks]
        wholes = [chunk.whole for _, chunk in chunks]
        with progress.hidden():  # one by one, as a vector's last bits depend on the batch that it is computed in
            vectors = [self.embedder.embed([whole], cut=True)[0].numpy() for whole in wholes]
        self.matrix.write(dict(zip(ids, vectors, strict=True)))
        connection.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)",
            [
                (number, document, chunk.start, chunk.end, chunk.title, chunk.heading)
                for number, (document, chunk) in zip(ids, chunks, strict=True)
            ],
        )
        added = {number: self._terms(chunk) for number, (_, chunk) in zip(ids, chunks, strict=True)}
        postings.change(connection, added, {})

    def _terms(self, chunk: Chunk) -> list[str]:
        """What a chunk is found by; never empty, as a length of 0 stands for no chunk."""
        return terms(chunk.whole, self.language) or [""]


def open_index(folder: str | Path) -> Index:
    """An index that exists; DataError where the folder holds none."""
    return Index(Path(folder))


def build(reference: str | Path, out: str | Path, settings: IndexSettings | None = None) -> Index:
    """Index a folder, a file or a named text into the folder `out`.

    DataError if there is nothing to read, ConfigError for an index that is there already, a language without stems or
    chunks that are longer than the embedder reads.
    """
    chosen, folder = settings or IndexSettings(), Path(out)
    reference = located(reference)
    if (folder / "index.sqlite").exists():
        raise ConfigError(f"{folder} holds an index already; update it, or give another --out")
    found = changes_of(reference, {})
    if not found.documents:
        raise DataError(f"{reference} holds no text to index")
    language = chosen.language
    if language == "auto":
        language = language_of(_sample([document for document, _ in found.documents]))
    check_language(language)
    embedder = load(chosen.embedder)
    if chosen.longest > embedder.longest:
        raise ConfigError(
            f"chunks of {chosen.longest} tokens are longer than {chosen.embedder} reads: at most {embedder.longest}"
        )
    held: dict[str, Any] = {
        "version": VERSION,
        "settings": json.dumps(chosen.model_dump(mode="json")),
        "reference": reference,
        "language": language,
        "dim": embedder.config.dim,
    }
    with directory_written_whole(folder) as making:
        connection = sqlite3.connect(making / "index.sqlite", isolation_level=None)
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO settings VALUES (?, ?)", [(name, str(one)) for name, one in held.items()])
        connection.close()
        index = Index(making)
        index.__dict__["embedder"] = embedder
        with index._writing() as writing:
            index._apply(writing, found)
    index = Index(folder)
    index.__dict__["embedder"] = embedder
    index.changes = found.changes
    return index


def located(reference: str | Path) -> str:
    """A folder or file by its whole path, so that it is found from any other folder; a named text by its name."""
    path = Path(reference)
    return str(path.resolve()) if path.exists() else str(reference)


def _sample(documents: Sequence[Document]) -> str:
    """Some text of many documents."""
    each = max(SAMPLE // max(len(documents), 1), 200)
    return "\n".join(document.text[:each] for document in documents)[:SAMPLE]


def _free(connection: sqlite3.Connection) -> Iterator[int]:
    """Numbers for new chunks: those that are free at this moment, then new ones."""
    used = {number for (number,) in connection.execute("SELECT id FROM chunks")}  # now, and not at the first `next`
    return (number for number in itertools.count() if number not in used)


def _spread(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores moved to 0 ... 1."""
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.full(len(scores), float(high > 0))


def _best(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Places of the k highest scores and of all that equal the last of them."""
    if len(scores) <= k:
        return np.arange(len(scores))
    least = np.partition(scores, -k)[-k]
    return np.flatnonzero(scores >= least)

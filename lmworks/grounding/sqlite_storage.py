"""An index in a folder: `index.sqlite` holds documents, chunks and keywords, `vectors.i8` a row for each chunk.

An update is one transaction: whoever reads sees the index before it or after it, and after a kill it is one of the two.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.errors import DataError
from lmworks.basics.files import directory_written_whole
from lmworks.grounding.changes import FileState, State
from lmworks.grounding.chunks import Chunk
from lmworks.grounding.filters import Described
from lmworks.grounding.matrix import Matrix
from lmworks.grounding.passage import Passage
from lmworks.grounding.storage import Key, Reading, Writing
from lmworks.text.document import Document

PATIENCE = 5.0
"""Seconds that a writer waits for another."""

SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, file TEXT NOT NULL, hash TEXT NOT NULL, text TEXT NOT NULL,
    metadata TEXT NOT NULL);
CREATE TABLE files (file TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE INDEX documents_of_file ON documents (file);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), start INTEGER NOT NULL,
    stop INTEGER NOT NULL, title TEXT NOT NULL, heading TEXT NOT NULL);
CREATE INDEX chunks_of_document ON chunks (document);
CREATE TABLE postings (term TEXT, segment INTEGER, rows BLOB NOT NULL, PRIMARY KEY (term, segment)) WITHOUT ROWID;
CREATE TABLE lengths (segment INTEGER PRIMARY KEY, rows BLOB NOT NULL);
"""


class SqliteStorage:
    """A folder of a database and a matrix."""

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        """`alone`: nobody else knows of the folder yet."""
        self.folder, self.place, self._alone = folder, str(folder), alone

    def exists(self) -> bool:
        """Whether the folder holds an index."""
        return (self.folder / "index.sqlite").is_file()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """As `Storage.reading`."""
        connection = self._connection(timeout=30)
        try:
            connection.execute("BEGIN")
            yield _Tables(connection, self.folder)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.folder}/index.sqlite cannot be read ({error}); index it again") from error
        finally:
            connection.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """As `Storage.writing`; waits `PATIENCE` for another writer."""
        connection = self._connection(timeout=PATIENCE)
        try:
            # Changed pages stay in memory until the commit: to write some before it, SQLite would lock readers out.
            connection.execute(f"PRAGMA cache_spill = {'ON' if self._alone else 'OFF'}")
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise DataError(f"another process is updating {self.folder} ({error}); wait for it") from None
            yield _Tables(connection, self.folder)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise DataError(f"{self.folder}: the update failed ({error}); the index is as it was before") from error
        finally:
            connection.close()  # without a commit: as it was

    @contextlib.contextmanager
    def making(self) -> Iterator[Writing]:
        """As `Storage.making`."""
        with directory_written_whole(self.folder) as making:
            within = SqliteStorage(making, alone=True)
            with contextlib.closing(within._connection(timeout=PATIENCE)) as connection:
                connection.executescript(SCHEMA)
            with within.writing() as writing:
                yield writing

    def _connection(self, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "index.sqlite", isolation_level=None, timeout=timeout)


class _Tables:
    """The rows of an index inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection, self._vectors = connection, folder / "vectors.i8"

    def settings(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT name, value FROM settings"))

    def files(self) -> dict[str, State]:
        return {file: (size, changed, digest) for file, size, changed, digest in self._all("SELECT * FROM files")}

    def document(self, source: str) -> str | None:
        row = self._connection.execute("SELECT text FROM documents WHERE source = ?", (source,)).fetchone()
        return str(row[0]) if row else None

    def passages(self, chunks: Sequence[int]) -> list[Passage]:
        found = [
            self._connection.execute(
                "SELECT substr(text, start + 1, stop - start), 0.0, title, heading, source, start, stop, chunks.id "
                "FROM chunks JOIN documents ON documents.id = chunks.document WHERE chunks.id = ?",
                (chunk,),
            ).fetchone()
            for chunk in chunks
        ]
        return [Passage(*row) for row in found if row]

    def chunks_of(self, file: str) -> dict[int, Chunk]:
        rows = self._all(
            "SELECT chunks.id, start, stop, title, heading, substr(text, start + 1, stop - start) FROM chunks "
            "JOIN documents ON documents.id = chunks.document WHERE file = ?",
            file,
        )
        return {number: Chunk(*parts) for number, *parts in rows}

    def described(self) -> list[Described]:
        rows = self._all("SELECT id, source, file, changed, metadata FROM documents JOIN files USING (file)")
        return [Described(*parts, json.loads(metadata)) for *parts, metadata in rows]

    def numbers_of(self, documents: Sequence[int]) -> list[int]:
        read = "SELECT id FROM chunks WHERE document = ?"
        return [chunk for one in documents for (chunk,) in self._connection.execute(read, (one,))]

    def lengths(self) -> dict[int, bytes]:
        return dict(self._connection.execute("SELECT segment, rows FROM lengths"))

    def postings(self, term: str) -> list[tuple[int, bytes]]:
        return self._all("SELECT segment, rows FROM postings WHERE term = ? ORDER BY segment", term)

    def products(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        return Matrix(self._vectors, len(query)).scores(query)

    def set(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def set_files(self, files: Sequence[FileState]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)

    def add_document(self, document: Document, file: str) -> int:
        row = self._connection.execute(
            "INSERT INTO documents (source, file, hash, text, metadata) VALUES (?, ?, ?, ?, ?)",
            (document.source, file, document.hash, document.text, json.dumps(document.metadata)),
        )
        return int(row.lastrowid or 0)

    def add_chunks(self, chunks: Mapping[int, tuple[int, Chunk]]) -> None:
        self._connection.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)",
            [
                (number, document, one.start, one.end, one.title, one.heading)
                for number, (document, one) in chunks.items()
            ],
        )

    def add_vectors(self, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        # Before the commit: a row that nobody refers to harms nobody.
        Matrix(self._vectors, len(next(iter(vectors.values())))).write(vectors)

    def remove(self, file: str) -> None:
        chunks = "DELETE FROM chunks WHERE document IN (SELECT id FROM documents WHERE file = ?)"
        for statement in (chunks, "DELETE FROM documents WHERE file = ?", "DELETE FROM files WHERE file = ?"):
            self._connection.execute(statement, (file,))

    def rows(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        read = "SELECT rows FROM postings WHERE term = ? AND segment = ?"
        found = {key: self._connection.execute(read, key).fetchone() for key in keys}
        return {key: row[0] for key, row in found.items() if row}

    def set_rows(self, rows: Mapping[Key, bytes]) -> None:
        kept = [(*key, row) for key, row in rows.items() if row]
        gone = [key for key, row in rows.items() if not row]
        self._connection.executemany("INSERT OR REPLACE INTO postings VALUES (?, ?, ?)", kept)
        self._connection.executemany("DELETE FROM postings WHERE term = ? AND segment = ?", gone)

    def set_lengths(self, rows: Mapping[int, bytes]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO lengths VALUES (?, ?)", rows.items())

    def _all(self, statement: str, *given: object) -> list[tuple]:
        return self._connection.execute(statement, given).fetchall()

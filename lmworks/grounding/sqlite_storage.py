"""An index in a folder: `index.sqlite` holds documents, chunks and keywords, `vectors.i8` a row for each chunk.

An update is one transaction: whoever reads sees the index before it or after it, and after a kill it is one of the two.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.basics.files import FULL, LEFT_BY_DESKTOPS, beside, must_be_elsewhere, names_in, says_why
from lmworks.grounding.changes import FileState
from lmworks.grounding.chunks import Chunk
from lmworks.grounding.matrix import Matrix
from lmworks.grounding.passage import Passage
from lmworks.grounding.storage import Key, Snapshot, Transaction, make_again
from lmworks.grounding.tables import Tables
from lmworks.text.document import Document

PATIENCE = 5.0
"""Seconds that a writer waits for another."""

LOCK = "lock"
"""What holds others out of a folder in which an index is made."""

NONSENSE = (IndexError, KeyError, TypeError, ValueError)
"""What damaged rows lead to, where SQLite reads them without a word: it keeps no checksums."""
ON = "the same command goes on from there"

SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, file TEXT NOT NULL, hash TEXT NOT NULL, text TEXT NOT NULL,
    metadata TEXT NOT NULL, language TEXT NOT NULL);
CREATE TABLE files (file TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE INDEX documents_of_file ON documents (file);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), start INTEGER NOT NULL,
    stop INTEGER NOT NULL, title TEXT NOT NULL, heading TEXT NOT NULL, vector INTEGER);
CREATE INDEX chunks_of_document ON chunks (document);
CREATE TABLE postings (term TEXT, segment INTEGER, rows BLOB NOT NULL, PRIMARY KEY (term, segment)) WITHOUT ROWID;
CREATE TABLE lengths (segment INTEGER PRIMARY KEY, rows BLOB NOT NULL);
CREATE TABLE image_files (file TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TABLE images (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, file TEXT NOT NULL, caption TEXT NOT NULL, vector BLOB NOT NULL);
CREATE INDEX images_of_file ON images (file);
CREATE INDEX images_of_source ON images (source);
"""


class SqliteStorage:
    """A folder of a database and a matrix."""

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        """`alone`: nobody else knows of the folder yet."""
        self.folder, self.place, self._alone = folder, str(folder), alone
        self._matrix: Matrix | None = None

    def exists(self) -> bool:
        """Whether the folder holds an index."""
        return (self.folder / "index.sqlite").is_file()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """As `Storage.reading`."""
        try:
            with contextlib.closing(self._connection(timeout=30)) as connection:
                connection.execute("BEGIN")
                yield _Tables(connection, self)
                connection.execute("COMMIT")
        except LmworksError:
            raise
        except (sqlite3.Error, *NONSENSE) as error:
            raise DataError(f"{self.folder}/index.sqlite cannot be read ({error}); {make_again(self.place)}") from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """As `Storage.writing`; waits `PATIENCE` for another writer."""
        try:
            with contextlib.closing(self._connection(timeout=PATIENCE)) as connection:  # without a commit: as it was
                # Changed pages stay in memory until the commit: to write some before it, SQLite would lock readers out.
                connection.execute(f"PRAGMA cache_spill = {'ON' if self._alone else 'OFF'}")
                connection.execute("BEGIN IMMEDIATE")
                tables = _Tables(connection, self)
                tables.must_have_vectors()
                yield tables
                connection.execute("COMMIT")
        except LmworksError:
            raise
        except (sqlite3.Error, *NONSENSE) as error:
            raise DataError(f"{self.folder}: {_why(error)}; the index is as it was before") from error

    @contextlib.contextmanager
    def making(self, settings: Mapping[str, str]) -> Iterator[Transaction]:
        """As `Storage.making`. ConfigError where the folder holds other files, which would be lost."""
        if self.folder.exists() and (not self.folder.is_dir() or names_in(self.folder)):
            raise ConfigError(f"{self.folder} holds other files; give an empty folder, or a new one, for the index")
        must_be_elsewhere(self.folder)
        making = beside(self.folder, ".", ".making")
        with says_why(self.folder), _alone(making):
            within = SqliteStorage(making, alone=True)
            if not within._began_with(settings):
                within._begin(settings)
            try:
                with within.writing() as writing:
                    yield writing
            except BaseException as error:
                if not within._keeps_files():
                    shutil.rmtree(making, ignore_errors=True)
                elif isinstance(error, KeyboardInterrupt):
                    raise Stopped(f"stopped; what was indexed so far is kept in {making}: {ON}") from None
                raise
            (making / LOCK).unlink()
            for name in LEFT_BY_DESKTOPS:
                (self.folder / name).unlink(missing_ok=True)
            making.replace(self.folder)

    def matrix(self, dim: int) -> Matrix:
        """Its vectors, which keep their file mapped from one search to the next."""
        held = self._matrix
        if held is None or held.dim != dim:
            held = self._matrix = Matrix(self.folder / "vectors.i8", dim)
        return held

    def _began_with(self, settings: Mapping[str, str]) -> bool:
        try:
            with self.reading() as reading:
                return reading.settings().items() >= settings.items()
        except DataError:
            return False

    def _keeps_files(self) -> bool:
        with self.reading() as reading:
            return bool(reading.files() or reading.image_files())

    def _begin(self, settings: Mapping[str, str]) -> None:
        for path in self.folder.iterdir():
            if path.name != LOCK:
                path.unlink()
        with contextlib.closing(self._connection(timeout=PATIENCE)) as connection:
            connection.executescript(SCHEMA)
            connection.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())

    def _connection(self, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "index.sqlite", isolation_level=None, timeout=timeout)


def _why(error: Exception) -> str:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith("SQLITE_BUSY"):
        return f"another process is updating it ({error}); wait for it"
    if code in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
        return f"{FULL}; free some space and run it again"
    return f"the update failed ({error})"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make the folder and let no other process into it; DataError where one is there."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    lock = FileLock(folder / LOCK)
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise DataError(f"another process is making {folder.name[1:].removesuffix('.making')}; wait for it") from None


class _Tables(Tables):
    """The rows of an index inside one transaction."""

    mark = "?"

    def __init__(self, connection: sqlite3.Connection, storage: SqliteStorage) -> None:
        self._connection, self._storage = connection, storage

    def passages(self, chunks: Sequence[int]) -> list[Passage]:
        found = [
            self._connection.execute(
                "SELECT substr(text, start + 1, stop - start), 0.0, title, heading, source, start, stop, chunks.id, "
                "substr(files.hash, 1, 64), chunks.id, vector FROM chunks "
                "JOIN documents ON documents.id = chunks.document JOIN files USING (file) WHERE chunks.id = ?",
                (chunk,),
            ).fetchone()
            for chunk in chunks
        ]
        there = [row for row in found if row]
        checks = self._matrix().checks([row[-2] for row in there])
        if any(row[-1] != check for row, check in zip(there, checks, strict=True)):
            raise self._torn()
        return [Passage(*row[:-2]) for row in there]

    def numbers_of(self, documents: Sequence[int]) -> list[int]:
        read = "SELECT id FROM chunks WHERE document = ?"
        return [chunk for one in documents for (chunk,) in self._connection.execute(read, (one,))]

    def products(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        self.must_have_vectors()
        return self._matrix().scores(query)

    def must_have_vectors(self) -> None:
        """DataError where the file of vectors is gone or ends before the last chunk's."""
        if len(self._matrix()) <= self._all("SELECT coalesce(max(id), -1) FROM chunks")[0][0]:
            raise self._torn()

    def set(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def set_files(self, files: Sequence[FileState]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)

    def checkpoint(self) -> None:
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN IMMEDIATE")

    def add_document(self, document: Document, file: str, language: str) -> int:
        row = self._connection.execute(
            "INSERT INTO documents (source, file, hash, text, metadata, language) VALUES (?, ?, ?, ?, ?, ?)",
            (document.source, file, document.hash, document.text, json.dumps(document.metadata), language),
        )
        return int(row.lastrowid or 0)

    def add_chunks(self, chunks: Mapping[int, tuple[int, Chunk]]) -> None:
        self._connection.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, NULL)",
            [
                (number, document, one.start, one.end, one.title, one.heading)
                for number, (document, one) in chunks.items()
            ],
        )

    def add_vectors(self, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        # Before the commit: a row that nobody refers to harms nobody.
        checks = self._matrix().write(vectors)
        self._connection.executemany("UPDATE chunks SET vector = ? WHERE id = ?", [one[::-1] for one in checks.items()])

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

    def _matrix(self) -> Matrix:
        return self._storage.matrix(int(self.settings()["dim"]))

    def _torn(self) -> DataError:
        """Cut off, edited, or of another index."""
        place = self._storage.place
        return DataError(
            f"{place}/vectors.i8 does not belong to the index.sqlite beside it; "
            + make_again(place, self.settings().get("reference", "FOLDER"))
        )

    def _all(self, statement: str, *given: object) -> list[tuple]:
        return self._connection.execute(statement, given).fetchall()

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._connection.executemany(statement, rows)

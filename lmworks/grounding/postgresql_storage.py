"""An index in a PostgreSQL database with pgvector, for folders and readers that outgrow one machine.

    lmworks index notes/ --out postgresql://me@host/library#notes

An index is a schema, named after the `#`. Keywords lie in the same rows as in SQLite, and vectors as the same whole
numbers (halfvec holds those of int8 exactly), which the server multiplies with the query: scores are equal to the bit.
It reads every vector for a query, on as many processes as it has: a graph (HNSW) answers sooner, and depends on the
order in which vectors came, so that an updated index would rank otherwise than a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urldefrag

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.extras import require
from lmworks.basics.postgresql import reason_of, without_password
from lmworks.grounding.changes import FileState
from lmworks.grounding.chunks import Chunk
from lmworks.grounding.matrix import packed
from lmworks.grounding.passage import Passage
from lmworks.grounding.storage import Key, Snapshot, Transaction
from lmworks.grounding.tables import Tables
from lmworks.text.document import Document

SCHEMES = ("postgresql://", "postgres://")
PATIENCE = 5.0
"""Seconds that a writer waits for another."""
CONNECTING = 10
"""Seconds that a server may take to answer at all."""

TABLES = """
CREATE TABLE settings (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL UNIQUE, file text NOT NULL,
    hash text NOT NULL, text text NOT NULL, metadata text NOT NULL, language text NOT NULL);
CREATE TABLE files (file text PRIMARY KEY, size bigint NOT NULL, changed bigint NOT NULL, hash text NOT NULL);
CREATE INDEX documents_of_file ON documents (file);
CREATE TABLE chunks (
    id integer PRIMARY KEY, document bigint NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    start integer NOT NULL, stop integer NOT NULL, title text NOT NULL, heading text NOT NULL);
CREATE INDEX chunks_of_document ON chunks (document);
CREATE TABLE vectors (
    chunk integer PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE, scale real NOT NULL, entries halfvec NOT NULL);
ALTER TABLE vectors ALTER COLUMN entries SET STORAGE PLAIN;
CREATE TABLE postings (
    term text COLLATE "C", segment integer, rows bytea NOT NULL, PRIMARY KEY (term, segment));
ALTER TABLE postings ALTER COLUMN rows SET STORAGE EXTERNAL;
CREATE TABLE lengths (segment integer PRIMARY KEY, rows bytea NOT NULL);
ALTER TABLE lengths ALTER COLUMN rows SET STORAGE EXTERNAL;
CREATE TABLE image_files (file text PRIMARY KEY, size bigint NOT NULL, changed bigint NOT NULL, hash text NOT NULL);
CREATE TABLE images (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL, file text NOT NULL,
    caption text NOT NULL, vector bytea NOT NULL);
CREATE INDEX images_of_file ON images (file);
CREATE INDEX images_of_source ON images (source);
"""
_SCORED = np.dtype([("columns", ">i2"), ("_", ">i4"), ("chunk", ">i4"), ("__", ">i4"), ("score", ">f8")])
"""A row of COPY BINARY."""


class PostgresqlStorage:
    """A schema of a database. Connections that are free are kept."""

    def __init__(self, address: str) -> None:
        """ConfigError for an address that names no schema that may be used."""
        self._address, name = urldefrag(address)
        self._name = name or "lmworks"
        self.place = without_password(address)
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", self._name) or self._name.startswith("pg_"):
            raise ConfigError(
                f"{self._name!r} cannot name an index in PostgreSQL; write small letters, digits and _ after the #: "
                f"{without_password(self._address)}#notes"
            )
        self._free: list[tuple[int, Any]] = []
        """Connections, each with the process that opened it: a fork must not use its parent's."""

    def exists(self) -> bool:
        """Whether the schema holds an index; DataError where there is no answer."""
        with self._transaction("cannot be reached") as connection:
            tables = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", self._named("settings", "postings"))
            return None not in tables.fetchone()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """As `Storage.reading`."""
        with self._transaction("cannot be read", "ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield _Tables(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """As `Storage.writing`; waits `PATIENCE` for another writer."""
        with self._alone("the update failed; the index is as it was before") as connection:
            yield _Tables(connection)

    @contextlib.contextmanager
    def making(self, settings: Mapping[str, str]) -> Iterator[Transaction]:
        """As `Storage.making`, all in one transaction: one that is not ended leaves nothing. DataError for a server
        without pgvector or a schema of something else."""
        errors = require("psycopg", "scale").errors
        with self._alone("the index was not made") as connection:
            try:
                if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
                    connection.execute("CREATE EXTENSION vector")
            except errors.Error as error:
                raise DataError(
                    f"{self.place}: the database has no pgvector ({reason_of(error, self._address)}); let its "
                    "administrator install it and run: CREATE EXTENSION vector"
                ) from error
            try:
                connection.execute(f'CREATE SCHEMA "{self._name}"')
            except errors.DuplicateSchema as error:
                raise DataError(f"{self.place}: {error.diag.message_primary}; give another name after the #") from error
            self._use_schema(connection)
            connection.execute(TABLES)
            tables = _Tables(connection)
            for name, value in settings.items():
                tables.set(name, value)
            yield tables

    @contextlib.contextmanager
    def _alone(self, failure: str) -> Iterator[Any]:
        """A transaction of the one writer that there is at a time."""
        errors = require("psycopg", "scale").errors
        with self._transaction(failure) as connection:
            connection.execute(f"SET LOCAL lock_timeout = '{int(PATIENCE * 1000)}ms'")
            try:
                connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtext('lmworks index'), hashtext(%s))", [self._name]
                )
            except errors.LockNotAvailable as error:
                raise DataError(f"another process is updating {self.place}; wait for it") from error
            connection.execute("SET LOCAL lock_timeout = 0")
            yield connection

    @contextlib.contextmanager
    def _transaction(self, failure: str, how: str = "") -> Iterator[Any]:
        psycopg = require("psycopg", "scale")
        connection = None
        try:
            connection = self._begun(psycopg, how)
            self._use_schema(connection)
            yield connection
            connection.execute("COMMIT")
            self._free.append((os.getpid(), connection))
            connection = None
        except psycopg.Error as error:
            what, _, then = failure.partition("; ")
            raise DataError(
                f"{self.place} {what} ({reason_of(error, self._address)}); {then or 'see to the server'}"
            ) from error
        finally:
            if connection is not None:
                connection.close()  # without a commit: as it was

    def _begun(self, psycopg: Any, how: str) -> Any:
        """A connection in a new transaction: one that is free and still answers, or a new one."""
        while self._free:
            process, connection = self._free.pop()
            try:
                if process == os.getpid():
                    connection.execute(f"BEGIN {how}")
                    return connection
            except psycopg.OperationalError:  # the server was started anew since
                connection.close()
        given = {"connect_timeout": CONNECTING, **psycopg.conninfo.conninfo_to_dict(self._address)}
        connection = psycopg.connect(**given, autocommit=True, prepare_threshold=None)
        connection.execute(f"BEGIN {how}")
        return connection

    def _use_schema(self, connection: Any) -> None:
        connection.execute(f'SET LOCAL search_path = "{self._name}", public, extensions')

    def _named(self, *tables: str) -> list[str]:
        return [f'"{self._name}".{table}' for table in tables]


class _Tables(Tables):
    """The rows of an index inside one transaction."""

    mark = "%s"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def passages(self, chunks: Sequence[int]) -> list[Passage]:
        rows = self._all(
            "SELECT substr(text, start + 1, stop - start), 0.0::float8, title, heading, source, start, stop, "
            "chunks.id, substr(files.hash, 1, 64) FROM chunks JOIN documents ON documents.id = chunks.document "
            "JOIN files USING (file) WHERE chunks.id = ANY(%s)",
            list(chunks),
        )
        passages = (Passage(*row) for row in rows)
        found = {one.chunk: one for one in passages}
        return [found[chunk] for chunk in chunks if chunk in found]

    def numbers_of(self, documents: Sequence[int]) -> list[int]:
        return [chunk for (chunk,) in self._all("SELECT id FROM chunks WHERE document = ANY(%s)", list(documents))]

    def products(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        asked = packed(query)
        score = f"-(entries <#> '{_halfvec(asked['entries'])}') * scale::float8 * {float(asked['scale'])!r}::float8"
        scored = f"COPY (SELECT chunk, {score} FROM vectors) TO STDOUT (FORMAT BINARY)"
        with self._connection.cursor() as cursor, cursor.copy(scored) as copy:
            data = b"".join(copy)
        rows = np.frombuffer(data, _SCORED, count=(len(data) - 21) // _SCORED.itemsize, offset=19)
        found = np.zeros(int(rows["chunk"].max(initial=-1)) + 1)
        found[rows["chunk"]] = rows["score"]
        return found

    def set(self, name: str, value: str) -> None:
        self._connection.execute(
            "INSERT INTO settings VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def set_files(self, files: Sequence[FileState]) -> None:
        self._many(
            "INSERT INTO files VALUES (%s, %s, %s, %s) ON CONFLICT (file) DO UPDATE "
            "SET size = excluded.size, changed = excluded.changed, hash = excluded.hash",
            files,
        )

    def checkpoint(self) -> None:
        pass  # an index is made in one transaction

    def add_document(self, document: Document, file: str, language: str) -> int:
        rows = self._all(
            "INSERT INTO documents (source, file, hash, text, metadata, language) VALUES (%s, %s, %s, %s, %s, %s) "
            "RETURNING id",
            *(document.source, file, document.hash, document.text, json.dumps(document.metadata), language),
        )
        return int(rows[0][0])

    def add_chunks(self, chunks: Mapping[int, tuple[int, Chunk]]) -> None:
        self._copy(
            "chunks (id, document, start, stop, title, heading)",
            (
                (number, document, one.start, one.end, one.title, one.heading)
                for number, (document, one) in chunks.items()
            ),
        )

    def add_vectors(self, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        rows = {number: packed(vector) for number, vector in vectors.items()}
        self._copy(
            "vectors (chunk, scale, entries)",
            ((number, float(row["scale"]), _halfvec(row["entries"])) for number, row in rows.items()),
        )

    def remove(self, file: str) -> None:
        for table in ("documents", "files"):
            self._connection.execute(f"DELETE FROM {table} WHERE file = %s", (file,))

    def rows(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        found = self._all(
            "SELECT term, segment, rows FROM postings JOIN unnest(%s::text[], %s::integer[]) AS asked (term, segment) "
            "USING (term, segment)",
            *_columns(keys, 2),
        )
        return {(term, segment): rows for term, segment, rows in found}

    def set_rows(self, rows: Mapping[Key, bytes]) -> None:
        kept = [(*key, row) for key, row in rows.items() if row]
        self._connection.execute(
            "INSERT INTO postings SELECT * FROM unnest(%s::text[], %s::integer[], %b::bytea[]) "
            "ON CONFLICT (term, segment) DO UPDATE SET rows = excluded.rows",
            _columns(kept, 3),
        )
        self._connection.execute(
            "DELETE FROM postings USING unnest(%s::text[], %s::integer[]) AS gone (term, segment) "
            "WHERE postings.term = gone.term AND postings.segment = gone.segment",
            _columns([key for key, row in rows.items() if not row], 2),
        )

    def set_lengths(self, rows: Mapping[int, bytes]) -> None:
        self._many(
            "INSERT INTO lengths VALUES (%s, %s) ON CONFLICT (segment) DO UPDATE SET rows = excluded.rows", rows.items()
        )

    def _all(self, statement: str, *given: object) -> list[tuple]:
        return self._connection.execute(statement, given, binary=True).fetchall()

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, list(rows))

    def _copy(self, columns: str, rows: Iterable[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {columns} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _halfvec(entries: NDArray[np.int8]) -> str:
    return "[" + ",".join(map(str, entries.tolist())) + "]"


def _columns(rows: Iterable[Sequence[object]], count: int) -> list[list[object]]:
    """Rows turned into columns, `count` of them also where there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]

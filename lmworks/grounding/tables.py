"""The rows of an index in SQL, as far as they are read by the same statements in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import ClassVar

from lmworks.grounding.changes import State
from lmworks.grounding.chunks import Chunk
from lmworks.grounding.filters import Described


class Tables(ABC):
    """What both read alike inside one transaction; see Snapshot."""

    mark: ClassVar[str]
    """What stands for a value in a statement."""

    @abstractmethod
    def _all(self, statement: str, *given: object) -> list[tuple]:
        """The rows of a statement with these values."""

    def settings(self) -> dict[str, str]:
        """See Snapshot."""
        return dict(self._all("SELECT name, value FROM settings"))

    def files(self) -> dict[str, State]:
        """See Snapshot."""
        return {file: (size, changed, digest) for file, size, changed, digest in self._all("SELECT * FROM files")}

    def document(self, source: str) -> str | None:
        """See Snapshot."""
        rows = self._all(f"SELECT text FROM documents WHERE source = {self.mark}", source)
        return str(rows[0][0]) if rows else None

    def chunks_of(self, file: str) -> dict[int, tuple[str, Chunk]]:
        """See Snapshot."""
        rows = self._all(
            "SELECT chunks.id, language, start, stop, title, heading, substr(text, start + 1, stop - start) "
            f"FROM chunks JOIN documents ON documents.id = chunks.document WHERE file = {self.mark}",
            file,
        )
        return {number: (language, Chunk(*parts)) for number, language, *parts in rows}

    def described(self) -> list[Described]:
        """See Snapshot."""
        rows = self._all("SELECT id, source, file, changed, metadata FROM documents JOIN files USING (file)")
        return [
            Described(number, source, file, changed, json.loads(metadata))
            for number, source, file, changed, metadata in rows
        ]

    def lengths(self) -> dict[int, bytes]:
        """See Snapshot."""
        return dict(self._all("SELECT segment, rows FROM lengths"))

    def terms(self) -> list[str]:
        """See Snapshot."""
        return [term for (term,) in self._all("SELECT DISTINCT term FROM postings")]

    def postings(self, term: str) -> list[tuple[int, bytes]]:
        """See Snapshot."""
        return self._all(f"SELECT segment, rows FROM postings WHERE term = {self.mark} ORDER BY segment", term)

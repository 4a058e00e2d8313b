"""The rows of an index in SQL, as far as they are read by the same statements in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from lmworks.grounding.changes import FileState, State
from lmworks.grounding.chunks import Chunk
from lmworks.grounding.filters import Described
from lmworks.grounding.storage import ImageRow


class Tables(ABC):
    """What both read alike inside one transaction; see Snapshot."""

    mark: ClassVar[str]
    """What stands for a value in a statement."""

    @abstractmethod
    def _all(self, statement: str, *given: object) -> list[tuple]:
        """The rows of a statement with these values."""

    @abstractmethod
    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement with each of these rows of values."""

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

    def image_files(self) -> dict[str, State]:
        """See Snapshot."""
        rows = self._all("SELECT file, size, changed, hash FROM image_files")
        return {file: (size, changed, digest) for file, size, changed, digest in rows}

    def images(self) -> list[ImageRow]:
        """See Snapshot."""
        rows = self._all("SELECT source, file, caption, vector FROM images ORDER BY file, id")
        return [ImageRow(source, file, caption, bytes(vector)) for source, file, caption, vector in rows]

    def set_image_files(self, files: Sequence[FileState]) -> None:
        """See Transaction."""
        self._many(
            f"INSERT INTO image_files (file, size, changed, hash) VALUES ({', '.join([self.mark] * 4)}) "
            "ON CONFLICT (file) DO UPDATE SET size = excluded.size, changed = excluded.changed, hash = excluded.hash",
            files,
        )

    def add_images(self, images: Sequence[ImageRow]) -> None:
        """See Transaction."""
        values = ", ".join([self.mark] * len(ImageRow._fields))
        self._many(f"INSERT INTO images (source, file, caption, vector) VALUES ({values})", images)

    def set_captions(self, captions: Mapping[str, str]) -> None:
        """See Transaction."""
        change = f"UPDATE images SET caption = {self.mark} WHERE source = {self.mark}"
        self._many(change, [(caption, source) for source, caption in captions.items()])

    def remove_images(self, file: str) -> None:
        """See Transaction."""
        for table in ("images", "image_files"):
            self._many(f"DELETE FROM {table} WHERE file = {self.mark}", [(file,)])

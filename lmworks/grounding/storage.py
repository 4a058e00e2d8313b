"""What an index asks of the place where it lies: a folder (`sqlite_storage`), or whatever else keeps these rows.

Everything that one `reading` gives is of one moment; what one `writing` changes is there as a whole or not at all.
Chunks have numbers from 0 on; those of chunks that are gone are used again, so that rows of vectors stay dense.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.terminal import for_shell
from lmworks.grounding.changes import FileState, State
from lmworks.grounding.chunks import Chunk
from lmworks.grounding.filters import Described
from lmworks.grounding.passage import Passage
from lmworks.text.document import Document

Key = tuple[str, int]
"""A term, and the segment of chunks that a row of its postings is about."""


class ImageRow(NamedTuple):
    """An image of an index."""

    source: str
    """Its name in the indexed folder, after the archive's that it lies in."""
    file: str
    """The file that it is, or lies in."""
    caption: str
    vector: bytes
    """As `matrix.packed` has it."""


class Snapshot(Protocol):
    """An index as it is at one moment."""

    def settings(self) -> dict[str, str]:
        """Values by name."""

    def files(self) -> dict[str, State]:
        """The files that are indexed, each as it was then."""

    def document(self, source: str) -> str | None:
        """The whole text of a document; None where there is none of that source."""

    def passages(self, chunks: Sequence[int]) -> list[Passage]:
        """Those of the chunks that there are, in the order asked for, each with a score of 0."""

    def chunks_of(self, file: str) -> dict[int, tuple[str, Chunk]]:
        """The chunks of a file's documents, by number, each with its document's language."""

    def described(self) -> list[Described]:
        """What filters look at, of every document."""

    def numbers_of(self, documents: Sequence[int]) -> list[int]:
        """The numbers of the chunks of these documents."""

    def lengths(self) -> dict[int, bytes]:
        """For each segment the lengths of its chunks, as `postings` packs them."""

    def postings(self, term: str) -> list[tuple[int, bytes]]:
        """Segments of a term and their rows, in order, as `postings` packs them."""

    def terms(self) -> list[str]:
        """Every term that there are postings of, once, in any order."""

    def products(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """The dot product of the query [dim] with the vector of every chunk, by number; any value where none is."""

    def image_files(self) -> dict[str, State]:
        """The files that images and their captions are from, each as it was then."""

    def images(self) -> list[ImageRow]:
        """The images, by file and place in it."""


class Transaction(Snapshot, Protocol):
    """An index that is being changed; what is read is what has been written."""

    def set(self, name: str, value: str) -> None:
        """Keep a setting."""

    def set_files(self, files: Sequence[FileState]) -> None:
        """Keep files as they are now."""

    def add_document(self, document: Document, file: str, language: str) -> int:
        """Keep a document of a file, and whose stems its words are cut to; returns its number."""

    def add_chunks(self, chunks: Mapping[int, tuple[int, Chunk]]) -> None:
        """Keep chunks by number, each with the number of its document."""

    def add_vectors(self, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep vectors [dim] by number of their chunk."""

    def remove(self, file: str) -> None:
        """Take out a file with its documents and chunks."""

    def rows(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """The rows of postings that there are of these."""

    def set_rows(self, rows: Mapping[Key, bytes]) -> None:
        """Replace rows of postings; an empty one is taken out."""

    def set_lengths(self, rows: Mapping[int, bytes]) -> None:
        """Replace the lengths of segments."""

    def set_image_files(self, files: Sequence[FileState]) -> None:
        """Keep files of images and captions as they are now."""

    def add_images(self, images: Sequence[ImageRow]) -> None:
        """Keep images."""

    def set_captions(self, captions: Mapping[str, str]) -> None:
        """Replace captions, by the sources of their images."""

    def remove_images(self, file: str) -> None:
        """Take out a file of images or captions, with the images in it."""

    def checkpoint(self) -> None:
        """While an index is made: what is written so far is found again by the next `making`, should this one fail."""


class Storage(Protocol):
    """Where an index lies."""

    @property
    def place(self) -> str:
        """What people call it; no passwords."""

    def exists(self) -> bool:
        """Whether an index is there."""

    def reading(self) -> AbstractContextManager[Snapshot]:
        """Read at one moment; never waits for a writer. DataError where it cannot be read."""

    def writing(self) -> AbstractContextManager[Transaction]:
        """Change it in one transaction. DataError where another process does, or where it fails."""

    def making(self, settings: Mapping[str, str]) -> AbstractContextManager[Transaction]:
        """Make an index, which is there when the block ends without an error, and otherwise is not.

        One that was begun with the same settings and not ended goes on from its last checkpoint.
        """


def make_again(place: str, reference: str = "FOLDER") -> str:
    """What to do about an index that is of no use."""
    return f"delete it and run: lmworks index {for_shell(reference)} --out {for_shell(place)}"

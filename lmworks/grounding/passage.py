"""Passage: a piece of a document that was found, with its score and the place where it stands; or an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lmworks.grounding.graph.triple import Triple

NO_CHUNK = -1
"""The number of what is no chunk of an index: facts of a graph, an image."""
Kind = Literal["passage", "image"]


@dataclass(frozen=True)
class Passage:
    """A chunk that a search found, or an image (its `kind` says which)."""

    text: str
    """Verbatim; of an image, its caption, "" without any."""
    score: float
    """Higher is better; comparable within one search and among passages, or among images, only."""
    document: str
    """What the document is called."""
    heading: str
    """The headings above it."""
    file: str
    """The document's source: its file in the indexed folder, `chats.jsonl#12` for a record; of an image likewise, with
    the archive that it lies in: `photos.zip/cat.jpg`."""
    start: int
    """Where it begins in the document's text, in characters."""
    end: int
    """Where it ends."""
    chunk: int
    """Its number in the index, which changes when its file does."""
    hash: str = ""
    """SHA-256 of its file as it was when it was indexed, in hexadecimal; where Documents or one file were
    indexed, of this document's text."""
    triples: tuple[Triple, ...] = ()
    """The facts that it says, if it is from a graph; it then has no place: no file, no characters, no chunk."""
    kind: Kind = "passage"
    """An image has a file and no place in it: no characters, no chunk."""

    @property
    def caption(self) -> str:
        """What an image is said to show; "" of a passage."""
        return self.text if self.kind == "image" else ""

    @property
    def of_graph(self) -> bool:
        """Whether it is from a graph, and from no document."""
        return self.chunk == NO_CHUNK and self.kind == "passage"


def best_first(passages: Iterable[Passage]) -> list[Passage]:
    """By score; equal ones in the order of the documents, not of numbers that depend on what was indexed before."""
    return sorted(passages, key=lambda one: (-one.score, one.file, one.start))


def passage_of_image(file: str, caption: str, score: float, hash_: str) -> Passage:
    """An image that was found."""
    return Passage(caption, score, file, "", file, 0, 0, NO_CHUNK, hash_, kind="image")


def passage_of_facts(text: str, graph: str, triples: Sequence[Triple]) -> Passage:
    """What a graph says, to be read beside the passages of documents."""
    return Passage(text, 1.0, graph, "", "", 0, 0, NO_CHUNK, triples=tuple(triples))

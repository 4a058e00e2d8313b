"""The images of an index: found by words, or by an image, through the vectors of a model that reads both.

    for one in index.images.search("a red apple", k=3): print(one.score, one.file, one.caption)
    index.images.search(Path("photo.jpg"))      # what looks like it; a Pillow image or an array, too

Their scores are cosines of that model's vectors. Those of passages come from a different model (and from keywords), so
that the two are never compared: a search of both gives the best passages, and after them the best images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.grounding.filters import Described, Filter
from lmworks.grounding.kept import Kept
from lmworks.grounding.loops import products
from lmworks.grounding.matrix import packed
from lmworks.grounding.passage import Kind, Passage, passage_of_image
from lmworks.grounding.storage import ImageRow, Snapshot, Storage, make_again
from lmworks.models.files.model_folder import is_vision
from lmworks.models.files.references import resolve
from lmworks.text.document import Document

if TYPE_CHECKING:
    from lmworks.vision_model import VisionModel


class _Held(NamedTuple):
    """The images of one state of an index."""

    rows: list[ImageRow]
    entries: NDArray[np.void]
    """Their vectors, as `matrix.packed` has them."""


class IndexedImages:
    """The images of an index that has some."""

    def __init__(self, storage: Storage, model: str, made_with: str, reference: str) -> None:
        self._storage, self.model, self.made_with, self._reference = storage, model, made_with, reference
        self._held = Kept(_held)

    def __len__(self) -> int:
        """How many there are."""
        with self._storage.reading() as reading:
            return len(self._held(reading).rows)

    @cached_property
    def embedder(self) -> VisionModel:
        """The model of their vectors, loaded when it is first needed; DataError if it is not what made them."""
        from lmworks.loading import identity

        if identity(self.model) != self.made_with:
            raise DataError(
                f"the images of {self._storage.place} were embedded by other files of {self.model} than there are now "
                "(their SHA-256 differs), so that their vectors would not fit a query's; search passages alone, or "
                + make_again(self._storage.place, self._reference)
            )
        return image_model(self.model)

    @property
    def by_words(self) -> bool:
        """Whether words find them, and not an image alone."""
        return self.embedder.reads_texts

    @checked
    def search(self, query: Any, k: int = 10, where: Filter | None = None) -> list[Passage]:
        """The k nearest images, the nearest first: to some words, or to an image (a `Path`, a Pillow image, or an array
        [height, width, 3] of bytes; a string is always words).

        ConfigError for a k below 1, an empty query, or words where the model reads images alone.
        """
        if k < 1:
            raise ConfigError(f"k is {k}; ask for at least 1 image")
        vector = self.query_vector(query)
        with self._storage.reading() as reading:
            return self.nearest(reading, vector, k, where)

    def query_vector(self, query: Any) -> NDArray[np.float32]:
        """Words or an image as the embedder has them, [dim]."""
        if isinstance(query, str) and not query.strip():
            raise ConfigError("the query is empty; give some words or an image")
        embedder = self.embedder
        if isinstance(query, str) and not embedder.reads_texts:
            raise ConfigError(f"{self.model} reads images alone; search images of {self._storage.place} by an image")
        with progress.hidden():
            asked = embedder.embed([query], cut=True) if isinstance(query, str) else embedder.embed(images=[query])
        vector: NDArray[np.float32] = asked[0].numpy()
        return vector

    def nearest(
        self, reading: Snapshot, vector: NDArray[np.float32], k: int, where: Filter | None = None
    ) -> list[Passage]:
        """The k images of a state whose vectors are nearest to this one, among those that are meant."""
        held, files = self._held(reading), reading.image_files()
        if not held.rows:
            return []
        scores = products(held.entries, packed(vector))
        there: Sequence[int] = range(len(held.rows))
        if where is not None:
            described = [
                Described(at, held.rows[at].source, held.rows[at].file, files[held.rows[at].file][1], {})
                for at in there
            ]
            there = [] if where.metadata else where.among(described)  # images say nothing of themselves
        best = sorted(there, key=lambda at: (-scores[at], held.rows[at].source))[:k]
        return [
            passage_of_image(one.source, one.caption, float(scores[at].clip(-1, 1)), files[one.file][2])
            for at, one in ((at, held.rows[at]) for at in best)
        ]


def asked_of_images(
    images: IndexedImages | None, place: str, query: str, kind: Kind | None, by_keywords: bool
) -> NDArray[np.float32] | None:
    """The query of a search as the model of images has it; None where none are wanted, or words do not find them.
    ConfigError where images are asked for that cannot be found so."""
    if kind == "image":
        if images is None:
            raise ConfigError(
                f"{place} is an index of texts alone; for images make one with lmworks index FOLDER --embedder CLIP"
            )
        if by_keywords:
            raise ConfigError("images have no keywords, they are found by vectors; leave out one of the two")
        return images.query_vector(query)
    wanted = images is not None and kind is None and not by_keywords and images.by_words
    return images.query_vector(query) if wanted and images is not None else None


def nearest_images(
    images: IndexedImages | None,
    reading: Snapshot,
    vector: NDArray[np.float32] | None,
    k: int,
    where: Filter | None,
) -> list[Passage]:
    """Those of `IndexedImages.nearest`; none where there is no vector to look for."""
    return [] if images is None or vector is None else images.nearest(reading, vector, k, where)


def _held(reading: Snapshot) -> _Held:
    rows = reading.images()
    width = len(rows[0].vector) - 4 if rows else 0
    layout = packed(np.zeros(max(width, 1), np.float32)).dtype
    if any(len(one.vector) != layout.itemsize for one in rows):
        raise DataError("the index is damaged: vectors of its images are of several lengths; make it again")
    return _Held(rows, np.frombuffer(b"".join(one.vector for one in rows), layout))


def reads_images(model: str) -> bool:
    """Whether it is a model of images; what is wrong with a reference is said where it is loaded."""
    try:
        return is_vision(resolve(model))
    except LmworksError:
        return False


def image_model(reference: str) -> VisionModel:
    """A model whose vectors can stand for images. ConfigError for any other."""
    from lmworks.loading import load
    from lmworks.vision_model import VisionModel

    model = load(reference)
    if not isinstance(model, VisionModel):
        raise ConfigError(f"{reference} does not read images; give a CLIP, or leave the model of images out")
    return model


def image_row(model: VisionModel, source: str, file: str, document: Document) -> ImageRow:
    """The row of an image; embedded by itself, it has the same vector to the bit whatever is indexed with it."""
    with progress.hidden():
        vector = model.embed(images=[document.image])[0].numpy()
    return ImageRow(source, file, document.text, packed(vector).tobytes())

"""Read images with their captions, one at a time: from a folder, a zip, a tar, a table, a set that is known by name.

    photos = Images("photos")
    for document in photos:
        document.image, document.text, document.source
    print(photos.summary())

Each time that it is gone through, the files are read anew, and one decoded image is in memory. What cannot be used is
named with its reason in `skipped` and counted once in `summary`; files that are neither images nor captions are counted
by their suffix in `others`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path, PurePath

from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.text import hub
from lmworks.text.document import Document
from lmworks.text.images.captions import SIDECARS, TABLES, Captions, composed
from lmworks.text.images.decoding import MOST_BYTES, OTHERS, SUFFIXES, decode
from lmworks.text.images.entries import ARCHIVES, ImageFile, entries_of, entries_of_one, is_archive, one_image
from lmworks.text.images.sets import SETS
from lmworks.text.plain import UnreadableError
from lmworks.text.sources import Skipped, entries, why

HUB_FILES = tuple(f"*{suffix}" for suffix in (*sorted(SUFFIXES), *ARCHIVES, *TABLES, ".txt"))
CAPTIONS = (*SIDECARS, *TABLES)
EXPECTED = (
    "a folder of images, an image, a .zip or .tar of them, a .jsonl or .csv that names them, or one of "
    f"{', '.join(SETS)}"
)


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image that is read."""
    return Path(name).suffix.lower() in SUFFIXES


class Images:
    """The images of a reference: a path, hf:org/name or a name of SETS, which counts before a path. DataError where
    there is no such thing."""

    def __init__(self, reference: str | Path, smallest: int | None = None, beside_texts: bool = False) -> None:
        """`smallest` says that no side needs to be longer: large photos are decoded faster, and emoji drawn so.
        `beside_texts`: the folder holds texts too, so that tables which name no image are none of captions."""
        self.smallest, self.skipped, self._beside_texts = smallest, list[Skipped](), beside_texts
        self.among: Container[str] | None = None
        """Files of which images are decoded; of others they come with their captions and without pixels. None for
        all."""
        self.images = self.without_caption = 0
        self.others = Counter[str]()
        self._set = SETS.get(str(reference))
        if self._set is not None:
            self.name = self._place = str(reference)
            return
        on_hub = isinstance(reference, str) and reference.startswith(hub.PREFIX)
        path = hub.snapshot(str(reference), "dataset", HUB_FILES) if on_hub else Path(reference)
        self.name, self._follow = str(reference).removeprefix(hub.PREFIX).rstrip("/") or "/", on_hub
        try:
            kind = path.suffix.lower()
            self._table = path.name if path.is_file() and kind in TABLES else None
            self._only = path.name if path.is_file() and kind in SUFFIXES else None
            if not path.exists():
                raise DataError(f"{reference} does not exist; give {EXPECTED}")
        except (OSError, ValueError) as error:
            raise DataError(f"{str(reference)!r} cannot be read ({why(error)}); give {EXPECTED}") from None
        if path.is_file() and not (self._table or self._only or is_archive(path.name)):
            raise DataError(f"{reference} is neither an image nor a set of them; give {EXPECTED}")
        self._path, self._place = path, self.name
        if self._table or self._only:  # a file, whose own name leads to nothing below it
            self._path, folder = path.parent, PurePath(self.name).parent.as_posix()
            self._place = "" if folder == "." else folder.rstrip("/")

    def __iter__(self) -> Iterator[Document]:
        """Each image as a document for each of its captions; one without any has an empty text."""
        self.skipped.clear()
        self.others.clear()
        self.images = self.without_caption = 0
        if self._set is not None:
            for document in self._set.documents(self.smallest):
                self.images += 1
                yield document
            return
        captions = Captions(self._beside_texts)
        for entry in self._entries([]):
            if not self._table or entry.name == self._table:
                captions.add(entry, self.skipped)
        for entry in self._entries(self.skipped):
            kind = Path(entry.name).suffix.lower()
            if kind in OTHERS:
                self.skipped.append(Skipped(entry.name, f"{kind} is not read; save it as PNG or JPEG"))
            elif kind in SUFFIXES and self._meant(entry.name, captions):
                yield from self._documents(entry, captions)
            elif kind not in SUFFIXES and kind not in CAPTIONS and not self._table and not self._only:
                self.others[kind] += 1
        self.others.update(captions.unused() if not self._table and not self._only else ())
        self.skipped += captions.missing() if not self._only else ()

    def _entries(self, skipped: list[Skipped]) -> Iterator[ImageFile]:
        return entries_of_one(self._path / self._only) if self._only else entries_of(self._path, skipped, self._follow)

    def _meant(self, name: str, captions: Captions) -> bool:
        """Whether an image is one of the reference: of a table those that it names, else all, or the one."""
        return captions.named(name) if self._table else self._only in (None, name)

    def within(self, source: str) -> str:
        """What a source is called in the folder, archive or set that it is from."""
        return source.removeprefix(f"{self._place}/")

    def files(self, skipped: list[Skipped]) -> dict[str, tuple[Path, os.stat_result]]:
        """The files that images and captions are read from, by their names in the folder, each with its state; none of
        a set of SETS. A text is one of them where it is called like an image. Nothing is read; what could not be
        entered is added to `skipped`."""
        if self._set is not None:
            return {}
        if self._only:
            found = [(one, one.name, one.stat()) for one in one_image(self._path / self._only)]
        elif self._path.is_dir():
            found = entries(self._path, skipped, self._follow)
        else:
            found = [(self._path, self._path.name, self._path.stat())]
        stems = {composed(name).rpartition(".")[0] for _, name, _ in found if is_image(name)}

        def counts(name: str) -> bool:
            stem, _, kind = composed(name).rpartition(".")
            beside = f".{kind.lower()}" in SIDECARS and stem in stems
            return beside or is_image(name) or is_archive(name) or Path(name).suffix.lower() in TABLES

        return {name: (path, status) for path, name, status in found if counts(name)}

    def _documents(self, entry: ImageFile, captions: Captions) -> Iterator[Document]:
        said, image = captions.of(entry.name, self.skipped), None
        try:
            if self.among is None or entry.file in self.among:
                image = decode(entry.content(MOST_BYTES), self.smallest)
        except UnreadableError as error:
            self.skipped.append(Skipped(entry.name, str(error)))
            return
        self.images += 1
        self.without_caption += not said
        for caption in said or [""]:
            yield Document(caption, f"{self._place}/{entry.name}" if self._place else entry.name, image=image)

    def summary(self) -> str:
        """What the last reading gave, in a line: "812 images, 5 without a caption; 1 skipped (a.png: damaged)"."""
        line = self.counted()
        if self.skipped:
            first, *others = self.skipped
            line += f"; {len(self.skipped):,} skipped ({first.path}: {first.reason}{'; ...' if others else ''})"
        return line

    def counted(self) -> str:
        """The line without what was skipped: "812 images, 5 without a caption"."""
        line = counted(self.images, "image")
        return line + (f", {self.without_caption:,} without a caption" if self.without_caption else "")

    def all(self) -> list[Document]:
        """All of them in memory; DataError where there is none."""
        documents = list(self)
        if not documents:
            why_not = Counter(one.reason for one in self.skipped).most_common(1)
            raise DataError(
                f"{self.name} holds no image that can be read"
                + (f" ({len(self.skipped):,} skipped: {why_not[0][0]})" if why_not else "")
                + f"; give {EXPECTED}"
            )
        return documents

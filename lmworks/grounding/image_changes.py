"""How images enter an index and leave it: those of files that were added, changed or deleted since, and no others.

The files are images, archives of them, and what says what they show: `cat.txt` beside `cat.jpg`, tables. Where one of
these changed, captions are read anew, and images of files that changed are embedded.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lmworks.basics import progress
from lmworks.basics.files import regular, sha256
from lmworks.grounding.changes import Changes, FileState, State, gone, nothing_left, put_there_since, size_seen
from lmworks.grounding.images import image_row
from lmworks.grounding.storage import ImageRow, Transaction
from lmworks.text.images.captions import TABLES
from lmworks.text.images.entries import is_archive
from lmworks.text.images.reading import Images, is_image
from lmworks.text.images.sets import SETS
from lmworks.text.sources import Skipped, entries

if TYPE_CHECKING:
    from lmworks.vision_model import VisionModel

BATCH = 256
"""Images that are written together; while an index is made, what is kept when it is stopped."""


def is_of_images(name: str) -> bool:
    """Whether a file is one of images, by its name, and so is not read as a text where images are indexed."""
    return is_image(name) or is_archive(name)


def holds_texts(reference: str) -> bool:
    """Whether a reference of images is one of texts too: a folder, or a table."""
    path = Path(reference)
    return reference not in SETS and (path.is_dir() or path.suffix.lower() in TABLES)


def take_over_images(
    reference: str,
    writing: Transaction,
    model: Callable[[], VisionModel],
    looked: int | None = None,
    keep: bool = False,
) -> Changes:
    """Take out images that were deleted or changed, and put in those that were changed or added; returns the files.

    `model` is called where there is something to embed. While an index is made, `keep` what is done from time to time:
    the next one goes on from there. `looked` as in `changes_of`.
    """
    known, unseen = writing.image_files(), list[Skipped]()
    there = Images(reference).files(unseen)
    if known and not there and Path(reference).is_dir() and not entries(Path(reference), []):
        raise nothing_left(reference, len(known))
    states, differ = _compared(there, known, looked)
    missing = list(gone(known, there, unseen))
    if reference in SETS:  # its files are checked by their hashes, and never others
        states, differ, missing = {reference: (reference, 0, 0, "")}, {reference} - known.keys(), []
    for name in (*missing, *differ):  # also of what was not known: a build may have been stopped within an archive
        writing.remove_images(name)
    if not missing and not differ:
        writing.set_image_files(list(states.values()))
        return Changes([], [], [])
    entered, skipped = _enter(reference, writing, model(), states, differ, keep)
    damaged = {one.path for one in skipped if is_image(one.path)}  # named again by the next update, as texts are
    writing.set_image_files([state for name, state in states.items() if name not in damaged])
    writing.set("state", uuid.uuid4().hex)
    return Changes(
        sorted(entered - known.keys()),
        sorted(name for name in differ & known.keys() if is_of_images(name)),
        [name for name in missing if is_of_images(name)],
        skipped,
    )


def _compared(
    there: Mapping[str, tuple[Path, os.stat_result]], known: Mapping[str, State], looked: int | None
) -> tuple[dict[str, FileState], set[str]]:
    """The states of the files that were read, and the names of those that are not as the index knows them."""
    states, differ = dict[str, FileState](), set[str]()
    for name, (path, status) in there.items():
        size, changed, before = status.st_size, status.st_mtime_ns, known.get(name)
        if before and before[:2] == (size, changed) and not put_there_since(status, looked):
            continue
        try:
            states[name] = (name, size_seen(size, changed), changed, sha256(regular(path)))
        except OSError:  # no permission, or gone meanwhile: named where it is read, at every update
            differ.add(name)
            continue
        if before is None or before[2] != states[name][3]:
            differ.add(name)
    return states, differ


def _enter(
    reference: str,
    writing: Transaction,
    model: VisionModel,
    states: Mapping[str, FileState],
    differ: set[str],
    keep: bool,
) -> tuple[set[str], list[Skipped]]:
    """Embed the images of files that differ, and give all others the captions that they have now; returns the files
    that hold an image of the first, and what could not be read."""
    from lmworks.encoding.fitting import FittingImages

    images = FittingImages(reference, model.preprocessing, beside_texts=holds_texts(reference))
    images.among = None if reference in SETS else differ
    captions, batch, entered = dict[str, str](), list[ImageRow](), set[str]()
    with progress.task("indexing images", unit="images") as advance:
        for one in images:
            source = images.within(one.source)
            if one.image is None:
                captions[source] = one.text
                continue
            file = _file_of(source, differ)
            if len(batch) >= BATCH:
                writing.add_images(batch)
                batch.clear()
                if keep:
                    writing.set_image_files([states[name] for name in entered - {file}])
                    writing.checkpoint()
            batch.append(image_row(model, source, file, one))
            entered.add(file)
            advance(1)
    writing.add_images(batch)
    writing.set_captions(captions)
    return entered, images.skipped


def _file_of(source: str, files: set[str]) -> str:
    """The file that an image is, or the archive that it lies in."""
    above = (source, *map(str, PurePosixPath(source).parents))
    return next((one for one in above if one in files), None) or next(iter(files))  # the one archive, or set

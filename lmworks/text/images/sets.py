"""Sets of images that are known by name: `emoji`, `emoji:noto`, `cifar10:test`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmworks.text.document import Document
from lmworks.text.images import cifar, emoji


@dataclass(frozen=True)
class ImageSet:
    """Public images, whose files are checked by SHA-256 wherever they come from."""

    what: str
    licence: str
    documents: Callable[[int | None], Iterator[Document]]
    """Each image with its caption; drawings are that many pixels a side (None for the usual number)."""


def _styles(*styles: str) -> Callable[[int | None], Iterator[Document]]:
    return lambda size: emoji.documents(styles, size or emoji.SIZE)


def _emoji(*styles: str) -> ImageSet:
    return ImageSet(
        f"1,914 emoji in up to {len(styles)} styles, with names and tags",
        "; ".join(f"{style}: {emoji.STYLES[style].licence}" for style in styles),
        _styles(*styles),
    )


SETS = {
    "emoji": _emoji(*emoji.USUAL),
    "emoji:all": _emoji(*emoji.STYLES),
    **{f"emoji:{style}": ImageSet(one.what, one.licence, _styles(style)) for style, one in emoji.STYLES.items()},
    "cifar10:train": ImageSet("50,000 photos in ten classes", cifar.LICENCE, lambda size: cifar.documents("train")),
    "cifar10:test": ImageSet("10,000 photos in ten classes", cifar.LICENCE, lambda size: cifar.documents("test")),
}

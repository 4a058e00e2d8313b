"""What a model of images and captions is trained on, and what it has never seen: concepts, and styles.

A concept is held out with its whole family (siblings: man, woman and person), by the family's own hash, so that what
is added later moves nothing. Images that say nothing of family or style are each other's family by their caption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document

UNSEEN_CONCEPTS, UNSEEN_STYLE, BOTH = "unseen concepts", "seen concepts, unseen style", "both unseen"


@dataclass(frozen=True)
class ImageSplit:
    """Images with captions, and what is held out of them. No family stands on both sides."""

    train: list[Document]
    unseen: dict[str, list[list[Document]]]
    """By what is not seen, the images of each style (of all, where there are no styles): the candidates of a search."""

    @property
    def held_out(self) -> list[Document]:
        """Images of concepts that are never trained on, in styles that are."""
        return [one for part in self.unseen[UNSEEN_CONCEPTS] for one in part]


def split_images(documents: Iterable[Document], held_out: float, unseen_style: str | None = None) -> ImageSplit:
    """Hold out about the share `held_out` of the families, and all of a style.

    DataError where nothing is left on a side, or for a style that no image has; ConfigError for a share outside
    (0, 1)."""
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}; it is a share above 0 and below 1, 0.2 for a fifth")
    documents = list(documents)
    styles = sorted({style_of(one) for one in documents})
    if unseen_style is not None and unseen_style not in styles:
        known = ", ".join(filter(None, styles))
        raise DataError(
            f"no image has the style {unseen_style!r} of data.unseen_style; "
            + (f"give one of {known}, or none" if known else "these images have no styles: set it to none")
        )
    parts: dict[tuple[bool, str], list[Document]] = {}
    for one in documents:
        parts.setdefault((place(concept_of(one)) < held_out, style_of(one)), []).append(one)
    train = [one for (is_held, style), part in parts.items() if not is_held and style != unseen_style for one in part]
    kept = [part for (is_held, style), part in sorted(parts.items()) if is_held and style != unseen_style]
    if not train or not kept:
        raise DataError(
            f"there is nothing to {'train on' if kept else 'hold out'}: the {len(documents):,} images show "
            f"{len({concept_of(one) for one in documents}):,} different things; give more, or another data.held_out"
        )
    unseen = {UNSEEN_CONCEPTS: kept}
    if unseen_style is not None:
        for name, is_held in ((UNSEEN_STYLE, False), (BOTH, True)):
            unseen[name] = [parts[is_held, unseen_style]] if (is_held, unseen_style) in parts else []
    return ImageSplit(train, unseen)


def concept_of(document: Document) -> str:
    """What an image shows, siblings being one; its caption, letter case aside, where nothing more is known."""
    return next(iter(document.metadata.get("family", ())), " ".join(document.text.lower().split()))


def style_of(document: Document) -> str:
    """How it is drawn; empty where that is not known."""
    return next(iter(document.metadata.get("style", ())), "")


def place(family: str) -> float:
    """Where a family's hash lies between 0 and 1: held out is what lies below the share to hold out."""
    return int(hashlib.sha256(family.encode()).hexdigest()[:16], 16) / 2**64

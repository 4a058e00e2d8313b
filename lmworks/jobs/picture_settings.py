"""PictureSettings: which images a model learns from, and what of them is held out."""

from __future__ import annotations

from pydantic import Field

from lmworks.basics.config import Config


class PictureSettings(Config):
    """The images to learn from."""

    images: str = "emoji"
    """A folder, a .zip or .tar of images (with captions beside them), a .jsonl or .csv that names some, hf:org/name, or
    emoji (docs/seeing.md)."""

    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of what the images show that is never trained on: concepts of emoji, siblings (man, woman, person) on one
    side; of other images, captions, or files where there is no caption."""

    unseen_style: str | None = None
    """A style of emoji that is never trained on, by its name in `emoji:noto`: noto, fluent, openmoji, twemoji, ..."""

"""Which fields of a record name an image, and which say what it shows.

captioned({"file_name": "cat.jpg", "text": "a cat on a mat"})        # ("cat.jpg", ["a cat on a mat"])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMED = ("file_name", "filename", "file", "image", "image_path", "path")
"""What a record's field with the image's name is called; the first that it has counts."""
SAID = ("text", "caption", "captions", "title")
"""And that with its caption."""


def captioned(record: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """The image that a record names and its captions, one or a list; None of a record without either."""
    image = next((record[name] for name in NAMED if record.get(name)), None)
    said = next((record[name] for name in SAID if record.get(name)), None)
    captions = [said] if isinstance(said, str) else said
    if isinstance(image, str) and isinstance(captions, list) and all(isinstance(one, str) for one in captions):
        return image, captions
    return None

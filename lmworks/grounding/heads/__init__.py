"""Heads that lmworks trained itself and ships: what reads answers out of passages.

(reading,) = reader().read("Who wrote Faust?", ["Faust is a play by Goethe."])
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmworks.grounding.heads.reading import SpanReader

FOLDER = Path(__file__).parent
"""Where the shipped files lie."""


@functools.lru_cache(maxsize=2)
def reader(folder: Path = FOLDER) -> SpanReader:
    """The reader of a folder, on its base, which is fetched where it is not here; the shipped one unless another is
    given. ModelError where the base is not the one that it was trained on."""
    from lmworks.grounding.heads.files import read_reader

    return read_reader(folder)

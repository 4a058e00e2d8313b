"""The words in a picture: a photo or a scan of a page, read line by line (extra `ocr`).

    words_of(decode(Path("letter.jpg").read_bytes()))        # "Dear Sir or Madam\n..."

rapidocr, whose weights are in its package, finds lines and reads them. What it does not know is the order of lines that
stand in columns: a page is cut at its gaps, from top to bottom and from left to right (Nagy and Seth 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.text.plain import UnreadableError

if TYPE_CHECKING:
    import numpy as np

    from lmworks.basics.arrays import UInt8

ACROSS, DOWN = 1.0, 0.6
"""The least gap between columns, and between paragraphs, in heights of a line."""


@dataclass(frozen=True)
class Line:
    """Some words that stand side by side, and where: pixels from the left and from the top."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def words_of(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """The text in a picture, empty where there is none. UnreadableError where rapidocr is not installed."""
    import numpy as np

    found = reader()(np.ascontiguousarray(pixels[..., ::-1]))  # it takes blue, green, red
    if found.boxes is None or found.txts is None:
        return ""
    lines = [
        Line(text, *(float(edge) for edge in (*box.min(axis=0), *box.max(axis=0))))
        for box, text in zip(found.boxes, found.txts, strict=True)
        if text.strip()
    ]
    return in_order(lines)


def in_order(lines: Sequence[Line]) -> str:
    """The lines as they are read: paragraphs parted by an empty line, columns one after the other."""
    if not lines:
        return ""
    heights = sorted(one.bottom - one.top for one in lines)
    return "\n\n".join(_read(lines, heights[len(heights) // 2]))


def _read(lines: Sequence[Line], height: float) -> list[str]:
    """The paragraphs of a part of the page: of each of its columns, of each of its bands, else its rows."""
    for first, last, gap in (("left", "right", ACROSS), ("top", "bottom", DOWN)):
        parts = _cut(lines, first, last, gap * height)
        if len(parts) > 1 and (first == "top" or all(_is_column(part, height) for part in parts)):
            return [paragraph for part in parts for paragraph in _read(part, height)]
    rows = _cut(lines, "top", "bottom", -height / 2)
    return ["\n".join(" ".join(one.text for one in sorted(row, key=lambda one: one.left)) for row in rows)]


def _is_column(lines: Sequence[Line], height: float) -> bool:
    """Whether these lines go on below one another; what stands alone belongs to the row beside it."""
    return len(_cut(lines, "top", "bottom", -height / 2)) > 1


def _cut(lines: Sequence[Line], first: str, last: str, gap: float) -> list[list[Line]]:
    """The lines in groups, between which an axis is free for more than `gap`."""
    groups: list[list[Line]] = []
    end = 0.0
    for one in sorted(lines, key=lambda one: float(getattr(one, first))):
        if not groups or getattr(one, first) - end > gap:
            groups.append([])
            end = getattr(one, last)
        groups[-1].append(one)
        end = max(end, getattr(one, last))
    return groups


@cache
def reader() -> Any:
    """What finds and reads lines. UnreadableError where it is not installed."""
    try:
        rapidocr = require("rapidocr", "ocr")
        require("onnxruntime", "ocr")
    except LmworksError as error:
        raise UnreadableError(str(error)) from None
    return rapidocr.RapidOCR(params={"Global.log_level": "critical"})

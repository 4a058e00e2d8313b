"""Places: where in a document a span stands, as a reader would look it up.

place_of(text, citation.start)          # page 3; line 12 where the text has no pages
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PAGE_BREAK = "\f"


@dataclass(frozen=True)
class Place:
    """A page or a line, from 1, or characters of the document's text; as text "page 3"."""

    kind: Literal["page", "line", "characters"]
    """What programs tell it by."""
    number: int
    """Of characters, where they begin."""
    end: int | None = None
    """Where they end."""

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" if self.end is None else f"{self.kind} {self.number:,} to {self.end:,}"


def place_of(text: str, start: int) -> Place:
    """The page of a character in a document's whole text, where form feeds part its pages (a PDF's); else its line."""
    if PAGE_BREAK in text:
        return Place("page", text.count(PAGE_BREAK, 0, start) + 1)
    return Place("line", text.count("\n", 0, start) + 1)

"""Where a span stands, for people: its file, and the line of a plain text or the page of a PDF."""

from __future__ import annotations

from pathlib import PurePath

from lmworks.grounding.answer import Citation
from lmworks.grounding.passage import Passage
from lmworks.text.formats.plain_text import SOURCE_CODE, TEXT

PAGE_BREAK = "\f"
"""What stands between the pages of a text."""


def place_of(span: Citation | Passage, document: str | None) -> str:
    """File and line or page of a span, else its characters; then title and headings."""
    where = f"{span.file}, characters {span.start:,} to {span.end:,}"
    suffix = PurePath(span.file).suffix.lower()
    if document is not None and suffix in (*TEXT.suffixes, *SOURCE_CODE.suffixes):
        where = f"{span.file}, line {document.count(chr(10), 0, span.start) + 1:,}"
    elif document is not None and PAGE_BREAK in document:
        where = f"{span.file}, page {document.count(PAGE_BREAK, 0, span.start) + 1:,}"
    above = " > ".join(filter(None, (span.document, span.heading)))
    return f"{where}  ({above})" if above else where

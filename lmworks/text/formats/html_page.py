"""The text of an HTML page: paragraphs, lists and code as a reader sees them; scripts and styles dropped.

Read by the standard library's parser, fed in blocks and never asked to make sense of a tag that does not
close: on such a tag `HTMLParser.close` takes time that grows with the square of the page.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found
from lmworks.text.plain import MEBIBYTE, UnreadableError, read_text

_DROPPED = {"script", "style"}
_BLOCKS = """
    address article aside blockquote body div dl fieldset figcaption figure footer form h1 h2 h3 h4
    h5 h6 head header hr html main nav ol p pre section table title ul
"""
_PARAGRAPHS = set(_BLOCKS.split())
_LINES = {"br", "caption", "dd", "dt", "li", "option", "summary", "tr"}
_CELLS = {"td", "th"}
_OPEN_LIMIT = 16 * MEBIBYTE  # characters; a picture may be written into its tag, but not a larger one


def read(path: Path, name: str) -> Found:
    """The page as one document."""
    yield Document(text_of_html(read_text(path)), name)


def text_of_html(page: str) -> str:
    """Paragraphs are parted by an empty line, lines of lists and tables by \\n; raises UnreadableError."""
    reader = _Page()
    try:
        for start in range(0, len(page), MEBIBYTE):
            reader.feed(page[start : start + MEBIBYTE])
            if len(reader.rawdata) > _OPEN_LIMIT:
                raise UnreadableError("HTML with a tag that never ends")
        if not reader.rawdata.startswith("<") and not reader.cdata_elem:
            reader.close()
    except AssertionError as error:  # how the standard parser reports a malformed declaration
        raise UnreadableError(f"malformed HTML ({error})") from None
    return reader.text()


class _Page(HTMLParser):
    """Collects what stands between the tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._written: list[str] = []  # paragraphs and the line ends between them
        self._current: list[str] = []  # the paragraph being read
        self._line_ends = 0  # owed before the next paragraph
        self._dropping = self._verbatim = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag)
        self._dropping |= tag in _DROPPED
        self._verbatim |= tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._tag(tag)
        self._dropping &= tag not in _DROPPED
        self._verbatim &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._current.append(data if self._verbatim else re.sub(r"[ \t\n\r\f]+", " ", data))

    def _tag(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._finish(2)
        elif tag in _LINES:
            self._finish(1)
        elif tag in _CELLS:
            self._current.append(" ")

    def _finish(self, line_ends: int) -> None:
        text = "".join(self._current)
        text = text.strip("\n") if self._verbatim else re.sub(" +", " ", text).strip(" ")
        self._current.clear()
        if text.strip():
            self._written += ["\n" * self._line_ends if self._written else "", text]
            self._line_ends = 0
        self._line_ends = max(self._line_ends, line_ends)

    def text(self) -> str:
        """Everything read so far."""
        self._finish(2)
        return "".join(self._written)


HTML = Format("html", (".html", ".htm"), read)

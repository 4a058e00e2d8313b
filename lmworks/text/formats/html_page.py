"""The text of an HTML page: headings, paragraphs, lists, code, and tables as rows that say their headers. Dropped are
scripts and styles, what is hidden, dialogs, and the frame of the page: menus, its footer, and, where it says what its
main part is, what stands beside that and notices of cookies.

Read by the standard library's parser, fed in blocks and never asked to make sense of a tag that does not
close: on such a tag `HTMLParser.close` takes time that grows with the square of the page. (So does selectolax 1.0 on
tags that are nested: 100,000 times <div> take it 49 seconds.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from lmworks.text.document import Document
from lmworks.text.formats import rows
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
_MARKS = {"li": "- ", "title": "# "} | {f"h{level}": "#" * level + " " for level in range(1, 7)}
_NO_CELL = {"h1", "h2", "h3", "h4", "h5", "h6", "pre", "table"}  # a table around these is there for its layout
_LONGEST_CELL = 1000  # characters; a table with a longer one is there for its layout, too
_VOID_TAGS = "area base br col embed hr img input link meta param source track wbr"
_VOID = set(_VOID_TAGS.split())  # have no end
_ENDS = {one: {"p"} for one in _PARAGRAPHS} | {  # what a tag ends, if that was left open
    "li": {"li", "p"},
    "dt": {"dt", "dd", "p"},
    "dd": {"dt", "dd", "p"},
    "option": {"option"},
    "td": {"td", "th", "p"},
    "th": {"td", "th", "p"},
    "tr": {"td", "th", "tr", "p"},
}
_TELLING = _DROPPED | {"aside", "dialog", "footer", "main", "nav", "title"}  # also without attributes
_HAS_MAIN = re.compile(r"<(?:main|article)\b|\brole\s*=\s*[\"']?main\b", re.IGNORECASE)
_PARTS = {"main", "article"}
_SECTIONS = _PARTS | {"section", "blockquote", "figure", "details"}  # have a footer of their own
_COOKIES = re.compile("cookie|consent|gdpr", re.IGNORECASE)
_OPEN_LIMIT = 16 * MEBIBYTE  # characters; a picture may be written into its tag, but not a larger one

Attributes = list[tuple[str, str | None]]


def read(path: Path, name: str) -> Found:
    """The page as one document."""
    yield Document(text_of_html(read_text(path)), name)


def text_of_html(page: str) -> str:
    """Paragraphs are parted by an empty line, lines of lists and tables by \\n; headings and items are marked as in
    Markdown. A page of which nothing would be left is read with all that is dropped of others but scripts and styles.
    Raises UnreadableError."""
    has_main = bool(_HAS_MAIN.search(page))
    reader = _read(page, _Frame(has_main))
    return (reader if reader.says_something else _read(page, None)).text()


def _read(page: str, frame: _Frame | None) -> _Page:
    reader = _Page(frame)
    try:
        for start in range(0, len(page), MEBIBYTE):
            reader.feed(page[start : start + MEBIBYTE])
            if len(reader.rawdata) > _OPEN_LIMIT:
                raise UnreadableError("HTML with a tag that never ends")
        if not reader.rawdata.startswith("<") and not reader.cdata_elem:
            reader.close()
    except AssertionError as error:  # how the standard parser reports a malformed declaration
        raise UnreadableError(f"malformed HTML ({error})") from None
    reader.end()
    return reader


class _Element(NamedTuple):
    """One that is open."""

    tag: str
    part: str
    """What it is for: its tag, or what its role says instead."""
    is_dropped: bool


class _Frame:
    """Which elements of a page are none of its own text."""

    def __init__(self, has_main: bool) -> None:
        self._has_main = has_main
        self._opened: set[str] = set()  # what a button shows, by its id: tabs, answers that unfold

    def drops(self, element: str, part: str, attributes: Mapping[str, str | None], within: Counter[str]) -> bool:
        """Whether an element is dropped, of which `part` says what it is for; `within` counts the parts around it."""
        self._opened |= set((attributes.get("aria-controls") or "").split())
        if part == "dialog" or self._is_hidden(part, attributes):
            return True
        outside = not any(within[one] for one in _PARTS)
        if part == "nav":
            return outside
        if part == "footer":
            return not any(within[one] for one in _SECTIONS)
        if not self._has_main or not outside or element in {"html", "body"} or part in _PARTS:
            return False
        return part in {"aside", "banner"} or any(_COOKIES.search(attributes.get(one) or "") for one in ("id", "class"))

    def _is_hidden(self, part: str, attributes: Mapping[str, str | None]) -> bool:
        if part == "tabpanel" or (attributes.get("id") or "") in self._opened:
            return False
        hidden = "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found"
        return hidden or (attributes.get("aria-hidden") or "").lower() == "true"


_ROLES = {"navigation": "nav", "contentinfo": "footer", "alertdialog": "dialog", "complementary": "aside"}
"""The elements that roles stand for, where the two are called differently."""


class _Table:
    """The rows of a table that is being read."""

    def __init__(self) -> None:
        self.rows: list[list[rows.Spanning]] = []
        self.headers = 0  # rows at the top of nothing but <th>
        self.cell: tuple[bool, int, int] | None = None  # whether it is a <th>; columns and rows that it spans
        self.in_head = False
        self.longest = 0
        self._all_th, self._any_th = True, False

    def row(self) -> None:
        """Begin a row, unless the last one is empty."""
        if self.rows and self.rows[-1] and self._all_th and self.headers == len(self.rows) - 1:
            self.headers += 1
        if not self.rows or self.rows[-1]:
            self.rows.append([])
        self._all_th = True

    def add(self, text: str) -> None:
        """End the open cell with its text."""
        if self.cell is None:
            return
        if not self.rows:
            self.row()
        is_th, columns, down = self.cell
        self._all_th &= is_th
        self._any_th |= is_th
        self.rows[-1].append((text, columns, down))
        self.longest = max(self.longest, len(text))
        self.cell = None

    def lines(self) -> list[str]:
        """Its rows with their headers; as its cells stand, where it is there for its layout."""
        self.row()
        self.rows.pop()  # the one that begins after the last
        if self.longest > _LONGEST_CELL:
            return [text for row in self.rows for text, _, _ in row if text]
        return rows.lines(rows.grid(self.rows), self.headers if self._any_th else None)


class _Page(HTMLParser):
    """Collects what stands between the tags."""

    def __init__(self, frame: _Frame | None) -> None:
        super().__init__(convert_charrefs=True)
        self.says_something = False
        """Whether there is more than a title."""
        self._frame = frame
        self._open: list[_Element] = []
        self._parts: Counter[str] = Counter()  # how many of each are open
        self._tags: Counter[str] = Counter()
        self._written: list[str] = []  # paragraphs and the line ends between them
        self._current: list[str] = []  # the paragraph or cell being read
        self._line_ends = 0  # owed before the next paragraph
        self._mark = ""  # what the next paragraph begins with: an item, a heading
        self._table: _Table | None = None
        self._verbatim = self._dropping = False

    def _begin(self, tag: str, attributes: Attributes) -> None:
        """An element is open from here on."""
        ended = _ENDS.get(tag, ())
        while self._open and self._open[-1].tag in ended:
            self._pop()
        if tag in _VOID:
            return
        part, dropped = tag, False
        if attributes or tag in _TELLING:
            given = dict(attributes)
            role = (given.get("role") or "").strip().lower()
            part = _ROLES.get(role, role) or tag
            dropped = tag in _DROPPED or (tag == "title" and self._tags["svg"] > 0)
            if self._frame is not None:
                dropped |= self._frame.drops(tag, part, given, self._parts)
        # What is called main may stand within what only seems hidden, as while a dialog is open.
        self._dropping = dropped or (self._dropping and part != "main")
        self._open.append(_Element(tag, part, self._dropping))
        self._parts[part] += 1
        self._tags[tag] += 1

    def _pop(self) -> None:
        one = self._open.pop()
        self._parts[one.part] -= 1
        self._tags[one.tag] -= 1
        self._dropping = bool(self._open) and self._open[-1].is_dropped

    def _end(self, tag: str) -> None:
        """The innermost element of this tag ends, with all that was left open in it."""
        while self._tags[tag]:
            ended = self._open[-1].tag == tag
            self._pop()
            if ended:
                return

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        if self._table and tag in _NO_CELL:
            self._end_table()
        self._tag(tag, attrs)
        self._begin(tag, attrs)
        self._verbatim |= tag == "pre"
        if tag in _MARKS and not self._table and not self._dropping:
            self._mark = _MARKS[tag]
        if tag == "table":
            self._table = _Table()

    def handle_endtag(self, tag: str) -> None:
        if self._table and tag == "table":
            self._end_table()
        self._tag(tag, None)
        self._end(tag)
        self._verbatim &= tag != "pre"
        if tag in _MARKS:
            self._mark = ""

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._current.append(data if self._verbatim else re.sub(r"[ \t\n\r\f]+", " ", data))

    def _tag(self, tag: str, attributes: Attributes | None) -> None:
        """A tag that begins or, without attributes, ends."""
        if self._table and (tag in _CELLS or tag in {"tr", "thead"}):
            self._end_cell()
            if tag == "tr":
                self._table.row()
            elif tag == "thead":
                self._table.in_head = attributes is not None
            elif attributes is not None:
                is_th = tag == "th" or self._table.in_head
                self._table.cell = (is_th, _span(attributes, "colspan"), _span(attributes, "rowspan"))
        elif self._table and self._table.cell:
            if tag in _PARAGRAPHS or tag in _LINES:
                self._current.append(" ")
        elif tag in _PARAGRAPHS:
            self._finish(2)
        elif tag in _LINES:
            self._finish(1)
        elif tag in _CELLS:
            self._current.append(" ")

    def _end_cell(self) -> None:
        if self._table and self._table.cell:
            self._table.add("".join(self._current).strip())
            self._current.clear()
        else:
            self._finish(1)

    def _end_table(self) -> None:
        if table := self._table:
            self._end_cell()
            self._table = None
            for line in table.lines():
                self._current.append(line)
                self._finish(1)

    def _finish(self, line_ends: int) -> None:
        text = "".join(self._current)
        text = text.strip("\n") if self._verbatim else re.sub(" +", " ", text).strip(" ")
        self._current.clear()
        if text.strip():
            self.says_something |= not self._tags["title"]
            self._written += ["\n" * self._line_ends if self._written else "", self._mark + text]
            self._line_ends = 0
            self._mark = ""
        self._line_ends = max(self._line_ends, line_ends)

    def end(self) -> None:
        """What was begun is read."""
        self._end_table()
        self._finish(2)

    def text(self) -> str:
        """Everything that was read."""
        return "".join(self._written)


def _span(attributes: Attributes, name: str) -> int:
    """How many columns or rows a cell spans, from 1 to 1,000 as browsers have it."""
    value = dict(attributes).get(name) or ""
    return min(max(int(value), 1), 1000) if re.fullmatch("[0-9]{1,4}", value) else 1


HTML = Format("html", (".html", ".htm"), read)

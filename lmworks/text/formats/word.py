"""Word documents (.docx, extra `docs`): headings and lists marked as in Markdown, tables as rows that say their
headers, footnotes after the paragraph that refers to them, the pages' headers and footers (of first and even pages too)
below the title, where they stand under no heading.

What Word counts by itself (numbers of headings and items) is not in the file and not in the text.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmworks.text.document import Document
from lmworks.text.formats import rows
from lmworks.text.formats.format import Format, Found, first_line, package
from lmworks.text.plain import FILE_LIMIT, MEBIBYTE, UnreadableError, check_size, newlines

PART_LIMIT = 64 * MEBIBYTE
"""Bytes of one part as XML; a tree of it takes about eight times as many."""
MOST_PARTS = 10_000
MOST_COLUMNS = 63
"""Of a table, as Word has it."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_PROTECTED = b"\xd0\xcf\x11\xe0"  # a compound file: what Word makes of a document with a password
_BLANKS = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"}
_UNSEEN = {_W + "moveFrom", _W + "del", _FALLBACK}
_PLAIN_STYLES = {"Table Grid", "Normal Table", "Table Normal"}  # they show the first row as any other


def read(path: Path, name: str) -> Found:
    """The document's blocks, parted by empty lines; lines of lists and tables by \\n."""
    check_size(path)
    docx = package("docx")
    _check_parts(path)
    try:
        text = _Reader(docx.Document(str(path))).text()
    except Exception as error:  # whatever a damaged file makes python-docx and lxml raise
        raise UnreadableError(f"not a Word document that can be read ({first_line(error)})") from None
    yield Document(newlines(text).encode("utf-8", "replace").decode(), name)


def _check_parts(path: Path) -> None:
    """UnreadableError for what is no archive of a bounded size. zipfile reads no more than an entry declares."""
    with path.open("rb") as file:
        if file.read(4) == _PROTECTED:
            raise UnreadableError("protected by a password, or an old .doc; save it as .docx without a password")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableError(f"not a Word document that can be read ({first_line(error)})") from None
    if any(part.flag_bits & 1 for part in parts):
        raise UnreadableError("protected by a password; save it without")
    largest = max((part.file_size for part in parts if part.filename.endswith((".xml", ".rels"))), default=0)
    whole = sum(part.file_size for part in parts)
    if largest > PART_LIMIT or whole > FILE_LIMIT or len(parts) > MOST_PARTS:
        raise UnreadableError(f"a Word document that unfolds to {whole / MEBIBYTE:,.0f} MiB; split it")


class _Reader:
    """Reads the elements of a document's body in their order."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._styles = {style.style_id: style.name or "" for style in document.styles}
        self._notes = _notes(document)
        # Below a title, the headings of the first level are of the second.
        self._deeper = any(self._style(one) == "Title" for one in document.element.body.iter(_W + "p"))

    def text(self) -> str:
        """All blocks; an empty line between them, but for items that follow each other."""
        written: list[str] = []
        was_item = False
        blocks = list(self._blocks(self._document.element.body))
        below = int(bool(blocks) and blocks[0].startswith("# "))  # a document is called by what it begins with
        for block in (*blocks[:below], *self._around(), *blocks[below:]):
            is_item = block.startswith("- ") and "\n" not in block
            if written and block:
                written.append("\n" if is_item and was_item else "\n\n")
            written.append(block)
            was_item = is_item
        return "".join(written)

    def _blocks(self, parent: Any) -> Iterator[str]:
        for child in parent:
            if child.tag == _W + "p":
                yield from self._paragraph(child)
            elif child.tag == _W + "tbl":
                yield from self._table(child)
            elif child.tag not in _UNSEEN:
                yield from self._blocks(child)  # a content control, what somebody inserted

    def _paragraph(self, paragraph: Any) -> Iterator[str]:
        text = _text(paragraph)
        if text:
            yield self._mark(paragraph) + text
        for mark in paragraph.iter(_W + "footnoteReference", _W + "endnoteReference"):
            if note := self._notes.get((mark.tag, mark.get(_W + "id"))):
                yield note

    def _mark(self, paragraph: Any) -> str:
        style = self._style(paragraph)
        if style == "Title":
            return "# "
        if heading := re.fullmatch(r"[Hh]eading ([1-9])", style):
            return "#" * min(int(heading[1]) + self._deeper, 6) + " "
        is_item = style.startswith("List") or paragraph.find(f"{_W}pPr/{_W}numPr") is not None
        return "- " if is_item else ""

    def _style(self, element: Any, kind: str = "pStyle") -> str:
        """The name of the style of a paragraph or a table, in English whatever Word's language."""
        named = element.find(f"{_W}{kind.removesuffix('Style')}Pr/{_W}{kind}")
        return self._styles.get(named.get(_W + "val"), "") if named is not None else ""

    def _table(self, table: Any) -> Iterator[str]:
        if next(table.iterdescendants(_W + "tbl"), None) is not None:  # there for its layout
            for cell in table.iter(_W + "tc"):
                if cell.getparent().getparent() is table:
                    yield from self._blocks(cell)
            return
        body = list(table.iter(_W + "tr"))
        if body:
            yield "\n".join(rows.lines(_grid(body), 1 if self._first_row_is_shown(table, body[0]) else None))

    def _first_row_is_shown(self, table: Any, row: Any) -> bool:
        """Whether the first row is repeated on each page, bold, or set apart by the table's style."""
        if row.find(f"{_W}trPr/{_W}tblHeader") is not None:
            return True
        runs = [run for run in row.iter(_W + "r") if _text(run)]
        if runs and all(_is_on(run.find(f"{_W}rPr/{_W}b")) for run in runs):
            return True
        style, look = self._style(table, "tblStyle"), table.find(f"{_W}tblPr/{_W}tblLook")
        if look is None or not style or style in _PLAIN_STYLES:
            return False
        return look.get(_W + "firstRow") in ("1", "true") or bool(int(look.get(_W + "val") or "0", 16) & 0x20)

    def _around(self) -> Iterator[str]:
        """Headers and footers, each once; they head nothing, whatever their style. Those of first and of even pages
        count where such pages have their own."""
        found: dict[str, None] = {}
        defined: dict[str, Any] = {}  # and not read yet: a later section may be the first that shows it
        even = self._document.settings.odd_and_even_pages_header_footer
        for section in self._document.sections:
            pages = (("first_page_", section.different_first_page_header_footer), ("", True), ("even_page_", even))
            for name, is_shown in ((page + place, shown) for place in ("header", "footer") for page, shown in pages):
                part = getattr(section, name)
                if not part.is_linked_to_previous:
                    defined[name] = part
                if is_shown and name in defined:
                    blocks = self._blocks(defined.pop(name)._element)
                    found |= dict.fromkeys(re.sub(r"^#+ ", "", block) for block in blocks)
        yield from found


def _notes(document: Any) -> dict[tuple[str, str], str]:
    """The texts of footnotes and endnotes, by the tag that refers to them and their number."""
    from docx.oxml.parser import parse_xml  # resolves no entities

    found = {}
    for relation in document.part.rels.values():
        kind = relation.reltype.rpartition("/")[2]
        if kind in ("footnotes", "endnotes") and not relation.is_external:
            for note in parse_xml(relation.target_part.blob):
                text = " ".join(filter(None, map(_text, note.iter(_W + "p"))))
                found[f"{_W}{kind[:-1]}Reference", note.get(_W + "id")] = text
    return found


def _text(element: Any) -> str:
    """What is written in an element; without what was deleted, and what stands there a second time for old programs."""
    parts: list[str] = []
    waiting = [element]
    while waiting:
        one = waiting.pop()
        if one.tag == _W + "t":
            parts.append(one.text or "")
        elif one.tag in _BLANKS and one.getparent().tag == _W + "r":
            parts.append(_BLANKS[one.tag])
        elif one.tag not in _UNSEEN:
            waiting.extend(reversed(one))
    return "".join(parts).strip()


def _grid(body: list[Any]) -> list[list[str]]:
    """The rows of a table, each cell's text at all places that it spans."""
    grid: list[list[str]] = []
    for row in body:
        line: list[str] = []
        for cell in row.iter(_W + "tc"):
            text = " ".join(filter(None, map(_text, cell.iter(_W + "p"))))
            merged, span = cell.find(f"{_W}tcPr/{_W}vMerge"), cell.find(f"{_W}tcPr/{_W}gridSpan")
            if merged is not None and merged.get(_W + "val") != "restart" and grid and len(line) < len(grid[-1]):
                text = grid[-1][len(line)]
            columns = int(span.get(_W + "val") or 1) if span is not None else 1
            line += [text] * min(max(columns, 1), MOST_COLUMNS)
        grid.append(line)
    return grid


def _is_on(switch: Any) -> bool:
    return switch is not None and switch.get(_W + "val") not in ("0", "false", "off")


WORD = Format("word", (".docx",), read)

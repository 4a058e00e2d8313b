"""PDF: the text of all pages as one document, tables with drawn lines as rows that say their headers (extra `docs`).

pypdf reads every page; pdfplumber, which knows where words and lines are and takes a few times as long, reads only
those that draw as many lines as a table. Pages without text, which are scanned, are read from their picture (extra
`ocr`). A form feed stands between pages, so that a place in the text tells its page.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmworks.basics import progress
from lmworks.text.document import Document
from lmworks.text.formats import rows
from lmworks.text.formats.format import Format, Found, first_line, package
from lmworks.text.images.words import words_of
from lmworks.text.plain import UnreadableError, check_size, newlines

PAGE_BREAK = "\f"
FEWEST_LINES, MOST_LINES = 6, 5000
"""Lines and boxes that a page with a table draws; with more it is a picture, and looking for tables takes minutes."""
DOTS, MOST_DOTS = 200, 16_000_000
"""Dots an inch at which a scanned page is drawn, and the most of one page."""
READERS = ("pypdf", "pdfminer", "pdfplumber")
"""Loggers of the packages that read PDFs."""
LEAST_FILLED = 0.5
"""The share of a table's cells that hold text; grids with less are forms and charts."""

_DRAWN = re.compile(rb"(?<=[\s\d])(?:re|l)(?=\s)")


def read(path: Path, name: str) -> Found:
    """The pages, parted by a form feed on a line of its own."""
    check_size(path)
    with _heard() as faults:
        pages = _pages(path)
    if not any(pages):
        raise UnreadableError(f"a PDF without text on its {len(pages)} pages (scanned?)")
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        progress.note(f"{name} is no sound PDF ({first_line(faults[0])}{more}); what could be read of it was taken")
    text = f"\n{PAGE_BREAK}\n".join(pages)
    yield Document(newlines(text).encode("utf-8", "replace").decode(), name)


def _pages(path: Path) -> list[str]:
    """The text of each page; UnreadableError with the reason where there is none to be had."""
    pypdf = package("pypdf")
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("protected by a password; save it without")
        pages = [_page(path, number, page) for number, page in enumerate(reader.pages)]
        missing = [at for at, page in enumerate(pages) if not page and _shows_a_picture(reader.pages[at])]
    except UnreadableError:
        raise
    except Exception as error:  # a malformed PDF makes pypdf raise anything; the reason is reported
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UnreadableError(f"not a PDF that can be read ({reason})") from None
    return _recognised(path, pages, missing) if missing else pages


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What the packages that read PDFs warn of meanwhile; without a listener it goes to the terminal."""
    faults: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: faults.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in READERS]
    for one in loggers:
        one.addHandler(listener)
    try:
        yield faults
    finally:
        for one in loggers:
            one.removeHandler(listener)


def _page(path: Path, number: int, page: Any) -> str:
    """The text of a page, without any page break in it."""
    text = (_with_tables(path, number) if _may_hold_a_table(page) else None) or page.extract_text()
    return str(text).replace(PAGE_BREAK, " ").strip()


def _shows_a_picture(page: Any) -> bool:
    try:
        return bool(page.images)
    except Exception:  # a picture that pypdf cannot open is one
        return True


def _recognised(path: Path, pages: Sequence[str], missing: Sequence[int]) -> list[str]:
    """The pages, the words of those that are scanned read from their picture. UnreadableError where that takes a
    package that is not installed and there is no text but that in pictures."""
    read = list(pages)
    try:
        with package("pypdfium2").PdfDocument(path) as opened:
            for number in missing:
                page = opened[number]
                scale = min(DOTS / 72, (MOST_DOTS / max(page.get_width() * page.get_height(), 1)) ** 0.5)
                pixels = page.render(scale=scale, rev_byteorder=True).to_numpy()[..., :3]
                read[number] = words_of(pixels).replace(PAGE_BREAK, " ").strip()
    except UnreadableError as error:
        if not any(pages):
            raise UnreadableError(f"a PDF without text on its {len(pages)} pages (scanned?): {error}") from None
    return read


def _may_hold_a_table(page: Any) -> bool:
    contents = page.get_contents()
    return contents is not None and FEWEST_LINES <= len(_DRAWN.findall(contents.get_data())) <= MOST_LINES


def _with_tables(path: Path, number: int) -> str | None:
    """The page from top to bottom, tables as rows; None where pdfplumber finds none or fails."""
    pdfplumber = package("pdfplumber")
    try:
        with pdfplumber.open(path, pages=[number + 1]) as opened:
            page = opened.pages[0]
            found = [(table.bbox, _grid(table)) for table in page.find_tables()]
            tables = sorted(((box, grid) for box, grid in found if _is_table(grid)), key=lambda one: one[0][1])
            if not tables:
                return None
            parts, top = [], page.bbox[1]
            beside = page.filter(lambda one: not any(_inside(one, box) for box, _ in tables))
            for box, grid in tables:
                parts += [_band(beside, top, box[1]), "\n".join(rows.lines(grid))]
                top = max(top, box[1])
            parts.append(_band(beside, top, page.bbox[3]))
    except Exception:  # pypdf has read the page: its words are there, without their order
        return None
    return "\n\n".join(filter(None, parts))


def _band(page: Any, top: float, bottom: float) -> str:
    """The words of a page between two heights; each is in one band."""
    if bottom <= top:
        return ""
    held = page.filter(lambda one: one["object_type"] != "char" or top <= (one["top"] + one["bottom"]) / 2 < bottom)
    return str(held.extract_text()).strip()


def _inside(one: Any, box: tuple[float, float, float, float]) -> bool:
    across, down = (one["x0"] + one["x1"]) / 2, (one["top"] + one["bottom"]) / 2
    return box[0] <= across <= box[2] and box[1] <= down <= box[3]


def _grid(table: Any) -> list[list[str]]:
    """The cells of a table; what spans several places stands at each of them."""
    cells = [row.cells for row in table.rows]
    lefts = [min((row[at][0] for row in cells if row[at]), default=0.0) for at in range(len(cells[0]))]
    grid: list[list[str]] = []
    for places, texts in zip(cells, table.extract(), strict=True):
        line: list[str] = []
        right = 0.0  # where the last cell of this row ends
        for at, (place, text) in enumerate(zip(places, texts, strict=True)):
            if place:
                line.append(text or "")
                right = place[2]
            elif line and right > lefts[at] + 1:
                line.append(line[-1])
            else:
                line.append(grid[-1][at] if grid else "")
        grid.append(line)
    return grid


def _is_table(grid: list[list[str]]) -> bool:
    cells = [bool(cell.strip()) for row in grid for cell in row]
    return len(grid) > 1 and len(grid[0]) > 1 and sum(cells) >= LEAST_FILLED * len(cells)


PDF = Format("pdf", (".pdf",), read)

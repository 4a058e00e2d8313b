"""Kinds of files, and how each is read: text, code, HTML, JSON lines, CSV, Parquet, PDF, message catalogues.

A reader takes a path and the name to give as the source, and yields documents; in the place of a record
that cannot be used it yields the reason. It raises UnreadableError or OSError for a file that is of no use.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.text import catalogue, records
from lmworks.text.document import Document
from lmworks.text.markup import text_of_html
from lmworks.text.plain import (
    FILE_LIMIT,
    LINE_LIMIT,
    MEBIBYTE,
    UnreadableError,
    check_line,
    check_size,
    inspect,
    newlines,
    read_text,
)

Found = Iterator[Document | UnreadableError]
Reader = Callable[[Path, str], Found]

PROSE = {".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex"}
CODE = {
    ".py",
    ".pyi",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".cs",
    ".java",
    ".kt",
    ".scala",
    ".js",
    ".mjs",
    ".jsx",
    ".ts",
    ".tsx",
    ".go",
    ".rs",
    ".rb",
    ".php",
    ".pl",
    ".lua",
    ".r",
    ".jl",
    ".swift",
    ".m",
    ".hs",
    ".ml",
    ".ex",
    ".erl",
    ".clj",
    ".lisp",
    ".el",
    ".sh",
    ".bash",
    ".zsh",
    ".ps1",
    ".sql",
    ".f90",
    ".asm",
    ".s",
    ".proto",
    ".cmake",
    ".mk",
}
NAMED = ".txt .md .rst .html .jsonl .csv .parquet .pdf .mo, and source code"
_NUMBER = re.compile(r"\s*[-+]?[\d.,]+(?:[eE][-+]?\d+)?\s*")
EXPANDED_LIMIT = 4 * FILE_LIMIT  # characters from one compressed file


def reader_for(path: Path) -> Reader:
    """The reader for a file by its suffix; a name without one (README, LICENSE) is tried as text."""
    suffix = path.suffix.lower()
    if suffix in PROSE or suffix in CODE or not suffix:
        return _plain
    try:
        return _READERS[suffix]
    except KeyError:
        raise UnreadableError(f"{suffix} files are not read") from None


def _plain(path: Path, name: str) -> Found:
    yield Document(read_text(path), name)


def _html(path: Path, name: str) -> Found:
    yield Document(text_of_html(read_text(path)), name)


def _jsonl(path: Path, name: str) -> Found:
    with path.open(encoding=inspect(path).encoding) as lines:
        number = 0
        while line := lines.readline(LINE_LIMIT + 1):
            number += 1
            try:
                yield from _json_line(line, f"{name}#{number}")
            except UnreadableError as reason:
                yield UnreadableError(f"line {number}: {reason}")
            while len(line) > LINE_LIMIT and not line.endswith("\n"):
                line = lines.readline(LINE_LIMIT + 1)  # the rest of a line that is too long


def _json_line(line: str, source: str) -> Iterator[Document]:
    check_line(len(line.rstrip("\n")))
    if line.isspace():
        return
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON ({str(error).partition(':')[0]})") from None
    yield records.document(record, source)


def _csv(path: Path, name: str) -> Found:
    found = inspect(path)
    check_line(found.longest_line)
    earlier = csv.field_size_limit(LINE_LIMIT)
    try:
        titles = next(_csv_rows(path, found.encoding), None)
        if titles is not None:
            has_titles = _is_header(titles)
            names = [title.strip() if has_titles else f"column {at}" for at, title in enumerate(titles, 1)]

            def rows() -> Iterator[dict[str, str]]:
                body = itertools.islice(_csv_rows(path, found.encoding), int(has_titles), None)
                return (dict(zip(names, row, strict=False)) for row in body)

            yield from _table(names, rows, name)
    except csv.Error as error:
        raise UnreadableError(f"not a CSV table ({error})") from None
    finally:
        csv.field_size_limit(earlier)


def _csv_rows(path: Path, encoding: str) -> Iterator[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline()
        file.seek(0)
        yield from (row for row in csv.reader(file, delimiter=max(",;\t", key=first.count)) if row)


def _is_header(cells: list[str]) -> bool:
    """Titles are short, distinct and no numbers; only the first may be empty (an index that pandas wrote)."""
    return bool(records.fields(cells)) or (
        len(set(cells)) == len(cells)
        and all(len(cell) <= 60 for cell in cells)
        and all(cells[1:])
        and not any(_NUMBER.fullmatch(cell) for cell in cells)
    )


def _table(titles: Collection[str], rows: Callable[[], Iterator[dict[str, Any]]], name: str) -> Found:
    """Rows that are understood as records, else the column with the most words, named in the source.

    `rows` gives the rows anew at each call, so that a table of numbers is never held in memory.
    """
    if records.fields(titles):
        for number, row in enumerate(rows(), 1):
            try:
                yield records.document(row, f"{name}#{number}")
            except UnreadableError as reason:
                yield UnreadableError(f"row {number}: {reason}")
        return
    words, characters = Counter[str](), Counter[str]()
    for row in rows():
        for title, cell in row.items():
            if cell and not _NUMBER.fullmatch(cell):
                words[title] += len(cell.split())
                characters[title] += len(cell)
    if not words:
        raise UnreadableError("no column of text")
    column = max(words, key=lambda title: (words[title], characters[title]))
    for number, row in enumerate(rows(), 1):
        yield Document(newlines(row.get(column) or ""), f"{name}:{column}#{number}")


def _parquet(path: Path, name: str) -> Found:
    check_size(path)
    arrow, parquet = _package("pyarrow"), _package("pyarrow.parquet")
    try:
        table = parquet.ParquetFile(path)
        texts = [
            field.name
            for field in table.schema_arrow
            if arrow.types.is_string(field.type) or arrow.types.is_large_string(field.type)
        ]
        used = records.fields(table.schema_arrow.names) or tuple(texts)
        yield from _table(used, lambda: _parquet_rows(table, used), name)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"not a Parquet file that can be read ({_first_line(error)})") from None


def _parquet_rows(table: Any, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Few rows at a time: one repeated value may make gigabytes out of a small file."""
    characters = 0
    for batch in table.iter_batches(batch_size=64, columns=list(columns)):
        characters += batch.nbytes
        if characters > EXPANDED_LIMIT:
            raise UnreadableError(f"more than {EXPANDED_LIMIT // MEBIBYTE:,} MiB of text; split it")
        yield from batch.to_pylist()


def _pdf(path: Path, name: str) -> Found:
    check_size(path)
    pypdf = _package("pypdf")
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as error:  # a malformed PDF makes pypdf raise anything; the reason is reported
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise UnreadableError(f"not a PDF that can be read ({reason})") from None
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise UnreadableError(f"a PDF without text on its {len(pages)} pages (scanned?)")
    yield Document(newlines(text).encode("utf-8", "replace").decode(), name)


def _catalogue(path: Path, name: str) -> Found:
    for number, text in enumerate(catalogue.messages(path), 1):
        yield Document(newlines(text), f"{name}#{number}")


def _package(module: str) -> Any:
    try:
        return require(module, "docs")
    except LmworksError as error:
        raise UnreadableError(str(error)) from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


_READERS: dict[str, Reader] = {
    ".html": _html,
    ".htm": _html,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
    ".pdf": _pdf,
    ".mo": _catalogue,
}

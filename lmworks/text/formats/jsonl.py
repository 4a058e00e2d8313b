"""JSON lines: a record a line (`text`, `messages`, `prompt` with `response`, ...)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lmworks.text import records
from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found, in_short
from lmworks.text.plain import LINE_LIMIT, UnreadableError, check_line, inspect


def read(path: Path, name: str) -> Found:
    """A document for each line that holds a record."""
    with path.open(encoding=inspect(path).encoding) as lines:
        number = 0
        while line := lines.readline(LINE_LIMIT + 1):
            number += 1
            try:
                yield from _document(line, f"{name}#{number}")
            except UnreadableError as reason:
                yield UnreadableError(f"line {number}: {reason}")
            while len(line) > LINE_LIMIT and not line.endswith("\n"):
                line = lines.readline(LINE_LIMIT + 1)  # the rest of a line that is too long


def _document(line: str, source: str) -> Iterator[Document]:
    check_line(len(line.rstrip("\n")))
    if line.isspace():
        return
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON ({in_short(error)})") from None
    yield records.document(record, source)


JSONL = Format("jsonl", (".jsonl",), read)

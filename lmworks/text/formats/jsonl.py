"""JSON lines: a record a line (`text`, `messages`, `prompt` with `response`, ...)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from lmworks.text import records
from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found, in_short
from lmworks.text.images.decoding import SUFFIXES
from lmworks.text.images.naming import SAID, captioned
from lmworks.text.plain import LINE_LIMIT, UnreadableError, check_line, inspect


def read(path: Path, name: str, whole: bool = False) -> Found:
    """A document for each line that holds a record; `whole`, for a caption of an image under another name, too."""
    with path.open(encoding=inspect(path).encoding) as lines:
        number = 0
        while line := lines.readline(LINE_LIMIT + 1):
            number += 1
            try:
                yield from _document(line, f"{name}#{number}", whole)
            except UnreadableError as reason:
                yield UnreadableError(f"line {number}: {reason}")
            while len(line) > LINE_LIMIT and not line.endswith("\n"):
                line = lines.readline(LINE_LIMIT + 1)  # the rest of a line that is too long


def _document(line: str, source: str, whole: bool) -> Iterator[Document]:
    check_line(len(line.rstrip("\n")))
    if line.isspace():
        return
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON ({in_short(error)})") from None
    yield records.document(_with_text(record) if whole else record, source)


def _with_text(record: Any) -> Any:
    """A record that is understood only as the caption of an image, as a text with the image's name beside it."""
    found = captioned(record) if isinstance(record, dict) and not records.fields(record) else None
    if found is None or PurePath(found[0]).suffix.lower() not in SUFFIXES:
        return record
    return {name: value for name, value in record.items() if name not in SAID} | {"text": "\n".join(found[1])}


JSONL = Format("jsonl", (".jsonl",), read, look_up=partial(read, whole=True))

"""What files beside images say of them: `cat.txt` beside `cat.jpg`, or a table with a record for each image.

    {"file_name": "cat.jpg", "text": "a cat on a mat"}

A table is .jsonl or .csv; its names are looked up in the folder that it lies in. `captions` may be a list.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from lmworks.basics.amounts import counted
from lmworks.text.images.entries import ImageFile
from lmworks.text.images.naming import NAMED, SAID, captioned
from lmworks.text.plain import FILE_LIMIT, LINE_LIMIT, UnreadableError, check_line, newlines
from lmworks.text.sources import Skipped

LONGEST = 65_536
"""Bytes of a caption's file."""
SIDECARS = (".txt", ".caption")
TABLES = (".jsonl", ".csv")
SHOWN = 5
"""Fields of a record without a caption that are named."""


class Captions:
    """Captions by the image that they are of."""

    def __init__(self, beside_texts: bool = False) -> None:
        """`beside_texts`: a table of which no record names an image is a text of its own, and not found fault with."""
        self._beside_texts = beside_texts
        self._of_tables: dict[str, list[str]] = {}
        self._beside: dict[str, str | Skipped] = {}
        self._unread: dict[str, str] = {}
        """The suffix of a file that may be a caption, by its name without it, until an image of that name is found."""
        self._tables: dict[str, str] = {}
        """The table that names an image, until the image is found."""

    def add(self, entry: ImageFile, skipped: list[Skipped]) -> None:
        """Take what a file says; what is no caption is left alone, and what cannot be used added to `skipped`."""
        path = PurePosixPath(composed(entry.name))
        kind = path.suffix.lower()
        try:
            if kind in SIDECARS:
                self._unread[str(path.with_suffix(""))] = kind
                self._beside[str(path.with_suffix(""))] = " ".join(_text(entry, LONGEST).split())
            elif kind in TABLES:
                self._take_table(entry, path, skipped)
        except UnreadableError as error:
            wrong = Skipped(entry.name, str(error))
            if kind in TABLES:
                skipped.append(wrong)
            else:
                self._beside[str(path.with_suffix(""))] = wrong  # it may be a text and no caption

    def _take_table(self, entry: ImageFile, path: PurePosixPath, skipped: list[Skipped]) -> None:
        wrong: list[str] = []
        names_images = not self._beside_texts
        records = _lines(entry, wrong) if path.suffix.lower() == ".jsonl" else _rows(entry)
        for number, record in enumerate(records, 1):
            if (found := captioned(record)) is None:
                wrong.append(f"record {number} {_lacking(record)}")
                continue
            image, captions = found
            names_images = True
            if "://" in image:
                wrong.append(f"record {number} names an address; fetch the image and give its file")
                continue
            name = composed(str(path.parent / image.replace("\\", "/")))
            self._of_tables.setdefault(name, []).extend(" ".join(one.split()) for one in captions)
            self._tables[name] = entry.name
        if wrong and names_images:
            skipped.append(Skipped(entry.name, f"{counted(len(wrong), 'record')}; the first: {wrong[0]}"))

    def of(self, name: str, skipped: list[Skipped]) -> list[str]:
        """The captions of an image, each once: those of tables, else that of the file beside it, else none."""
        name = composed(name)
        alone = str(PurePosixPath(name).with_suffix(""))
        self._tables.pop(name, None)
        self._unread.pop(alone, None)
        if name in self._of_tables:
            return list(dict.fromkeys(one for one in self._of_tables[name] if one))
        beside = self._beside.get(alone, "")
        if isinstance(beside, Skipped):
            skipped.append(beside)
            return []
        return [beside] if beside else []

    def named(self, name: str) -> bool:
        """Whether a table has a record of this image."""
        return composed(name) in self._of_tables

    def unused(self) -> list[str]:
        """The suffix of each file that could have been a caption and stands beside no image."""
        return list(self._unread.values())

    def missing(self) -> list[Skipped]:
        """Images that a table names and that `of` was never asked for: they are not there, or somewhere else."""
        return [
            Skipped(name, f"{table} names it, and it is not in that folder") for name, table in self._tables.items()
        ]


def composed(name: str) -> str:
    """A file's name as tables are typed: a Mac, and archives made on one, write an umlaut as two characters."""
    return unicodedata.normalize("NFC", name)


def _lacking(record: Mapping[str, Any]) -> str:
    """What a record has not that would make it a caption, and what it has instead."""
    if any(name in record for name in NAMED) and (said := next((name for name in SAID if name in record), None)):
        return f"has nothing in its {NAMED[0]!r} or its {said!r}"
    fields = ", ".join(repr(name) for name in list(record)[:SHOWN]) + (", ..." if len(record) > SHOWN else "")
    return f"has no {NAMED[0]!r} with {SAID[0]!r} or {SAID[1]!r}, but {fields or 'nothing'}"


def _text(entry: ImageFile, most: int) -> str:
    try:
        return newlines(entry.content(most).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        where = f"byte 0x{error.object[error.start]:02x} at {error.start:,}"
        raise UnreadableError(f"not UTF-8 text ({where}); save it as UTF-8") from None


def _lines(entry: ImageFile, wrong: list[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_text(entry, FILE_LIMIT).split("\n"), 1):
        if not line.strip():
            continue
        try:
            check_line(len(line))
            record = json.loads(line)
        except (ValueError, RecursionError, UnreadableError):
            record = None
        if isinstance(record, dict):
            yield record
        else:
            wrong.append(f"line {number} is no JSON object")


def _rows(entry: ImageFile) -> Iterator[Mapping[str, Any]]:
    text = _text(entry, FILE_LIMIT)
    first = text.partition("\n")[0]
    earlier = csv.field_size_limit(LINE_LIMIT)
    try:
        rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
        titles = [title.strip() for title in next(rows, [])]
        yield from (dict(zip(titles, row, strict=False)) for row in rows if row)
    except csv.Error as error:
        raise UnreadableError(f"not a CSV table ({error})") from None
    finally:
        csv.field_size_limit(earlier)

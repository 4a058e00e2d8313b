"""Plain text from an untrusted file: bounded, decoded strictly, binary told from text.

A file is inspected in blocks before it is read, so that a 1 GB line costs no memory.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lmworks.basics.files import regular

MEBIBYTE = 2**20
FILE_LIMIT = 256 * MEBIBYTE
"""Bytes; a larger file is not read."""
LINE_LIMIT = 64 * MEBIBYTE
"""Characters; a longer line or record is not read."""

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class UnreadableError(Exception):
    """A file or a record that is skipped; its text is the reason that users are told."""


@dataclass(frozen=True)
class Inspection:
    """What one pass over a file found."""

    encoding: str
    """The codec to open the file with; it drops the byte order mark."""
    longest_line: int
    """Characters, the line end not counted."""


def inspect(path: Path) -> Inspection:
    """Check size, encoding and line lengths of a text file; raises UnreadableError, or OSError."""
    check_size(path)
    with path.open("rb") as file:
        start = file.read(4)
        if start in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
            raise UnreadableError("UTF-32 text; save it as UTF-8")
        mark = next((mark for mark in _MARKS if start.startswith(mark)), b"")
        file.seek(0)
        if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            codec = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
        else:
            codec = "utf-8"
        return Inspection(_MARKS.get(mark, "utf-8"), _longest_line(file, codec))


def check_size(path: Path) -> None:
    """Raise UnreadableError if the file is larger than FILE_LIMIT."""
    size = regular(path).stat().st_size
    if size > FILE_LIMIT:
        raise UnreadableError(
            f"{size / MEBIBYTE:,.0f} MiB large; split it into files of up to {FILE_LIMIT // MEBIBYTE:,} MiB"
        )


def read_text(path: Path) -> str:
    """The text of a file, line ends as \\n and the byte order mark dropped, otherwise unchanged."""
    found = inspect(path)
    check_line(found.longest_line)
    return path.read_text(encoding=found.encoding)


def check_line(characters: int) -> None:
    """Raise UnreadableError if a line or record of that many characters is longer than LINE_LIMIT."""
    if characters > LINE_LIMIT:
        raise UnreadableError(f"a line of over {LINE_LIMIT:,} characters; break it into lines")


def newlines(text: str) -> str:
    """The text with every line end written as \\n."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def storable(text: str) -> str:
    """A text as databases keep it: half of a surrogate pair, as JSON may escape it, is no character, and a NUL ends a
    text in SQL. A title is shown and indexed, so that one of these would stop an index of the whole folder."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _longest_line(file: BinaryIO, codec: str) -> int:
    """Decode block by block; UnreadableError names the first byte that is not text, and its offset."""
    decoder = codecs.getincrementaldecoder(codec)()
    to_newlines = io.IncrementalNewlineDecoder(None, translate=True)
    longest = current = 0
    while True:
        offset = file.tell()
        block = file.read(MEBIBYTE)
        offset -= len(decoder.getstate()[0])  # the start of a character that the last block cut
        if codec == "utf-8" and b"\0" in block:
            raise UnreadableError("binary, not text")
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            name = "UTF-8" if codec == "utf-8" else "UTF-16"
            at = f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start:,}"
            raise UnreadableError(f"not {name} text ({at}); save it as UTF-8") from None
        if "\0" in text:
            raise UnreadableError("binary, not text")
        first, *others = to_newlines.decode(text, final=not block).split("\n")
        current += len(first)
        longest = max(longest, current)
        if others:
            current = len(others[-1])
            longest = max(longest, *map(len, others))
        if not block:
            return longest

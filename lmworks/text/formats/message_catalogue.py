"""Translated messages of a program, from the catalogue that gettext reads (.mo).

Every Linux distribution has them, in every script: real sentences in several languages that say the same.
Source: the GNU gettext manual, section "The Format of GNU MO Files".
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found
from lmworks.text.plain import UnreadableError, check_size, newlines

_MAGIC = 0x950412DE
_HEADER = 7 * 4  # bytes: magic, revision, count, and where the tables lie


def read(path: Path, name: str) -> Found:
    """A document for each translation."""
    for number, text in enumerate(messages(path), 1):
        yield Document(newlines(text), f"{name}#{number}")


def messages(path: Path) -> list[str]:
    """The translations in the catalogue's order, each plural form on its own; UnreadableError for another file."""
    check_size(path)
    content = path.read_bytes()
    order = next((sign for sign in "<>" if content[:4] == struct.pack(f"{sign}I", _MAGIC)), None)
    if order is None or len(content) < _HEADER:
        raise UnreadableError("not a catalogue of messages (.mo)")
    _, count, _, table = struct.unpack_from(f"{order}4I", content, 4)
    try:
        places = struct.unpack_from(f"{order}{2 * count}I", content, table)
    except struct.error:
        raise UnreadableError("a catalogue that is cut off") from None
    texts = [content[start : start + size] for size, start in zip(places[::2], places[1::2], strict=True)]
    if sum(map(len, texts)) != sum(places[::2]):
        raise UnreadableError("a catalogue that is cut off")
    # The translation of nothing is the header, and always the first.
    named = re.search(rb"charset=([\w.:-]+)", texts[0]) if texts else None
    try:
        decoded = [text.decode(named[1].decode() if named else "utf-8") for text in (texts[1:] if named else texts)]
    except (LookupError, UnicodeDecodeError) as error:
        raise UnreadableError(f"a catalogue whose letters cannot be read ({error})") from None
    return [form for text in decoded for form in text.split("\0")]


MESSAGES = Format("messages", (".mo",), read)

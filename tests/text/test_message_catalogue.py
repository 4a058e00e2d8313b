"""Message catalogues: what gettext reads is what is read, and a damaged file is named."""

from __future__ import annotations

import gettext
import struct

import pytest

from lmworks.basics.errors import DataError
from lmworks.text.formats.message_catalogue import messages
from lmworks.text.plain import UnreadableError
from lmworks.text.sources import read

MESSAGES = {"%d file": "%d Datei\0%d Dateien", "Out of memory.": "Speicher ist voll.", "Café": "Grüße, 日本"}


def written(path, texts, order="<", charset="utf-8"):
    """The format of the gettext manual: a header, two tables of length and place, the strings."""
    pairs = {"": f"Content-Type: text/plain; charset={charset}\nPlural-Forms: nplurals=2; plural=n != 1;\n"} | texts
    columns = [[text.encode(charset) for text in column] for column in (pairs, pairs.values())]
    place, tables, body = 28 + 16 * len(pairs), [], b""
    for text in (text for column in columns for text in column):
        tables += [len(text), place + len(body)]
        body += text + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    path.write_bytes(head + struct.pack(f"{order}{len(tables)}I", *tables) + body)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_translations_are_those_that_gettext_gives(tmp_path, order):
    path = written(tmp_path / "app.mo", MESSAGES, order)
    with path.open("rb") as file:
        known = gettext.GNUTranslations(file)
    assert messages(path) == ["%d Datei", "%d Dateien", "Speicher ist voll.", "Grüße, 日本"]
    assert all(known.gettext(key) == text for key, text in MESSAGES.items() if "\0" not in text)
    assert [document.source for document in read(path).documents] == [f"app.mo#{at}" for at in (1, 2, 3, 4)]


def test_another_encoding_is_read_by_the_name_in_the_header(tmp_path):
    assert messages(written(tmp_path / "a.mo", {"Hello": "Привет"}, charset="koi8-r")) == ["Привет"]
    with pytest.raises(UnreadableError, match="letters cannot be read"):
        path = written(tmp_path / "b.mo", {"Hello": "Привет"}, charset="koi8-r")
        path.write_bytes(path.read_bytes().replace(b"koi8-r", b"koi9-r"))
        messages(path)


def test_a_damaged_catalogue_is_named_wherever_it_is_cut(tmp_path):
    whole = written(tmp_path / "a.mo", MESSAGES).read_bytes()
    for size in range(len(whole) - 1):  # the last byte only ends the last string
        (tmp_path / "a.mo").write_bytes(whole[:size])
        with pytest.raises(UnreadableError, match=r"not a catalogue|cut off"):
            messages(tmp_path / "a.mo")
    (tmp_path / "a.mo").write_bytes(whole[:8] + b"\xff\xff\xff\xff" + whole[12:])
    with pytest.raises(DataError, match="cut off"):
        read(tmp_path / "a.mo")

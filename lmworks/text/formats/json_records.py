"""A JSON file that is a list of records: instructions and conversations are often published so."""

from __future__ import annotations

import json
from pathlib import Path

from lmworks.text import records
from lmworks.text.formats.format import Format, Found, in_short
from lmworks.text.plain import UnreadableError, inspect

MOST_BYTES = 512 * 2**20
"""A list is read at once."""


def read(path: Path, name: str) -> Found:
    """A document for each entry of the list that is a record."""
    if path.stat().st_size > MOST_BYTES:
        raise UnreadableError(f"a list of more than {MOST_BYTES / 2**20:.0f} MiB; write a record a line, as .jsonl")
    try:
        found = json.loads(path.read_text(encoding=inspect(path).encoding))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON ({in_short(error)})") from None
    if not isinstance(found, list):
        raise UnreadableError("it is JSON and no list of records")
    for number, record in enumerate(found, 1):
        try:
            yield records.document(record, f"{name}#{number}")
        except UnreadableError as reason:
            yield UnreadableError(f"record {number}: {reason}")


JSON = Format("json", (".json",), read)

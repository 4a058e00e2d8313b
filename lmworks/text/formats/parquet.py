"""Parquet tables (extra `docs`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lmworks.text import records
from lmworks.text.formats.format import Format, Found, first_line, package
from lmworks.text.formats.table import documents, names_of
from lmworks.text.plain import FILE_LIMIT, MEBIBYTE, UnreadableError, check_size

EXPANDED_LIMIT = 4 * FILE_LIMIT
"""Bytes of text out of one compressed file."""


def read(path: Path, name: str, whole: bool = False) -> Found:
    """A document for each row: its text column, or all that it says."""
    check_size(path)
    arrow, parquet = package("pyarrow"), package("pyarrow.parquet")
    try:
        table = parquet.ParquetFile(path)

        def is_shown(kind: Any) -> bool:
            types = arrow.types
            return types.is_string(kind) or types.is_large_string(kind) or (whole and types.is_primitive(kind))

        shown = [field.name for field in table.schema_arrow if is_shown(field.type)]
        read_as = names_of(table.schema_arrow.names, whole)
        understood = records.fields(read_as.values())
        used = tuple(title for title, name in read_as.items() if name in understood) or tuple(shown)
        yield from documents(used, lambda: _rows(table, used), name, whole)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"not a Parquet file that can be read ({first_line(error)})") from None


def _rows(table: Any, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Few rows at a time: one repeated value may make gigabytes out of a small file."""
    characters = 0
    for batch in table.iter_batches(batch_size=64, columns=list(columns)):
        characters += batch.nbytes
        if characters > EXPANDED_LIMIT:
            raise UnreadableError(f"more than {EXPANDED_LIMIT // MEBIBYTE:,} MiB of text; split it")
        yield from batch.to_pylist()


PARQUET = Format("parquet", (".parquet",), read, look_up=partial(read, whole=True))

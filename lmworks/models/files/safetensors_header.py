"""What a safetensors file says of its tensors, without their values. Nothing here waits for PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from lmworks.basics.files import regular

MOST_BYTES = 100_000_000
"""Of a header, as safetensors itself reads it."""


class Described(NamedTuple):
    """A tensor."""

    dtype: str
    """As the file names it: F16, BF16, F32, I32 ..."""
    shape: tuple[int, ...]


def described(path: Path) -> dict[str, Described]:
    """The tensors of a file by their names; none where it is damaged, which whoever reads it will be told."""
    try:
        with regular(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= min(path.stat().st_size, MOST_BYTES) else {}
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: Described(str(one["dtype"]), _shape(one["shape"])) for name, one in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _shape(said: list[int]) -> tuple[int, ...]:
    if not all(type(one) is int and one >= 0 for one in said):
        raise ValueError("a shape is of whole numbers")
    return tuple(said)

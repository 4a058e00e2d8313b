"""CTranslate2's container (model.bin): named tensors after one another, in one memory-mapped file, read only.

It is what faster-whisper's models are kept in. Names and lengths are checked against the file before anything is made,
because a file from outside is hostile. Source: python/ctranslate2/specs/model_spec.py and src/models/model.cc of
https://github.com/OpenNMT/CTranslate2.
"""

from __future__ import annotations

import mmap
import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.errors import ModelError
from lmworks.basics.files import regular

VERSIONS = (4, 5, 6)
WHISPER = "WhisperSpec"
"""What a file says that its tensors are of."""
DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
"""Its number of a type -> numpy's name."""
MOST_TENSORS, MOST_DIMENSIONS = 50_000, 8
_HEAD = struct.pack("<H", len(WHISPER) + 1) + WHISPER.encode() + b"\0"


def is_ctranslate2(path: Path) -> bool:
    """Whether a file is a Whisper of CTranslate2's: its first bytes say so, and no pickle begins like that."""
    try:
        with regular(path).open("rb") as file:
            head = file.read(4 + len(_HEAD))
    except OSError:
        return False
    return head[4:] == _HEAD


class CTranslate2File:
    """An open file. Raises ModelError where it is missing, cut off or damaged, or of another version."""

    def __init__(self, path: str | Path) -> None:
        self.path, self._at = Path(path), 0
        try:
            with regular(self.path).open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"{self.path} cannot be read ({reason}); fetch or copy it again") from None
        version, what, _ = self._number("<I"), self._text(), self._number("<I")
        if version not in VERSIONS or what != WHISPER:
            raise ModelError(
                f"{self.path} holds {what[:40]!r} in version {version} of CTranslate2's format; {WHISPER} in versions "
                f"{VERSIONS[0]} to {VERSIONS[-1]} is read"
            )
        self.tensors: dict[str, NDArray[Any]] = {}
        """Stored tensors by name, as views of the file."""
        for _ in range(self._count("tensors")):
            self._keep()
        for _ in range(self._count("second names")):  # of a tied head, which is the embedding itself
            self._text()
            if (name := self._text()) not in self.tensors:
                raise self.damaged(f"gives a second name to {name[:40]!r}, which it does not hold")
        if self._at != len(self._data):
            raise self.damaged(f"goes on for {len(self._data) - self._at:,} bytes after its end")

    def damaged(self, how: str) -> ModelError:
        """The error that says what is wrong with the file."""
        return ModelError(f"{self.path} {how} (damaged, or cut off?); fetch or copy it again")

    def _count(self, what: str) -> int:
        count = self._number("<I")
        if count > MOST_TENSORS:
            raise self.damaged(f"lists {count:,} {what}, and no such file has more than {MOST_TENSORS:,}")
        return count

    def _keep(self) -> None:
        """Read a tensor."""
        name, rank = self._text(), self._number("<B")
        if rank > MOST_DIMENSIONS:
            raise self.damaged(f"gives the tensor {name[:80]!r} {rank} dimensions")
        shape = [self._number("<I") for _ in range(rank)]
        kind, size = self._number("<B"), self._number("<I")
        if kind not in DTYPES:
            raise ModelError(
                f"{self.path}: the tensor {name[:80]!r} is stored as type {kind}, which is not read; take the "
                "model in float32 or float16"
            )
        dtype = np.dtype(DTYPES[kind])
        if size != prod(shape) * dtype.itemsize:
            raise self.damaged(f"gives the tensor {name[:80]!r} the shape {shape} and {size:,} bytes")
        if name in self.tensors:
            raise self.damaged(f"names the tensor {name[:80]!r} twice")
        self.tensors[name] = np.frombuffer(self._bytes(size), dtype).reshape(shape)

    def _bytes(self, size: int) -> memoryview:
        if size > len(self._data) - self._at:
            raise self.damaged("ends in the middle of an entry")
        part = self._data[self._at : self._at + size]
        self._at += size
        return part

    def _number(self, form: str) -> int:
        number: int = struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        return number

    def _text(self) -> str:
        """A name, which ends with a zero byte."""
        try:
            return str(self._bytes(self._number("<H")), "utf-8").removesuffix("\0")
        except UnicodeDecodeError:
            raise self.damaged("holds a name that is not UTF-8") from None

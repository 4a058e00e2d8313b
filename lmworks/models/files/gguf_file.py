"""The GGUF container: metadata and (quantised) tensors in one memory-mapped file, read only.

Our own reader of the header, because `gguf.GGUFReader` makes an array of every string and takes 2.4 s on a
98 MB file, and because a file from outside is hostile: every count, length and offset is checked against
the size of the file before anything is allocated. Weights are dequantised by the `gguf` package.
Source: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.basics.files import regular

_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
Rows = slice | Int64[np.ndarray, " rows"]
"""Some rows of a matrix, neighbours or by number."""
ALL = slice(None)
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_NESTING = 4  # arrays in arrays; no known file has more than two


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: shape in PyTorch's order (rows, columns), kind, place, size in bytes."""

    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    offset: int
    bytes: int


class GGUFFile:
    """An open GGUF file. Raises ModelError where it is missing, cut off, damaged or of an unknown version."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with regular(self.path).open("rb") as file:
                if file.read(4) != b"GGUF":
                    raise ModelError(
                        f"{self.path} is not a GGUF file (its first four bytes are not 'GGUF'); "
                        "give the path of a .gguf file"
                    )
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            reason = error.strerror or error
            raise ModelError(f"{self.path} cannot be read ({reason}); check the path") from error
        header = _Header(self._map, self.path)
        tensor_count = header.begin()
        self.metadata: dict[str, Any] = header.metadata()
        alignment = self.metadata.get("general.alignment", 32)
        self.tensors: dict[str, TensorInfo] = header.tensors(tensor_count, alignment)

    def raw(self, name: str) -> UInt8[np.ndarray, " bytes"]:
        """The stored bytes of a tensor, read-only and mapped from the file."""
        info = self.info(name)
        return np.frombuffer(self._map, np.uint8, info.bytes, info.offset)

    def rows(self, name: str, rows: Rows = ALL) -> UInt8[np.ndarray, "*rows bytes"]:
        """The same of some rows of a matrix."""
        blocks = self.raw(name).reshape(*self.info(name).shape[:-1], -1)
        blocks = blocks if rows is ALL else blocks[rows]
        progress.read(blocks.nbytes)
        return blocks

    def let_go(self) -> None:
        """Give back the memory that pages of the file take; they are mapped again when they are read."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def read(self, name: str, rows: Rows = ALL) -> Float32[np.ndarray, ...]:
        """A tensor, or some of its rows, as float32 in its PyTorch shape; ModelError if its kind cannot be
        dequantised."""
        info = self.info(name)
        blocks = self.rows(name, rows)
        shape = info.shape if rows is ALL else (len(blocks), *info.shape[1:])
        try:
            return gguf.dequantize(blocks, info.kind).reshape(shape)
        except NotImplementedError:
            raise ModelError(
                f"{self.path.name}: tensor {name} is stored as {info.kind.name}, which cannot "
                "be dequantised; take a file in another quantisation (Q8_0, Q4_K_M)"
            ) from None

    def info(self, name: str) -> TensorInfo:
        """Where a tensor lies; ModelError where there is none of this name."""
        try:
            return self.tensors[name]
        except KeyError:
            raise ModelError(
                f"{self.path.name} has no tensor {name}; it is not a model of the kind "
                "that was expected, or it is not complete"
            ) from None


class _Header:
    """The header, from front to back; no length is believed before it is compared with the file's size."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.offset = data, path, 4

    def begin(self) -> int:
        """Check the version, remember the number of metadata entries, return that of tensors."""
        version = self.number("<I", 4)
        if version not in (2, 3):
            kind = "is big-endian" if version & 0xFFFF == 0 else f"has version {version}"
            raise ModelError(
                f"{self.path.name} {kind}, and lmworks reads little-endian GGUF 2 and 3; "
                "convert the model again with llama.cpp"
            )
        tensors = self.count(least=24, what="tensors")  # a tensor's entry has at least 24 bytes
        self.entries = self.count(least=13, what="metadata entries")
        return tensors

    def metadata(self) -> dict[str, Any]:
        """Every entry as a Python value: bool, int, float, str, or a list of one of these (or of lists)."""
        values: dict[str, Any] = {}
        for _ in range(self.entries):
            key = self.string()
            if key in values:
                raise self.damaged(f"names {key!r} twice")
            values[key] = self.value(self.number("<I", 4), key)
        return values

    def value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            if depth == _MAX_NESTING:
                raise self.damaged(f"nests the arrays of {key!r} more than {_MAX_NESTING} deep")
            return self.array(key, depth + 1)
        return self.scalars(kind, 1, key)[0]

    def array(self, key: str, depth: int) -> list[Any]:
        kind = self.number("<I", 4)
        if kind == _STRING:
            return [self.string() for _ in range(self.count(least=8, what=f"strings of {key!r}"))]
        if kind == _ARRAY:
            arrays = self.count(least=12, what=f"arrays of {key!r}")
            return [self.value(_ARRAY, key, depth) for _ in range(arrays)]
        return self.scalars(kind, self.count(least=1, what=f"numbers of {key!r}"), key)

    def scalars(self, kind: int, count: int, key: str) -> list[Any]:
        if kind not in _SCALARS:
            raise self.damaged(f"gives {key!r} the unknown type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        start = self.skip(count * dtype.itemsize)
        if kind == 7 and (np.frombuffer(self.data, np.uint8, count, start) > 1).any():
            raise self.damaged(f"gives {key!r} a truth value other than 0 and 1")
        return np.frombuffer(self.data, dtype, count, start).tolist()

    def tensors(self, count: int, alignment: Any) -> dict[str, TensorInfo]:
        """The table of tensors, with offsets from the start of the file."""
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self.damaged(f"has the alignment {alignment!r}, which is not a power of two")
        table: dict[str, TensorInfo] = {}
        for _ in range(count):
            name = self.string()
            if name in table:
                raise self.damaged(f"names the tensor {name} twice")
            table[name] = self.tensor(name, alignment)
        start = -(-self.offset // alignment) * alignment
        placed = {
            name: TensorInfo(info.shape, info.kind, start + info.offset, info.bytes) for name, info in table.items()
        }
        self.check_places(placed)
        return placed

    def tensor(self, name: str, alignment: int) -> TensorInfo:
        dimensions = self.number("<I", 4)
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self.damaged(f"gives the tensor {name} {dimensions} dimensions")
        shape = tuple(self.number("<Q", 8) for _ in range(dimensions))[::-1]
        number, offset = self.number("<I", 4), self.number("<Q", 8)
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError:
            raise ModelError(
                f"{self.path.name}: tensor {name} has the kind {number}, which the installed "
                "gguf package does not know; upgrade it, or take another file"
            ) from None
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[-1] % block:
            raise self.damaged(f"gives the tensor {name} the shape {shape}, which {kind.name} cannot have")
        if offset % alignment:
            raise self.damaged(f"puts the tensor {name} at {offset}, which is not a multiple of {alignment}")
        return TensorInfo(shape, kind, offset, prod(shape) // block * size)

    def check_places(self, table: dict[str, TensorInfo]) -> None:
        end, before = 0, ""
        for name, info in sorted(table.items(), key=lambda item: item[1].offset):
            if info.offset < end:
                raise self.damaged(f"lets the tensors {before} and {name} overlap")
            end, before = info.offset + info.bytes, name
        if missing := max(end - len(self.data), 0):
            raise ModelError(
                f"{self.path.name} ends {missing:,} bytes early (cut off while copying?); fetch or copy it again"
            )

    def string(self) -> str:
        size = self.number("<Q", 8)
        start = self.skip(size)
        try:
            return str(self.data[start : start + size], "utf-8")
        except UnicodeDecodeError:
            raise self.damaged("holds a text that is not UTF-8") from None

    def count(self, least: int, what: str) -> int:
        """How many entries follow, each of at least `least` bytes."""
        count = self.number("<Q", 8)
        if count * least > len(self.data) - self.offset:
            raise self.damaged(f"announces {count:,} {what}, more than its size can hold")
        return count

    def number(self, layout: str, size: int) -> int:
        return struct.unpack_from(layout, self.data, self.skip(size))[0]

    def skip(self, size: int) -> int:
        """Move on by `size` bytes; return where they start."""
        start = self.offset
        if size > len(self.data) - start:
            raise self.damaged("ends in the middle of its header")
        self.offset = start + size
        return start

    def damaged(self, how: str) -> ModelError:
        return ModelError(f"{self.path.name} {how} (damaged, or cut off while copying?); fetch or copy it again")

"""The GGUF container: metadata and (quantised) tensors in one memory-mapped file, read only.

Our own reader of the header, because `gguf.GGUFReader` makes an array of every string and takes 2.4 s on a
98 MB file, and because a file from outside is hostile: every count, length and offset is checked against
the size of the file before anything is allocated. Weights are dequantised by the `gguf` package.
Source: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arrays import Float32, Int64, UInt8
from lmworks.basics.errors import ModelError
from lmworks.basics.files import refuse_pointer, regular
from lmworks.models.files.gguf_kinds import BLOCKS, Kind

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
PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
"""What llama.cpp calls a part of a model that was split."""
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_NESTING = 4  # arrays in arrays; no known file has more than two


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: shape in PyTorch's order (rows, columns), kind, place, size in bytes."""

    shape: tuple[int, ...]
    kind: Kind
    offset: int
    bytes: int
    part: int = 0
    """The file of a split model that holds it, from 0."""


class GGUFFile:
    """An open GGUF file. Raises ModelError where it is missing, cut off, damaged or of an unknown version."""

    def __init__(self, path: str | Path) -> None:
        first = _Part(Path(path))
        self.files = _files_of(first)
        """The file, or all files of a model that was split, the first one first."""
        self.path = self.files[0]
        parts = [first if file == first.path else _Part(file) for file in self.files]
        self._maps = [part.map for part in parts]
        self.metadata: dict[str, Any] = parts[0].metadata
        self.tensors: dict[str, TensorInfo] = {}
        for number, part in enumerate(parts):
            part.must_be(number, len(parts))
            if both := self.tensors.keys() & part.tensors.keys():
                raise part.damaged(f"holds the tensor {min(both)}, which another part holds too")
            self.tensors |= {name: replace(info, part=number) for name, info in part.tensors.items()}
        said = self.metadata.get("split.tensors.count", len(self.tensors))
        if len(parts) > 1 and said != len(self.tensors):
            raise parts[0].damaged(f"announces {said!r} tensors, and the parts hold {len(self.tensors):,}")

    def raw(self, name: str) -> UInt8[np.ndarray, " bytes"]:
        """The stored bytes of a tensor, read-only and mapped from the file."""
        info = self.info(name)
        return np.frombuffer(self._maps[info.part], np.uint8, info.bytes, info.offset)

    def rows(self, name: str, rows: Rows = ALL) -> UInt8[np.ndarray, "*rows bytes"]:
        """The same of some rows of a matrix."""
        blocks = self.raw(name).reshape(*self.info(name).shape[:-1], -1)
        blocks = blocks if rows is ALL else blocks[rows]
        progress.read(blocks.nbytes)
        return blocks

    def let_go(self) -> None:
        """Give back the memory that pages of the file take; they are mapped again when they are read."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for one in self._maps:
                one.madvise(mmap.MADV_DONTNEED)

    def read(self, name: str, rows: Rows = ALL) -> Float32[np.ndarray, ...]:
        """A tensor, or some of its rows, as float32 in its PyTorch shape; ModelError if its kind cannot be
        dequantised."""
        import gguf  # not before: who runs weights as they are stored needs none of it

        info = self.info(name)
        blocks = self.rows(name, rows)
        shape = info.shape if rows is ALL else (len(blocks), *info.shape[1:])
        try:
            theirs = next((one for one in gguf.GGMLQuantizationType if one == info.kind), None)
            if theirs is None:
                raise NotImplementedError
            return gguf.dequantize(blocks, theirs).reshape(shape)
        except NotImplementedError:
            raise ModelError(
                f"{self.path.name}: tensor {name} is stored as {info.kind.name}, which cannot "
                "be dequantised; take a file in another quantisation (Q8_0, Q4_K_M)"
            ) from None

    def info(self, name: str) -> TensorInfo:
        """Where a tensor lies; of "name[3]" one matrix, or one vector, of a tensor of several (of experts). ModelError
        where there is none of this name."""
        whole, number = matrix_of(name)
        try:
            found = self.tensors[whole]
        except KeyError:
            raise ModelError(
                f"{self.path.name} has no tensor {whole}; it is not a model of the kind "
                "that was expected, or it is not complete"
            ) from None
        if number is None:
            return found
        if len(found.shape) < 2 or number >= found.shape[0]:
            raise ModelError(f"{whole} has the shape {list(found.shape)}, and no matrix {number}")
        size = found.bytes // found.shape[0]
        return replace(found, shape=found.shape[1:], offset=found.offset + number * size, bytes=size)


def matrix_of(name: str) -> tuple[str, int | None]:
    """The tensor of "name[3]", and the number of the matrix; None where the whole tensor is meant."""
    whole, _, number = name.rstrip("]").partition("[")
    return whole, int(number) if number else None


class _Part:
    """One file: its header, mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            refuse_pointer(path)
            with regular(path).open("rb") as file:
                if file.read(4) != b"GGUF":
                    raise ModelError(
                        f"{path} is not a GGUF file (its first four bytes are not 'GGUF'); "
                        "give the path of a .gguf file"
                    )
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror or error}); check the path") from error
        header = _Header(self.map, path)
        tensor_count = header.begin()
        self.metadata: dict[str, Any] = header.metadata()
        self.tensors = header.tensors(tensor_count, self.metadata.get("general.alignment", 32))
        self.damaged = header.damaged

    def must_be(self, number: int, count: int) -> None:
        """ModelError where it says that it is another part than its name says."""
        said = self.metadata.get("split.no", 0), self.metadata.get("split.count", 1)
        if count > 1 and said != (number, count):
            raise self.damaged(
                f"says that it is part {said[0]!r} (from 0) of {said[1]!r}, and is named {number} of {count}"
            )


def _files_of(part: _Part) -> list[Path]:
    """All files of the model that a file belongs to, by the names that llama.cpp gives them; ModelError where one is
    missing."""
    count = part.metadata.get("split.count", 1)
    if count in (0, 1):
        return [part.path]
    named = PART.fullmatch(part.path.name)
    if named is None or int(named[3]) != count:
        raise ModelError(
            f"{part.path} is one of {count!r} parts of a model, and its name does not say so; give it and the others "
            "the names that they came with (NAME-00001-of-00003.gguf)"
        )
    files = [part.path.with_name(f"{named[1]}-{number:05}-of-{named[3]}.gguf") for number in range(1, count + 1)]
    missing = [file for file in files if not file.exists()]
    if missing:
        more = f" ({len(missing)} of {count} parts are)" if len(missing) > 1 else ""
        raise ModelError(f"{missing[0]} is missing{more}, a part of the model; fetch it into the same folder")
    return files


def first_part(path: Path) -> Path:
    """The first file of a model that was split, told by the name of any of them, which need not be there; another file
    itself. It is what the model goes by."""
    named = PART.fullmatch(path.name)
    return path if named is None else path.with_name(f"{named[1]}-00001-of-{named[3]}.gguf")


def parts_of(path: Path) -> list[Path]:
    """The files that are there of a model that was split, told by the name of any of them; another file itself."""
    named = PART.fullmatch(path.name)
    if named is None:
        return [path]
    every = (path.with_name(f"{named[1]}-{one:05}-of-{named[3]}.gguf") for one in range(1, int(named[3]) + 1))
    return [one for one in every if one.exists()]


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
        """The value of a key: of `kind`, the file's number for its type."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            if depth == _MAX_NESTING:
                raise self.damaged(f"nests the arrays of {key!r} more than {_MAX_NESTING} deep")
            return self.array(key, depth + 1)
        return self.scalars(kind, 1, key)[0]

    def array(self, key: str, depth: int) -> list[Any]:
        """An array, whose elements' type and number stand first; `depth` arrays are around them."""
        kind = self.number("<I", 4)
        if kind == _STRING:
            return self.strings(self.count(least=8, what=f"strings of {key!r}"))
        if kind == _ARRAY:
            arrays = self.count(least=12, what=f"arrays of {key!r}")
            return [self.value(_ARRAY, key, depth) for _ in range(arrays)]
        return self.scalars(kind, self.count(least=1, what=f"numbers of {key!r}"), key)

    def scalars(self, kind: int, count: int, key: str) -> list[Any]:
        """Numbers one after another."""
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
        """An entry of the table of tensors, with its offset from the end of the table."""
        dimensions = self.number("<I", 4)
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self.damaged(f"gives the tensor {name} {dimensions} dimensions")
        shape = tuple(self.number("<Q", 8) for _ in range(dimensions))[::-1]
        number, offset = self.number("<I", 4), self.number("<Q", 8)
        try:
            kind = Kind(number)
        except ValueError:
            raise ModelError(
                f"{self.path.name}: tensor {name} has the kind {number}, which is not known here; "
                "take a file in another quantisation (Q8_0, Q4_K_M)"
            ) from None
        block, size = BLOCKS[kind]
        if 0 in shape or shape[-1] % block:
            raise self.damaged(f"gives the tensor {name} the shape {shape}, which {kind.name} cannot have")
        if offset % alignment:
            raise self.damaged(f"puts the tensor {name} at {offset}, which is not a multiple of {alignment}")
        return TensorInfo(shape, kind, offset, prod(shape) // block * size)

    def check_places(self, table: dict[str, TensorInfo]) -> None:
        """ModelError where tensors overlap, or the file ends before the last of them."""
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
        return self.strings(1)[0]

    def strings(self, count: int) -> list[str]:
        """Texts one after another, which a vocabulary has a hundred thousand of."""
        data, size, end, found, at = self.data, struct.Struct("<Q"), len(self.data), [], self.offset
        try:
            for _ in range(count):
                start = at + 8
                at = start + size.unpack_from(data, at)[0]
                if at > end:
                    raise struct.error
                found.append(str(data[start:at], "utf-8"))
        except struct.error:
            raise self.damaged("ends in the middle of its header") from None
        except UnicodeDecodeError:
            raise self.damaged("holds a text that is not UTF-8") from None
        self.offset = at
        return found

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

"""The ONNX container: stored tensors and the nodes that multiply by them, in one memory-mapped file, read only.

Our own reader of the few messages that weights take, in place of the `onnx` package (19 MB, with protobuf and
ml_dtypes): it copies nothing, follows no reference to another file, and checks every length against what holds it
before anything is made, because a file from outside is hostile.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and protobuf's encoding,
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.errors import ModelError
from lmworks.basics.files import refuse_pointer, regular

DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
"""TensorProto.DataType -> numpy's name."""
MOST_FIELDS = 2_000_000
"""Fields that are read from one file; an encoder of 12 layers has 20,000."""
MOST_DIMENSIONS = 8
_EXTERNAL = 13, 14
"""Fields of a tensor that say that its bytes lie in another file."""
_FLOATS, _INTEGERS = 4, 5
"""Fields of a tensor that hold its values one by one, where they are few."""

Value = int | memoryview


@dataclass(frozen=True)
class Node:
    """One step of the graph."""

    kind: str
    """"MatMul", "Gather", ..."""
    name: str
    inputs: tuple[str, ...]
    numbers: dict[str, int] = field(default_factory=dict)
    """Its attributes that are whole numbers: "transB" of a Gemm."""


class ONNXFile:
    """An open ONNX file. Raises ModelError where it is missing, cut off, damaged, or keeps weights elsewhere."""

    def __init__(self, path: str | Path) -> None:
        self.path, self._left = Path(path), MOST_FIELDS
        try:
            refuse_pointer(self.path)
            with regular(self.path).open("rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"{self.path} cannot be read ({reason}); fetch or copy it again") from None
        self.tensors: dict[str, NDArray[Any]] = {}
        """Stored tensors by name, as views of the file."""
        self.nodes: list[Node] = []
        for number, graph in self._fields(data):
            if number == 7:
                for kind, part in self._fields(self._bytes(graph)):
                    if kind == 1:
                        self.nodes.append(self._node(self._bytes(part)))
                    elif kind == 5:
                        self._keep(self._bytes(part))
        if not self.tensors:
            raise self.damaged("holds no weights")

    def damaged(self, how: str) -> ModelError:
        """The error that says what is wrong with the file."""
        return ModelError(f"{self.path} {how} (no ONNX model, or damaged, or cut off?); fetch or copy it again")

    def _keep(self, data: memoryview) -> None:
        """Read a TensorProto."""
        shape: list[int] = []
        values: dict[int, list[Value]] = {}
        name, kind = "", 0
        for number, value in self._fields(data):
            if number == 1:
                shape += [value] if isinstance(value, int) else self._varints(value)
            elif number == 2 and isinstance(value, int):
                kind = value
            elif number == 8:
                name = self._text(value)
            elif number in _EXTERNAL and value not in (0, b""):
                raise ModelError(
                    f"{self.path} keeps weights in another file beside it, which is not followed; take a file that "
                    "holds all of them"
                )
            else:
                values.setdefault(number, []).append(value)
        if kind not in DTYPES:
            raise ModelError(
                f"{self.path}: the tensor {name} is stored as ONNX type {kind}, which is not read; take the model in "
                "float32, float16 or int8"
            )
        if name in self.tensors:
            raise self.damaged(f"names the tensor {name} twice")
        if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape):
            raise self.damaged(f"gives the tensor {name} the shape {shape[:MOST_DIMENSIONS]}")
        held = self._numbers(values, np.dtype(DTYPES[kind]))
        if held.size != prod(shape):
            raise self.damaged(f"gives the tensor {name} the shape {shape} and {held.size:,} values")
        self.tensors[name] = held.reshape(shape)

    def _numbers(self, values: dict[int, list[Value]], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A tensor's values: raw bytes, or one by one."""
        if raw := values.get(9):
            data = self._bytes(raw[-1])
            if len(data) % dtype.itemsize:
                raise self.damaged("ends a tensor in the middle of a number")
            return np.frombuffer(data, dtype)
        if floats := values.get(_FLOATS):
            parts = [part if isinstance(part, memoryview) else struct.pack("<I", part) for part in floats]
            if any(len(part) % 4 for part in parts):
                raise self.damaged("ends a tensor in the middle of a number")
            return np.frombuffer(b"".join(parts), "<f4").astype(dtype)
        integers = [
            number
            for part in values.get(_INTEGERS, [])
            for number in ([part] if isinstance(part, int) else self._varints(part))
        ]
        if dtype == np.float16:  # stored by its bits
            return np.array(integers, np.int64).astype(np.uint16).view(dtype)
        return np.array(integers, np.int64).astype(dtype)

    def _node(self, data: memoryview) -> Node:
        """Read a NodeProto."""
        inputs: list[str] = []
        kind = name = ""
        numbers: dict[str, int] = {}
        for number, value in self._fields(data):
            if number == 1:
                inputs.append(self._text(value))
            elif number == 3:
                name = self._text(value)
            elif number == 4:
                kind = self._text(value)
            elif number == 5:
                attribute = dict(self._fields(self._bytes(value)))
                if isinstance(whole := attribute.get(3), int):
                    numbers[self._text(attribute.get(1, memoryview(b"")))] = whole
        return Node(kind, name, tuple(inputs), numbers)

    def _fields(self, data: memoryview) -> Iterator[tuple[int, Value]]:
        """Number and value of each field of a message: a whole number, or bytes."""
        at = 0
        while at < len(data):
            self._left -= 1
            if self._left < 0:
                raise self.damaged(f"has more than {MOST_FIELDS:,} entries, which no model has")
            key, at = self._varint(data, at)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, at = self._varint(data, at)
                yield number, value
                continue
            if wire not in (1, 2, 5) or not number:
                raise self.damaged("is no sequence of fields")
            size, at = self._varint(data, at) if wire == 2 else (8 if wire == 1 else 4, at)
            if not 0 <= size <= len(data) - at:
                raise self.damaged("ends in the middle of an entry")
            part, at = data[at : at + size], at + size
            yield number, part if wire == 2 else int.from_bytes(part, "little")

    def _varint(self, data: memoryview, at: int) -> tuple[int, int]:
        """A whole number of 64 bits with a sign, and where it ends."""
        value = 0
        for place in range(10):
            if at + place >= len(data):
                break
            byte = data[at + place]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                value &= 2**64 - 1
                return value - (value >> 63 << 64), at + place + 1
        raise self.damaged("ends in the middle of a number")

    def _varints(self, data: memoryview) -> list[int]:
        """Whole numbers after one another."""
        found, at = [], 0
        while at < len(data):
            self._left -= 1
            if self._left < 0:
                raise self.damaged(f"has more than {MOST_FIELDS:,} entries, which no model has")
            number, at = self._varint(data, at)
            found.append(number)
        return found

    def _bytes(self, value: Value) -> memoryview:
        if isinstance(value, int):
            raise self.damaged("has a number where a message belongs")
        return value

    def _text(self, value: Value) -> str:
        try:
            return str(self._bytes(value), "utf-8")
        except UnicodeDecodeError:
            raise self.damaged("holds a name that is not UTF-8") from None

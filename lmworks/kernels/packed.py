"""Packed matrices: what the kernels read, and where it lies. Imports no PyTorch (packing.py makes them)."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lmworks.kernels.frame import GROUP
from lmworks.kernels.outliers import table_for_values, table_for_weights
from lmworks.kernels.quantisation import Quantisation, forms, quantisation_of

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.models.files.quantise import Groups

ROWS = 16


class Stored(Protocol):
    """What a file holds of a network, as it holds it; names are those of the network's parameters."""

    def alike(self, name: str) -> list[slice] | None:
        """The rows of a matrix that are stored alike, from the first on; None where some are in no groups that the
        kernels know."""

    def groups(self, name: str, rows: slice) -> Groups:
        """Some rows that are stored alike, in groups."""

    def bits(self, name: str) -> int:
        """The bits that hold whatever the file may hold there."""

    def floats(self, name: str) -> Tensor | None:
        """A vector in float32; None where the network's own is no worse."""

    @property
    def bytes(self) -> int:
        """What the weights take in the file."""

    def let_go(self) -> None:
        """Give back the memory that the file takes; it is read again when it is asked."""


@dataclass(frozen=True)
class Packed:
    """A packed matrix."""

    data: np.ndarray
    form: str
    """The name of its quantisation."""
    rows: int
    columns: int
    outliers: tuple[int, ...] = ()
    """Columns whose inputs are multiplied in float32, rising."""
    more: tuple[Packed, ...] = ()
    """The rows after these, where a file stores them in another way."""
    values_in_floats: bool = False
    """Are the values that it is multiplied with kept in floats too, as some matrix of the network wants them?"""
    heads: int = 1
    """Equal parts of the rows, each of which has inputs of its own: those of one after those of the other."""

    @property
    def every(self) -> tuple[Packed, ...]:
        """This and what comes after it."""
        return self, *self.more

    def beside(self, outliers: tuple[int, ...]) -> Packed:
        """The same where other inputs are the outliers, on which none of its bytes depends."""
        return replace(self, outliers=outliers, more=tuple(one.beside(outliers) for one in self.more))

    @property
    def quantisation(self) -> Quantisation:
        """How its weights are packed."""
        return forms()[self.form]

    @property
    def bits(self) -> int:
        """Of a weight."""
        return self.quantisation.bits

    @functools.cached_property
    def for_values(self) -> np.ndarray:
        """The table that the step reads which rounds the inputs (outliers.py)."""
        return table_for_values(self.outliers, self.groups, self.values_in_floats)

    def want_codes(self, wanted: bool) -> None:
        """Whether somebody reads in 8 bits, too, what is kept in floats."""
        self.for_values[0] = abs(self.for_values[0]) * (1 if wanted else -1)

    @functools.cached_property
    def for_weights(self) -> np.ndarray:
        """The table that the matrix reads."""
        return table_for_weights(self.outliers, self.quantisation)

    @property
    def address(self) -> int:
        """Where it lies, at a multiple of 64."""
        return int(self.data.ctypes.data)

    @property
    def blocks(self) -> int:
        """Of 16 rows; the last may be filled up with rows of zeros."""
        return -(-self.rows // ROWS)

    @property
    def groups(self) -> int:
        """Of 32 columns: the inputs of a row."""
        return self.columns // GROUP


Each = Generator[tuple[str, Iterator[Packed]]]
"""Matrices by name, each in parts of some rows."""


def aligned(size: int) -> np.ndarray:
    """Zeroed bytes that begin at a multiple of 64. For more than 4 MB NumPy asks the system for pages of 2 MB."""
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


class Arena:
    """Memory for a network's matrices, one after another in the order of their use, and so in large pages: a processor
    reads ahead within a page, and has to look up where the next one lies."""

    def __init__(self, size: int) -> None:
        self._free = aligned(size)

    def take(self, size: int) -> np.ndarray:
        """Zeroed bytes that begin at a multiple of 64."""
        taken, self._free = self._free[:size], self._free[-(-size // 64) * 64 :]
        return taken


OVERHEAD = 1.1
"""Packed weights by the bytes of a file in few bits: the kernels keep a minimum beside each scale (Q4_0: 5 / 4.5)."""
OVERHEAD_MXFP4 = 20 / 17
"""The same of MXFP4, whose scales are a byte in a file."""


def packed_bytes(shape: Sequence[int], bits: int) -> int:
    """What a matrix takes when it is packed."""
    return -(-shape[0] // ROWS) * (shape[1] // GROUP) * quantisation_of(bits).run_bytes

"""A checksum of many bytes at the speed of memory: hashes of the standard library take longer than all else that a
start from kept weights does.

    checksum = Checksum()
    checksum.add(first), checksum.add(rest)    # however the bytes are cut
    checksum.hexdigest()
    checksum.add_sums(sums_of(blocks))         # the same of whole blocks, which several threads can sum

The bytes are seen as blocks, a block as rows of 64-bit numbers, and the sums of its columns are hashed. So any change
within one number is found, and any other but by a chance of 2^-64 or where two numbers of one column of one block make
up for each other. A row has a prime number of them: pages of a disk (512 numbers) that stand in each other's place, or
beside it, do not have their columns.
"""

from __future__ import annotations

import hashlib

import numpy as np

COLUMNS, ROWS = 1021, 64
BLOCK = COLUMNS * ROWS * 8
"""Bytes: some that a core's own cache holds, so that those that were just read are not fetched from memory again."""


class Checksum:
    """Of bytes that come one after another."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._sums = np.empty(COLUMNS, np.uint64)
        self._begun, self._filled = np.empty(BLOCK, np.uint8), 0

    def add(self, data: memoryview | bytes) -> None:
        """The next bytes. Whole blocks, where none is begun, are read where they are."""
        view, at = memoryview(data), 0
        if not view.nbytes:  # which cannot be cast
            return
        bytes_ = view.cast("B")
        while at < len(bytes_):
            if not self._filled and len(bytes_) - at >= BLOCK:
                self._add_rows(np.frombuffer(bytes_, np.uint64, BLOCK // 8, at))
                at += BLOCK
                continue
            count = min(BLOCK - self._filled, len(bytes_) - at)
            self._begun[self._filled : self._filled + count] = np.frombuffer(bytes_, np.uint8, count, at)
            at, self._filled = at + count, self._filled + count
            if self._filled == BLOCK:
                self._add_rows(self._begun.view(np.uint64))
                self._filled = 0

    def add_sums(self, sums: np.ndarray) -> None:
        """The next bytes, of which these are the sums; no block may be begun."""
        assert not self._filled, "blocks begin where one ends"
        self._hash.update(sums.data)

    def hexdigest(self) -> str:
        """Of all bytes until now."""
        whole = self._hash.copy()
        whole.update(self._begun[: self._filled].data)
        return whole.hexdigest()

    def _add_rows(self, numbers: np.ndarray) -> None:
        np.add.reduce(numbers.reshape(ROWS, COLUMNS), axis=0, out=self._sums)
        self._hash.update(self._sums.data)


def sums_of(blocks: np.ndarray) -> np.ndarray:
    """What the checksum keeps of the bytes of whole blocks."""
    return np.add.reduce(blocks.view(np.uint64).reshape(-1, ROWS, COLUMNS), axis=1)

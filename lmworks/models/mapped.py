"""Pages of a file that tensors lie on: given back when what they hold was copied, so that nothing is in memory twice.

    know_mapped(path, tensors)      # which of them lie on pages of the file
    let_go_of_others(tensors, kept) # the pages of those that none of the others is; read again, they come back

On Linux; elsewhere pages stay until the last tensor of their file goes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor


def know_mapped(path: Path, tensors: Iterable[Tensor]) -> None:
    """Note which tensors lie on pages of a file that nobody has written to, as the system says: memory of another kind
    would be lost."""
    places = list(_places_of(path))
    for tensor in tensors:
        begin = tensor.data_ptr()
        if any(first <= begin and begin + tensor.nbytes <= end for first, end in places):
            tensor.is_mapped = True  # type: ignore[attr-defined]


def let_go_of_others(tensors: Iterable[Tensor], kept: Iterable[Tensor]) -> None:
    """Give back the pages of each tensor that none of those that are `kept` is, or is a view of."""
    of_kept = {one.untyped_storage().data_ptr() for one in kept}
    for one in tensors:
        if one.untyped_storage().data_ptr() not in of_kept:
            _let_go_of(one)


def _let_go_of(tensor: Tensor) -> None:
    """The pages that hold nothing but this tensor, where it was noted and is as it was read."""
    if not getattr(tensor, "is_mapped", False) or tensor.is_inference() or tensor._version:
        return
    begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if begin < end:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def _places_of(path: Path) -> Iterator[tuple[int, int]]:
    """Where a file is mapped: beginnings and ends."""
    if sys.platform != "linux":
        return
    try:
        number, name = str(path.stat().st_ino), os.path.realpath(path)
        with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                place, _, _, _, inode, *named = line.rstrip("\n").split(maxsplit=5)
                if inode == number and named == [name]:
                    begin, end = place.split("-")
                    yield int(begin, 16), int(end, 16)
    except (OSError, ValueError):
        return

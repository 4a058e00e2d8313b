"""Gives back the mapped pages of a file once the tensors on them are copied, so that no weight is in memory twice.

    know_mapped(path, tensors)       # marks those that lie on pages of the file
    let_go_of_others(tensors, kept)  # gives back the pages of all but the kept ones; reading them brings them back

On Linux; elsewhere pages stay until the last tensor of their file is gone.
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
    """Mark the tensors that lie on mapped pages of this file, as the system lists them. Giving back any other memory
    would lose what it holds."""
    places = list(_places_of(path))
    for tensor in tensors:
        begin = tensor.data_ptr()
        if any(first <= begin and begin + tensor.nbytes <= end for first, end in places):
            tensor.is_mapped = True  # type: ignore[attr-defined]


def let_go_of_others(tensors: Iterable[Tensor], kept: Iterable[Tensor]) -> None:
    """Give back the pages of each tensor, unless a `kept` tensor is the same one or a view of it."""
    of_kept = {one.untyped_storage().data_ptr() for one in kept}
    for one in tensors:
        if one.untyped_storage().data_ptr() not in of_kept:
            _let_go_of(one)


def _let_go_of(tensor: Tensor) -> None:
    """Give back the pages that hold nothing but this tensor, if it was marked and nobody has changed it since."""
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

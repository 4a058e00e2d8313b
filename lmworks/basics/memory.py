"""Memory of this process: keep freed pages instead of returning them, and say how much was used at most."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

from lmworks.basics.errors import ModelError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
SMALL, OF_EACH = range(24, 3112, 16), 40_000
"""Sizes of small blocks, and the bytes that are kept ready in blocks of each."""
OFTEN = {24: 12_000, 40: 4_000, 56: 6_000, 104: 2_500, 184: 1_500, 776: 700, 1544: 500, 2152: 600}
"""Blocks of the sizes that a training step holds most of (what describes tensors, and how gradients go back), counted
in encoders and decoders of 8 blocks, and doubled."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep large freed blocks for the next step; True where it took effect (glibc).

    By default every tensor over a few megabytes is mapped anew and returned when it is freed, so a training
    step faults in and zeroes hundreds of thousands of pages. What one thread has freed is there for all. Call it before
    the first large allocation.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    wanted = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    kept = all(mallopt(name, value) for name, value in wanted.items())
    if kept:
        _keep_small_blocks(library)
    return kept


def _keep_small_blocks(library: ctypes.CDLL) -> None:
    """Make small blocks and free them, 13 MB in all, with one that stays between any two so that they are not joined.

    Without them the C library cuts the few hundred bytes that describe a tensor out of the room that a large tensor
    has left; the next of the same size has no place there, and the heap grows.
    """
    allocate, free = library.malloc, library.free
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    free.restype, free.argtypes = None, [ctypes.c_void_p]
    made = []
    for size in SMALL:
        for _ in range(OFTEN.get(size, OF_EACH // size)):
            made.append(allocate(size))
            allocate(SMALL.start)
    for block in made:
        free(block)


def peak_megabytes() -> float:
    """The most memory this process has held so far, in MB of 10^6 bytes; 0 where the system does not say."""
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    except (OSError, StopIteration):  # not Linux
        pass
    # On Linux this would be the peak of the process that started this one, where that is larger (getrusage(2)).
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6


def begin_peak() -> bool:
    """Let `peak_megabytes` speak of what comes from here on: give freed pages back, and forget what was held before.
    True where it took effect (Linux with glibc); elsewhere the peak stays that of the whole process."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # proc(5): VmHWM begins at what is held now
    except (OSError, AttributeError, TypeError):
        return False
    return True


def available_bytes() -> int | None:
    """Memory that can be had without pushing anything out (Linux), also under a container's limit; None where the
    system does not say."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            sizes = dict(line.split(":", 1) for line in lines)
    except (OSError, ValueError):
        return None
    if "MemAvailable" not in sizes:
        return None
    left = left_in_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return min([int(sizes["MemAvailable"].split()[0]) * 1024, *left])


def left_in_groups(root: Path, own: Path) -> list[int]:
    """What each control group (version 2) that this process is in, and that has a limit, leaves: pages of files can be
    pushed out."""
    left = []
    try:
        group = next(line[4:] for line in own.read_text("utf-8").splitlines() if line.startswith("0::/"))
        for folder in [root / group, *(root / group).parents]:
            if folder.is_relative_to(root) and (folder / "memory.max").exists():
                limit = (folder / "memory.max").read_text("ascii").strip()
                used = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
                if limit != "max":
                    held = int((folder / "memory.current").read_text("ascii"))
                    left.append(max(0, int(limit) - held + int(used["active_file"]) + int(used["inactive_file"])))
    except (OSError, StopIteration, ValueError, KeyError):
        pass
    return left


def must_fit(what: str, needed: int) -> None:
    """ModelError where weights need more bytes than there are, before the machine is brought to a halt by trying it."""
    free = available_bytes()
    if free is not None and needed > free:
        raise ModelError(
            f"{what} takes {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free; close other programs, "
            "or take a smaller model"
        )


SAID_WITHOUT_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""What PyTorch and the system say in an error that is no MemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Did this happen because there was no memory?"""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(one in words for one in SAID_WITHOUT_MEMORY)

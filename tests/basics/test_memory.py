"""How much memory is free, and what becomes of memory that is freed."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lmworks.basics.memory import left_in_groups


def test_what_a_container_leaves_counts_pages_of_files_as_free(tmp_path: Path):
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    inner = root / "box" / "job"
    inner.mkdir(parents=True)
    own.write_text("4:memory:/old\n0::/box/job\n")
    assert left_in_groups(root, own) == []
    for folder, limit, held in ((inner, "max", 700), (inner.parent, "1000", 900)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{held}\n")
        (folder / "memory.stat").write_text("anon 600\nactive_file 100\ninactive_file 200\n")
    assert left_in_groups(root, own) == [400]
    assert left_in_groups(root, tmp_path / "none") == []


GROWS = """
import ctypes
from lmworks.basics.memory import keep_freed_memory
{keep}
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
library.sbrk.restype, library.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
for size in (2**18, 2**15, 2**12):  # until no room is left that an import has freed
    begun = library.sbrk(0)
    while library.sbrk(0) == begun:
        library.malloc(size)
large, after = library.malloc(2**24), library.malloc(2**12)
before = library.sbrk(0)
library.free(large)
for size, count in {{24: 4000, 56: 2000, 184: 1000, 776: 500, 2152: 400}}.items():
    for _ in range(count):
        library.malloc(size)
library.malloc(2**24)
print((library.sbrk(0) - before) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere memory is kept as the system's library does")
def test_small_blocks_take_no_room_of_a_large_one_that_was_freed():
    grown = {}
    for keep in ("keep_freed_memory()", "library = ctypes.CDLL(None); library.mallopt(-3, 2**30)"):
        ran = subprocess.run(
            [sys.executable, "-c", GROWS.format(keep=keep)], capture_output=True, text=True, check=True
        )
        grown[keep] = int(ran.stdout)
    with_small, without = grown.values()
    assert with_small == 0
    assert without >= 16, "without blocks kept ready the heap grows, which is what they are for"

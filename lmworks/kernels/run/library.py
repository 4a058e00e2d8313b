"""The compiled kernels: made once, kept on the disk, checked before they are trusted.

A folder for each set of instructions, processor and version of these sources holds numba's cache, and a list of
checksums, written last: what does not agree with it (half written, damaged) is thrown away and made again. One process
compiles at a time; the others wait for it. Where no folder can be written, each process compiles for itself.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmworks.basics import progress
from lmworks.basics.declared import declared
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.basics.files import cache_folder, sha256, write_json
from lmworks.kernels.emit.instructions import FORCED, Instructions, chosen, features, problem
from lmworks.kernels.frame import Entry
from lmworks.kernels.operation import Operands, Operation

LIST = "checksums.json"
ROOT = Path(__file__).parents[2]
COMPILED = (
    "kernels/emit/*.py",
    "kernels/operations/*.py",
    "kernels/quantisation.py",
    "kernels/quantisations/*.py",
    "kernels/frame.py",
    "kernels/run/interpreter.py",
    "kernels/run/work_stealing.py",
    "models/lookup.py",
)
"""The sources that are compiled: numba itself looks at one file alone."""


@dataclass(frozen=True)
class Library:
    """Compiled functions, and how they came."""

    instructions: str
    numbers: dict[type[Operands], int]
    """How a tape names each operation."""
    table: np.ndarray
    """int64 [operations, frame.Entry]: their functions' addresses."""
    run: Callable[[int, int, int], None]
    """thread, address of the jobs, looks until it leaves (interpreter.py)"""
    wait_for: Callable[[int, int, int], int]
    signal: Callable[[int, int], None]
    choose: Callable[..., int]
    log_total: Callable[..., float]
    """emit/softmax.py"""
    kept: bool
    """Another process will find them on the disk."""
    made: bool
    """They were compiled here, and not found."""


@functools.lru_cache(maxsize=1)
def library() -> Library:
    """The kernels of this process. LmworksError without numba, or where the processor has no instructions for them."""
    require("numba", "fast")
    if (why := problem()) is not None:
        raise LmworksError(why)
    instructions = chosen()
    folder = _folder(instructions)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lmworks-kernels-") as temporary:
            return _compiled(instructions, Path(temporary), made=True, kept=False)
    with _alone(folder):
        there = _is_whole(folder)
        if not there:
            _empty(folder)
        made = _compiled(instructions, folder, made=not there, kept=True)
        if not there:
            write_json(folder / LIST, _checksums(folder))
        return made


def loaded() -> Library | None:
    """The kernels, if something in this process has wanted them already."""
    return library() if library.cache_info().currsize else None


def _compiled(instructions: Instructions, folder: Path, made: bool, kept: bool) -> Library:
    """Compile the kernels, or load them from numba's cache in `folder`."""
    import numba

    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
    try:
        interpreter: Any = importlib.import_module("lmworks.kernels.run.interpreter")
        softmax: Any = importlib.import_module("lmworks.kernels.emit.softmax")
        operations = list(declared("lmworks.kernels.operations", Operation).values())
        outside: list[tuple[Any, tuple[Any, ...]]] = []

        def keep(function: Any, *arguments: Any) -> None:
            """Have a function that is called from outside kept on the disk."""
            function.enable_caching()
            outside.append((function, arguments))

        whole, real = numba.int64, numba.float64
        for one in operations:
            keep(one.run, *[whole] * 4)
            if one.chunks is not None:
                keep(one.chunks.count, *[whole] * 2)
                keep(one.chunks.do, *[whole] * 6)
                keep(one.chunks.take_over, *[whole] * 4)
        for function, count in ((interpreter.run, 3), (interpreter.wait_for, 3), (interpreter.signal, 2)):
            keep(function, *[whole] * count)
        keep(softmax.choose, whole, whole, real, whole, real, real, real, whole)
        keep(softmax.log_total, whole, whole, whole)
        # All are to be kept before the first is compiled: one that another calls is compiled with it, and only then
        # written. A later process that missed it would add a file that is not in the list, and nobody would trust it.
        addresses = {}
        shown = progress.task("compiling kernels (once)", len(outside)) if made else contextlib.nullcontext(None)
        with shown as advance:
            for function, arguments in outside:
                addresses[function] = _made(function, arguments)
                if advance is not None:
                    advance(1)
        table = np.zeros((len(operations), len(Entry)), np.int64)
        for entry, one in zip(table, operations, strict=True):
            entry[Entry.RUN] = addresses[one.run]
            entry[Entry.TAKES_LONG], entry[Entry.MOVES_TEXTS] = one.takes_long, one.moves_texts
            if one.chunks is not None:
                entry[Entry.COUNT] = addresses[one.chunks.count]
                entry[Entry.DO] = addresses[one.chunks.do]
                entry[Entry.TAKE_OVER] = addresses[one.chunks.take_over]
                entry[Entry.READS_TEXTS] = one.chunks.reads_texts
    finally:
        settings.CACHE_DIR = before
    numbers = {one.operands: number for number, one in enumerate(operations)}
    functions = (interpreter.run, interpreter.wait_for, interpreter.signal, softmax.choose, softmax.log_total)
    return Library(instructions.name, numbers, table, *functions, kept, made)


def _made(function: Any, arguments: tuple[Any, ...]) -> int:
    """Compile a function, or find it on the disk; its address."""
    function.compile(arguments)
    ready = function.overloads[arguments]
    return int(ready.library.get_pointer_to_function(ready.fndesc.llvm_cfunc_wrapper_name))


def _folder(instructions: Instructions) -> Path | None:
    """The cache folder of these sources, this processor and these versions; None where it cannot be written.

    Of these sources at this place and time: numba does not recognise the same file elsewhere, or newer, and two
    installations that shared a folder would compile each other's kernels again and again.
    """
    import llvmlite
    import numba

    parts = [numba.__version__, llvmlite.__version__, sys.version, *sorted(features()), os.environ.get(FORCED, "")]
    digest = hashlib.sha256("\n".join(parts).encode())
    for file in sorted(file for pattern in COMPILED for file in ROOT.glob(pattern)):
        digest.update(f"{file} {file.stat().st_mtime_ns}".encode() + file.read_bytes())
    try:
        folder = cache_folder("kernels", f"{instructions.name}-{digest.hexdigest()[:16]}")
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (LmworksError, OSError):
        return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the lock ends with its process."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with progress.task("waiting: another process compiles the kernels"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the cache."""
    return {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != LIST
    }


def _is_whole(folder: Path) -> bool:
    """Is everything there that was written, as it was written? A damaged object file would crash the process."""
    try:
        return json.loads((folder / LIST).read_text("utf-8")) == _checksums(folder)
    except (OSError, ValueError):
        return False


def _empty(folder: Path) -> None:
    for one in folder.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()

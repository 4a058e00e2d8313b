"""The compiled kernels: made once, kept on the disk, checked before they are trusted.

A folder for each set of instructions, processor and version of these sources holds numba's cache. Beside it stands a list of
checksums, written last: what does not agree with it (half written, damaged) is thrown away and made again. One process
compiles at a time; the others wait for it. A folder that cannot be written is done without: then each process compiles.
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

from lmworks.basics import progress
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.basics.files import cache_folder, sha256, write_json
from lmworks.kernels.instructions import FORCED, Instructions, chosen, features, problem

LIST = "checksums.json"
SOURCES = (
    *(
        "instructions",
        "vectors",
        "scalars",
        "frame",
        "claims",
        "quantised",
        "norms",
        "activations",
        "matrix",
        "embedding",
    ),
    *("positions", "attention", "interpreter", "../models/lookup", "next_token", "softmax", "writing"),
)
"""What is compiled; numba itself looks at one file alone."""


@dataclass(frozen=True)
class Library:
    """Compiled functions, and how they came."""

    instructions: str
    run: Callable[[int, int, int], None]
    """thread, address of the jobs, looks until it leaves (interpreter.run)"""
    wait_for: Callable[[int, int, int], int]
    signal: Callable[[int, int], None]
    choose: Callable[..., int]
    log_total: Callable[..., float]
    """softmax.py"""
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
    """Import the kernels with numba's cache in `folder`; numba reads its settings when they are defined."""
    import numba

    settings: Any = numba.config
    before = settings.CACHE_DIR, settings.CPU_FEATURES, settings.CPU_NAME
    settings.CACHE_DIR = str(folder)
    if os.environ.get(FORCED):
        left = features() - set(instructions.without)
        settings.CPU_FEATURES = ",".join(
            [*(f"+{name}" for name in sorted(left)), *(f"-{name}" for name in instructions.without)]
        )
        settings.CPU_NAME = "generic"
    shown = progress.task("compiling kernels (once)", 5) if made else contextlib.nullcontext(lambda amount: None)
    try:
        with shown as advance:
            interpreter: Any = importlib.import_module("lmworks.kernels.interpreter")
            for name, arguments in (("wait_for", 3), ("signal", 2), ("run", 3)):
                getattr(interpreter, name).compile((numba.int64,) * arguments)
                advance(1)
            softmax: Any = importlib.import_module("lmworks.kernels.softmax")
            number, real = numba.int64, numba.float64
            softmax.log_total.compile((number, number, number))
            advance(1)
            softmax.choose.compile((number, number, real, number, real, real, real, number))
            advance(1)
    finally:
        settings.CACHE_DIR, settings.CPU_FEATURES, settings.CPU_NAME = before
    functions = (interpreter.run, interpreter.wait_for, interpreter.signal, softmax.choose, softmax.log_total)
    return Library(instructions.name, *functions, kept, made)


def _folder(instructions: Instructions) -> Path | None:
    """The cache folder of these sources, this processor and these versions; None where it cannot be written.

    Of these sources at this place and time: numba takes the same file elsewhere, or newer, for another one, and two
    installations that shared a folder would make each other's kernels again and again.
    """
    import llvmlite
    import numba

    parts = [numba.__version__, llvmlite.__version__, sys.version, *sorted(features()), os.environ.get(FORCED, "")]
    digest = hashlib.sha256("\n".join(parts).encode())
    for source in SOURCES:
        file = Path(__file__).parent / f"{source}.py"
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

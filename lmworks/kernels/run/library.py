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
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lmworks.basics import progress
from lmworks.basics.declared import declared
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.basics.files import cache_folder, sha256, write_json
from lmworks.kernels.emit.instructions import FORCED, Instructions, chosen, features, problem
from lmworks.kernels.frame import Entry, FormEntry
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.quantisation import Quantisation
from lmworks.kernels.quantisation import forms as every_form

Made = TypeVar("Made")
LIST = "checksums.json"
ROOT = Path(__file__).parents[2]
COMPILED = (
    "kernels/emit/*.py",
    "kernels/operations/*.py",
    "kernels/quantisation.py",
    "kernels/quantisations/*.py",
    "models/files/gguf_blocks.py",
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
    forms: np.ndarray
    """int64 [quantisations, frame.FormEntry]: those of each quantisation that a tape wanted."""
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
    return _kept(instructions, "", lambda folder, made, kept: _compiled(instructions, folder, made, kept))


_wanted = threading.Lock()


def want(forms: Iterable[int]) -> None:
    """Compile what quantisations with these numbers need, or load it: a network needs few of them."""
    made = library()
    with _wanted:
        for number in sorted(set(forms)):
            if not made.forms[number].any():
                kind = list(every_form().values())[number]
                made.forms[number] = _kept(chosen(), f"-{kind.name}", functools.partial(_of_form, kind))


def _kept(instructions: Instructions, part: str, make: Callable[[Path, bool, bool], Made]) -> Made:
    """What is made with a folder of the cache: whether it is made there now, and stays."""
    folder = _folder(instructions, part)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lmworks-kernels-") as temporary:
            return make(Path(temporary), True, False)
    with _alone(folder):
        there = _is_whole(folder)
        if not there:
            _empty(folder)
        made = make(folder, not there, True)
        if not there:
            write_json(folder / LIST, _checksums(folder))
        return made


def loaded() -> Library | None:
    """The kernels, if something in this process has wanted them already."""
    return library() if library.cache_info().currsize else None


def _of_form(kind: Quantisation, folder: Path, made: bool, kept: bool) -> list[int]:
    """The functions of a quantisation, by their addresses (frame.FormEntry)."""
    from lmworks.kernels.operations.embed import embed_of
    from lmworks.kernels.operations.matrix import multiply_of

    shown = progress.task(f"compiling kernels of {kind.name} (once)", 2) if made else contextlib.nullcontext(None)
    with _caching(folder), shown as advance:
        functions = {multiply_of(kind): 8, embed_of(kind): 3}
        for one in functions:
            one.enable_caching()
        return [_made(one, arguments, advance) for one, arguments in functions.items()]


@contextlib.contextmanager
def _caching(folder: Path) -> Iterator[None]:
    """numba's cache is in this folder."""
    import numba

    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        settings.CACHE_DIR = before


def _made(function: Any, arguments: int | Sequence[Any], advance: Callable[[int], None] | None) -> int:
    """Compile a function that is called from outside, of so many integers or of these types, or load it; returns its
    address."""
    import numba

    types = (numba.int64,) * arguments if isinstance(arguments, int) else tuple(arguments)
    function.compile(types)
    if advance is not None:
        advance(1)
    ready = function.overloads[types]
    return int(ready.library.get_pointer_to_function(ready.fndesc.llvm_cfunc_wrapper_name))


def _compiled(instructions: Instructions, folder: Path, made: bool, kept: bool) -> Library:
    """Compile the kernels, or load them from numba's cache in `folder`."""
    import numba

    interpreter: Any = importlib.import_module("lmworks.kernels.run.interpreter")
    softmax: Any = importlib.import_module("lmworks.kernels.emit.softmax")
    operations = list(declared("lmworks.kernels.operations", Operation).values())
    shown = progress.task("compiling kernels (once)", 5 + len(operations)) if made else contextlib.nullcontext(None)
    with _caching(folder), shown as advance:
        for function in _outer(operations, interpreter, softmax):
            # All before the first is compiled: one that another calls is compiled with it, and kept only then.
            function.enable_caching()
        table = np.zeros((len(operations), len(Entry)), np.int64)
        for entry, one in zip(table, operations, strict=True):
            entry[Entry.RUN] = _made(one.run, 4, advance)
            entry[Entry.TAKES_LONG], entry[Entry.MOVES_TEXTS] = one.takes_long, one.moves_texts
            if one.chunks is not None:
                entry[Entry.COUNT] = _made(one.chunks.count, 2, advance)
                entry[Entry.DO] = _made(one.chunks.do, 6, advance)
                entry[Entry.TAKE_OVER] = _made(one.chunks.take_over, 4, advance)
                entry[Entry.READS_TEXTS] = one.chunks.reads_texts
        for function, count in ((interpreter.run, 3), (interpreter.wait_for, 3), (interpreter.signal, 2)):
            _made(function, count, advance)
        whole, real = numba.int64, numba.float64
        _made(softmax.choose, (whole, whole, real, whole, real, real, real, whole), advance)
        _made(softmax.log_total, 3, advance)
    numbers = {one.operands: number for number, one in enumerate(operations)}
    functions = (interpreter.run, interpreter.wait_for, interpreter.signal, softmax.choose, softmax.log_total)
    forms = np.zeros((len(every_form()), len(FormEntry)), np.int64)
    return Library(instructions.name, numbers, table, forms, *functions, kept, made)


def _outer(operations: Sequence[Operation], interpreter: Any, softmax: Any) -> list[Any]:
    """The functions that are called from outside, and kept on the disk."""
    chunks = [one.chunks for one in operations if one.chunks is not None]
    parts = [part for one in chunks for part in (one.count, one.do, one.take_over)]
    others = [interpreter.run, interpreter.wait_for, interpreter.signal, softmax.choose, softmax.log_total]
    return [*(one.run for one in operations), *parts, *others]


def _folder(instructions: Instructions, part: str = "") -> Path | None:
    """The cache folder of a part of these sources, this processor and these versions; None where it cannot be written.

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
        folder = cache_folder("kernels", f"{instructions.name}-{digest.hexdigest()[:16]}{part}")
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

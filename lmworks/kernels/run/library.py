"""The compiled kernels: made once, kept on the disk, checked before they are trusted.

A folder for each set of instructions, processor and version of these sources holds object code, a file for each part
(functions.py), which begins with its checksum: what is half written or damaged is made again. One process compiles at a
time (compiling.py); the others wait for it. Where nothing can be written, and they are not there yet, each process
compiles for itself.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmworks.basics import progress
from lmworks.basics.errors import KernelError, LmworksError
from lmworks.basics.extras import require
from lmworks.basics.files import alone, cache_folder
from lmworks.kernels.emit.instructions import FORCED, chosen, features, problem
from lmworks.kernels.frame import Entry, FormEntry
from lmworks.kernels.operation import Operands
from lmworks.kernels.quantisation import forms as every_form
from lmworks.kernels.run.functions import CHOICE, INTERPRETER, REAL, WHOLE, Function, functions, operations, parts
from lmworks.kernels.run.old_folders import hold, remove_old

ROOT = Path(__file__).parents[2]
COMPILED = (
    "kernels/emit/*.py",
    "kernels/operations/*.py",
    "kernels/operation.py",
    "kernels/quantisation.py",
    "kernels/quantisations/*.py",
    "models/files/code_tables.py",
    "kernels/frame.py",
    "kernels/run/compiling.py",
    "kernels/run/functions.py",
    "kernels/run/interpreter.py",
    "kernels/run/work_stealing.py",
    "models/lookup.py",
)
"""The sources that are compiled, and what compiles them."""


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


_making = threading.Lock()


def library() -> Library:
    """The kernels of this process, made once also where two threads ask. LmworksError without numba, or where the
    processor has no instructions for them."""
    with _making:
        return _library()


@functools.lru_cache(maxsize=1)
def _library() -> Library:
    if importlib.util.find_spec("numba") is None:
        require("numba", "fast")
    if (why := problem()) is not None:
        raise LmworksError(why)
    code = _Code(parts(), "compiling kernels")
    table = np.zeros((len(operations()), len(Entry)), np.int64)
    for entry, one in zip(table, operations(), strict=True):
        entry[Entry.RUN] = code.address(f"{one.name}.run")
        entry[Entry.TAKES_LONG], entry[Entry.MOVES_TEXTS] = one.takes_long, one.moves_texts
        if one.chunks is not None:
            entry[Entry.COUNT] = code.address(f"{one.name}.count")
            entry[Entry.DO] = code.address(f"{one.name}.do")
            entry[Entry.TAKE_OVER] = code.address(f"{one.name}.take_over")
            entry[Entry.READS_TEXTS] = one.chunks.reads_texts
    called = _functions(INTERPRETER, code) | _functions(CHOICE, code)
    numbers = {one.operands: number for number, one in enumerate(operations())}
    forms = np.zeros((len(every_form()), len(FormEntry)), np.int64)
    return Library(chosen().name, numbers, table, forms, kept=code.kept, made=code.made, **called)


_wanted = threading.Lock()


def want(forms: Iterable[int]) -> None:
    """Compile what quantisations with these numbers need, or load it: a network needs few of them."""
    made = library()
    with _wanted:
        names = {number: list(every_form())[number] for number in sorted(set(forms)) if not made.forms[number].any()}
        if names:
            code = _Code([*names.values()], "compiling kernels of quantisations")
            for number, name in names.items():
                made.forms[number] = code.address(f"{name}.multiply"), code.address(f"{name}.embed")


def functions_of(part: str) -> dict[str, Callable[..., Any]]:
    """The functions of one part by their names, for Python to call: `functions_of("Norm")["run"]`."""
    return _functions(part, _Code([part], f"compiling {part}"))


def _functions(part: str, code: _Code) -> dict[str, Callable[..., Any]]:
    return {one.name.partition(".")[2]: _called(one, code.address(one.name)) for one in functions(part)}


def loaded() -> Library | None:
    """The kernels, if something in this process has wanted them already."""
    return _library() if _library.cache_info().currsize else None


class _Code:
    """Object code of some parts, loaded into this process, for good."""

    def __init__(self, names: Sequence[str], what: str) -> None:
        """`what` says what is done where they must be compiled."""
        self.made, self.kept, folder = False, True, _folder()
        code = {name: None if folder is None else _read(folder, name) for name in names}
        if None in code.values():
            self.kept = folder is not None and _has_room(folder)
            if folder is not None and self.kept:
                lock = folder.with_name(f"{folder.name}.lock")
                with alone(lock, "waiting: another process compiles the kernels"):
                    self._compile([name for name in names if _read(folder, name) is None], folder, what)
                code = {name: _read(folder, name) for name in names}
            else:
                with tempfile.TemporaryDirectory(prefix="lmworks-kernels-") as temporary:
                    self._compile(names, Path(temporary), what)
                    code = {name: _read(Path(temporary), name) for name in names}
        self._engine = _linked([*code.values()])
        _engines.append(self._engine)

    def _compile(self, names: Sequence[str], folder: Path, what: str) -> None:
        """What another process has not made meanwhile."""
        if names:
            from lmworks.kernels.run.compiling import compile_parts

            self.made = True
            with progress.task(f"{what} (once)", len(names)) as advance:
                compile_parts(names, folder, advance)
            if self.kept:
                remove_old(folder.parent)

    def address(self, name: str) -> int:
        """Of a function."""
        found = int(self._engine.get_function_address(name))
        assert found, f"{name} is not in the object code"
        return found


_engines: list[Any] = []
"""They hold what was loaded."""


def _linked(code: Sequence[bytes | None]) -> Any:
    """An engine of LLVM with this object code."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    for one in code:
        if one is None:
            raise KernelError("compiled kernels are damaged as soon as they are written; is the disk in order?")
        engine.add_object_file(binding.ObjectFileRef.from_data(one))
    engine.finalize_object()
    return engine


def _called(one: Function, address: int) -> Any:
    """A function for Python, which does not hold its lock meanwhile."""
    kinds: dict[str | None, Any] = {WHOLE: ctypes.c_int64, REAL: ctypes.c_double, None: None}
    return ctypes.CFUNCTYPE(kinds[one.gives], *(kinds[kind] for kind in one.takes))(address)


def _read(folder: Path, part: str) -> bytes | None:
    """The object code of a part; None where it is not there as it was written: it would crash the process."""
    try:
        kept = (folder / f"{part}.o").read_bytes()
    except OSError:
        return None
    digest, code = kept[:32], kept[32:]
    return code if hashlib.sha256(code).digest() == digest else None


ROOM = 1 << 22
"""More bytes than the object code of all parts."""


def _has_room(folder: Path) -> bool:
    """Can something be written there?"""
    try:
        with tempfile.TemporaryFile(dir=folder) as tried:
            tried.write(bytes(ROOM))
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=1)
def _folder() -> Path | None:
    """The cache folder of these sources, this processor and these versions; None where it cannot be made."""
    versions = [*map(importlib.metadata.version, ("numba", "llvmlite")), sys.version]
    digest = hashlib.sha256("\n".join([*versions, *sorted(features()), os.environ.get(FORCED, "")]).encode())
    for file in sorted(file for pattern in COMPILED for file in ROOT.glob(pattern)):
        digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    try:
        folder = cache_folder("kernels", f"{chosen().name}-{digest.hexdigest()[:16]}")
    except LmworksError:
        return None
    hold(folder)
    return folder

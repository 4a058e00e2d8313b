"""Compile kernels to object code with numba, in processes of their own.

    compile_parts(["Norm", "interpreter"], folder, advance)    # leaves the files Norm.o and interpreter.o

Each of two processes reads names of parts, a line each, and answers each with a line: empty, or what went wrong. It
imports from where this process does, and no setting of numba's reaches it: what it leaves is kept for every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from llvmlite import binding, ir

from lmworks.basics.errors import KernelError
from lmworks.basics.files import written_whole
from lmworks.kernels.emit.compiler import COMPILES
from lmworks.kernels.run.functions import Function, functions

AT_ONCE = 2
"""Processes, with 0.4 GB each."""
PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from lmworks.kernels.run.compiling import main; main()"
WITHOUT = "LMWORKS_INSTRUCTIONS=none does not try to"


def compile_parts(parts: Sequence[str], folder: Path, advance: Callable[[int], None]) -> None:
    """Leave the object code of each part in a folder. KernelError where one cannot be compiled."""
    left, answers = iter(parts), queue.SimpleQueue[str]()
    with contextlib.ExitStack() as stack:
        for _ in range(min(AT_ONCE, os.cpu_count() or 1, len(parts))):
            stack.enter_context(_compiler(folder, left, answers))
        for _ in parts:
            if wrong := answers.get():
                raise KernelError(f"a kernel cannot be compiled ({wrong}); {WITHOUT}")
            advance(1)


@contextlib.contextmanager
def _compiler(folder: Path, left: Iterator[str], answers: queue.SimpleQueue[str]) -> Iterator[None]:
    """A process that compiles what is left; it ends with the block, and when this process ends."""
    if not sys.executable or getattr(sys, "frozen", False):  # embedded: another process would be the whole program
        raise KernelError(f"kernels are compiled by another Python, and this program has none; {WITHOUT}")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(folder), *map(str, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # SVML's functions are there only beside numba.
            env=settings | {COMPILES: "1", "NUMBA_DISABLE_INTEL_SVML": "1"},
        )
    except OSError as error:
        raise KernelError(f"{sys.executable}, which compiles kernels, does not start ({error}); {WITHOUT}") from error
    thread = threading.Thread(target=_feed, args=(process, left, answers), daemon=True)
    thread.start()
    try:
        yield
    finally:
        process.kill()
        thread.join()
        process.communicate()


def _feed(process: subprocess.Popen[str], left: Iterator[str], answers: queue.SimpleQueue[str]) -> None:
    """Name one part after another to a process, and hand on what it answers."""
    assert process.stdin is not None and process.stdout is not None
    for part in left:
        try:
            print(part, file=process.stdin, flush=True)
            answer = process.stdout.readline()
        except (OSError, ValueError):
            answer = ""
        answers.put(answer.strip() if answer else f"the process that compiled {part} ended")


def main() -> None:
    """Compile parts as they are named."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who called is interrupted, and ends this process
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        part = line.strip()
        try:
            code = _object_code(part)
            with written_whole(Path(sys.argv[1]) / f"{part}.o") as temporary:
                temporary.write_bytes(hashlib.sha256(code).digest() + code)
            answer = ""
        except Exception as error:
            answer = f"{part}: {type(error).__name__}: {error}".replace("\n", " ")
        print(answer, file=answers, flush=True)


def _object_code(part: str) -> bytes:
    """Of a part; its functions are found in it by their names."""
    whole: Any = None
    for one in functions(part):
        module = _module(one)
        if whole is None:
            whole = module
        else:
            whole.link_in(module)
    from numba.core.registry import cpu_target

    return bytes(cpu_target.target_context.codegen()._tm.emit_object(whole))  # the machine that numba wrote it for


def _module(one: Function) -> Any:
    """A function with what it calls, and a way in with C's calling convention: nothing else of it is seen outside."""
    from numba.core import compiler, types
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    context, flags = cpu_target.target_context, compiler.Flags()
    cpu_target.options.parse_as_flags(flags, one.written.targetoptions)
    for name in ("no_compile", "no_cpython_wrapper", "no_cfunc_wrapper"):
        setattr(flags, name, True)
    taken = tuple(getattr(types, name) for name in one.takes)
    made = compiler.compile_extra(cpu_target.typing_context, context, one.written.py_func, taken, None, flags, {})
    with global_compiler_lock:
        made.library.finalize()  # linked with what it calls, and optimised
    about = made.fndesc
    assert about.restype == getattr(types, one.gives or "none"), f"{one.name} gives {about.restype}"
    module = binding.parse_assembly(made.library.get_llvm_str())
    module.link_in(binding.parse_assembly(_way_in(one, taken, about, context)))
    for part in [*module.functions, *module.global_variables]:
        if not part.is_declaration and part.name != one.name:
            part.linkage = "internal"
    _drop_unused(module)
    if foreign := [called.name for called in module.functions if called.name.startswith(("_Z", "numba", "NRT", "Py"))]:
        defined = {called.name for called in module.functions if not called.is_declaration}
        if left := sorted(set(foreign) - defined):
            raise ValueError(f"{one.name} calls {', '.join(left)}, which is there only beside numba")
    return module


def _way_in(one: Function, taken: Sequence[Any], about: Any, context: Any) -> str:
    outer, given = ir.Module(), [context.get_value_type(kind) for kind in taken]
    kind = context.call_conv.get_function_type(about.restype, about.argtypes)
    inner = ir.Function(outer, kind, about.llvm_func_name)
    result = ir.VoidType() if one.gives is None else context.get_value_type(about.restype)
    function = ir.Function(outer, ir.FunctionType(result, given), one.name)
    builder = ir.IRBuilder(function.append_basic_block())
    _, value = context.call_conv.call_function(builder, inner, about.restype, about.argtypes, function.args)
    if one.gives is None:
        builder.ret_void()
    else:
        builder.ret(value)
    return str(outer)


def _drop_unused(module: Any) -> None:
    passes = binding.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    machine = binding.Target.from_default_triple().create_target_machine()
    passes.run(module, binding.create_pass_builder(machine, binding.create_pipeline_tuning_options()))

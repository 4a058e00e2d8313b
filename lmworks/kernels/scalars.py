"""Single numbers at an address, atomic ones too, for compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types

from lmworks.kernels.vectors import BYTE, DOUBLE, HALF, LONG, SINGLE, WORD, Float, Int, Real, Value, Writer, emitted

OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy"}
"""How every compiled function is compiled: it never holds up the interpreter, and it is kept on the disk."""
compiled = njit(**OPTIONS)
inlined = njit(inline="always", **OPTIONS)
"""Part of its callers: each function that is compiled by itself is compiled again wherever it is called."""


@emitted(Int, Int)
def long_at(w: Writer, address: Value) -> Value:
    """A 64-bit integer."""
    return w.load(LONG, address, align=8)


@emitted(Int, Int, Int)
def field(w: Writer, address: Value, number: Value) -> Value:
    """Integer `number` of a table."""
    return w.load(LONG, address, w.times(number, 8), align=8)


@emitted(types.CPointer(types.int64), Int)
def longs_at(w: Writer, address: Value) -> Value:
    """64-bit integers, for numba's carray."""
    return w.b.inttoptr(address, LONG.as_pointer())


@emitted(types.CPointer(types.float64), Int)
def doubles_at(w: Writer, address: Value) -> Value:
    """float64 numbers, for numba's carray."""
    return w.b.inttoptr(address, DOUBLE.as_pointer())


@emitted(Int, Int)
def word_at(w: Writer, address: Value) -> Value:
    """A 32-bit integer."""
    return w.b.sext(w.load(WORD, address, align=4), LONG)


@emitted(types.uint8, Int)
def byte_at(w: Writer, address: Value) -> Value:
    """An unsigned byte."""
    return w.load(BYTE, address)


@emitted(Float, Int)
def half_at(w: Writer, address: Value) -> Value:
    """A float16 number, as float32."""
    return w.b.fpext(w.load(HALF, address, align=2), SINGLE)


@emitted(Float, Int)
def single_at(w: Writer, address: Value) -> Value:
    """A float32 number."""
    return w.load(SINGLE, address, align=4)


@emitted(Real, Int)
def double_at(w: Writer, address: Value) -> Value:
    """A float64 number."""
    return w.load(DOUBLE, address, align=8)


@emitted(None, Int, Real)
def put_double(w: Writer, address: Value, value: Value) -> None:
    """Store a float64 number."""
    w.store(value, address, align=8)


@emitted(None, Int, Float)
def put_single(w: Writer, address: Value, value: Value) -> None:
    """Store a float32 number."""
    w.store(value, address, align=4)


@emitted(Float, Int)
def as_float(w: Writer, bits: Value) -> Value:
    """A float32 number that a tape holds as the integer of its bits."""
    return w.b.bitcast(w.b.trunc(bits, ir.IntType(32)), SINGLE)


@emitted(Int, Float)
def bits_of(w: Writer, value: Value) -> Value:
    """The bits of a float32 number."""
    return w.b.zext(w.b.bitcast(value, WORD), LONG)


@emitted(Int, Int, Int)
def atomic_add(w: Writer, address: Value, value: Value) -> Value:
    """Add for all threads to see; returns what was there before."""
    return w.b.atomic_rmw("add", w.b.inttoptr(address, LONG.as_pointer()), value, "seq_cst")


@emitted(None, Int, Int)
def atomic_raise(w: Writer, address: Value, value: Value) -> None:
    """Store a value for other threads, with everything that was stored before it, unless a larger one stands there."""
    w.b.atomic_rmw("max", w.b.inttoptr(address, LONG.as_pointer()), value, "seq_cst")


@emitted(Int, Int, Int, Int)
def atomic_swap(w: Writer, address: Value, expected: Value, value: Value) -> Value:
    """Store a value where the expected one stands; returns 1 if it did, 0 if another one stands there."""
    place = w.b.inttoptr(address, LONG.as_pointer())
    return w.b.zext(w.b.extract_value(w.b.cmpxchg(place, expected, value, "seq_cst", "seq_cst"), 1), LONG)


@emitted(Int, Int)
def atomic_load(w: Writer, address: Value) -> Value:
    """What another thread may have stored; everything that it stored before is seen from here on."""
    return w.b.load_atomic(w.b.inttoptr(address, LONG.as_pointer()), "acquire", 8)


@emitted(None, Int, Int)
def atomic_store(w: Writer, address: Value, value: Value) -> None:
    """Store for other threads, with everything that was stored before it."""
    w.b.store_atomic(value, w.b.inttoptr(address, LONG.as_pointer()), "release", 8)


@emitted(None)
def pause(w: Writer) -> None:
    """Tell the processor that this is a loop that waits."""
    if "x86" in w.b.module.triple or "amd64" in w.b.module.triple:
        w.call("llvm.x86.sse2.pause", ir.VoidType())


@emitted(None)
def give_way(w: Writer) -> None:
    """Let another thread have this core (POSIX)."""
    if "windows" not in w.b.module.triple:
        kind = ir.FunctionType(ir.IntType(32), [])
        w.b.call(cgutils.get_or_insert_function(w.b.module, kind, "sched_yield"), [])


@emitted(None, Int, Int, Int)
def keep_on(w: Writer, thread: Value, mask: Value, size: Value) -> None:
    """Keep a thread, by the system's number, on the cores of a mask of `size` bytes (Linux)."""
    if "linux" in w.b.module.triple:
        number = ir.IntType(32)
        kind = ir.FunctionType(number, [number, LONG, LONG])
        of_system = cgutils.get_or_insert_function(w.b.module, kind, "sched_setaffinity")
        w.b.call(of_system, [w.b.trunc(thread, number), size, mask])


@emitted(None, Int, Int)
def put_long(w: Writer, address: Value, value: Value) -> None:
    """Store a 64-bit integer."""
    w.store(value, address, align=8)

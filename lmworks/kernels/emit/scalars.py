"""Numbers at an address, atomic ones too, and how functions are compiled."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir

from lmworks.kernels.emit.compiler import compiling
from lmworks.kernels.emit.vectors import (
    BYTE,
    DOUBLE,
    FLOATS,
    HALF,
    LONG,
    SINGLE,
    WORD,
    Byte,
    Doubles,
    Emitter,
    Float,
    Int,
    Longs,
    Real,
    Value,
    emitted,
)

if compiling:
    from numba import njit

OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
"""Compiled code never holds Python's lock."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function by itself."""
    return njit(**OPTIONS)(function) if compiling else function


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function a part of its callers: one that is compiled by itself is compiled again wherever it is called."""
    return njit(inline="always", **OPTIONS)(function) if compiling else function


def compiled_as(template: Any, name: str, **globals_: Any) -> Any:
    """A function with names of its own for some of what it calls, so that one text is compiled for each
    quantisation."""
    made = FunctionType(template.__code__, {**template.__globals__, **globals_}, name)
    made.__qualname__ = name
    return compiled(made)


@emitted(Int, Int)
def long_at(e: Emitter, address: Value) -> Value:
    """A 64-bit integer."""
    return e.load(LONG, address, align=8)


@emitted(Int, Int, Int)
def field(e: Emitter, address: Value, number: Value) -> Value:
    """Integer `number` of a table."""
    return e.load(LONG, address, e.times(number, 8), align=8)


@emitted(None, Int, Int, Int)
def put_field(e: Emitter, address: Value, number: Value, value: Value) -> None:
    """Store integer `number` of a table."""
    e.store(value, address, e.times(number, 8), align=8)


@emitted(Float, Int, Int)
def float_field(e: Emitter, address: Value, number: Value) -> Value:
    """Integer `number` of a table, which is a float32 number by its bits."""
    return e.b.bitcast(e.b.trunc(e.load(LONG, address, e.times(number, 8), align=8), ir.IntType(32)), SINGLE)


@emitted(Longs, Int)
def longs_at(e: Emitter, address: Value) -> Value:
    """64-bit integers, for numba's carray."""
    return e.b.inttoptr(address, LONG.as_pointer())


@emitted(Doubles, Int)
def doubles_at(e: Emitter, address: Value) -> Value:
    """float64 numbers, for numba's carray."""
    return e.b.inttoptr(address, DOUBLE.as_pointer())


@emitted(Int, Int)
def word_at(e: Emitter, address: Value) -> Value:
    """A 32-bit integer."""
    return e.b.sext(e.load(WORD, address, align=4), LONG)


@emitted(Byte, Int)
def byte_at(e: Emitter, address: Value) -> Value:
    """An unsigned byte."""
    return e.load(BYTE, address)


@emitted(Float, Int)
def half_at(e: Emitter, address: Value) -> Value:
    """A float16 number, as float32."""
    return e.b.fpext(e.load(HALF, address, align=2), SINGLE)


@emitted(Float, Int)
def single_at(e: Emitter, address: Value) -> Value:
    """A float32 number."""
    return e.load(SINGLE, address, align=4)


@emitted(Real, Int)
def double_at(e: Emitter, address: Value) -> Value:
    """A float64 number."""
    return e.load(DOUBLE, address, align=8)


@emitted(None, Int, Real)
def put_double(e: Emitter, address: Value, value: Value) -> None:
    """Store a float64 number."""
    e.store(value, address, align=8)


@emitted(None, Int, Float)
def put_single(e: Emitter, address: Value, value: Value) -> None:
    """Store a float32 number."""
    e.store(value, address, align=4)


@emitted(None, Int, Int, Int)
def copy(e: Emitter, x: Value, width: Value, to: Value) -> None:
    """`width` float32 numbers, a multiple of 16."""
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as lane:
        e.store(e.load(FLOATS, x, e.times(lane, 64)), to, e.times(lane, 64))


@emitted(Float, Int)
def as_float(e: Emitter, bits: Value) -> Value:
    """A float32 number that a tape holds as the integer of its bits."""
    return e.b.bitcast(e.b.trunc(bits, ir.IntType(32)), SINGLE)


@emitted(Int, Float)
def bits_of(e: Emitter, value: Value) -> Value:
    """The bits of a float32 number."""
    return e.b.zext(e.b.bitcast(value, WORD), LONG)


@emitted(Int, Int, Int)
def atomic_add(e: Emitter, address: Value, value: Value) -> Value:
    """Add for all threads to see; returns what was there before."""
    return e.b.atomic_rmw("add", e.b.inttoptr(address, LONG.as_pointer()), value, "seq_cst")


@emitted(None, Int, Int)
def atomic_raise(e: Emitter, address: Value, value: Value) -> None:
    """Store a value for other threads, with everything that was stored before it, unless a larger one stands there."""
    e.b.atomic_rmw("max", e.b.inttoptr(address, LONG.as_pointer()), value, "seq_cst")


@emitted(Int, Int, Int, Int)
def atomic_swap(e: Emitter, address: Value, expected: Value, value: Value) -> Value:
    """Store a value if the expected one is there; returns whether it was, 1 or 0."""
    place = e.b.inttoptr(address, LONG.as_pointer())
    return e.b.zext(e.b.extract_value(e.b.cmpxchg(place, expected, value, "seq_cst", "seq_cst"), 1), LONG)


@emitted(Int, Int)
def atomic_load(e: Emitter, address: Value) -> Value:
    """What another thread may have stored; everything that it stored before is seen from here on."""
    return e.b.load_atomic(e.b.inttoptr(address, LONG.as_pointer()), "acquire", 8)


@emitted(None, Int, Int)
def atomic_store(e: Emitter, address: Value, value: Value) -> None:
    """Store for other threads, with everything that was stored before it."""
    e.b.store_atomic(value, e.b.inttoptr(address, LONG.as_pointer()), "release", 8)


@emitted(None)
def pause(e: Emitter) -> None:
    """Tell the processor that this is a loop that waits."""
    if "x86" in e.b.module.triple or "amd64" in e.b.module.triple:
        e.call("llvm.x86.sse2.pause", ir.VoidType())


@emitted(None)
def give_way(e: Emitter) -> None:
    """Let another thread have this core (POSIX)."""
    if "windows" not in e.b.module.triple:
        e.call("sched_yield", WORD)


@emitted(None, Int, Int, Int)
def keep_on(e: Emitter, thread: Value, mask: Value, size: Value) -> None:
    """Keep a thread, by the system's number, on the cores of a mask of `size` bytes (Linux)."""
    if "linux" in e.b.module.triple:
        e.call("sched_setaffinity", WORD, e.b.trunc(thread, WORD), size, mask)


@emitted(None, Int, Int)
def put_long(e: Emitter, address: Value, value: Value) -> None:
    """Store a 64-bit integer."""
    e.store(value, address, align=8)

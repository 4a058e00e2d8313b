"""BLEND: the sum of what each token's experts made, each times its weight; and of what the shared expert made, times
its gate."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field
from lmworks.kernels.emit.vectors import FLOATS, LONG, Emitter, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation


class Blend(Operands):
    """Operands of BLEND."""

    MADE = auto()
    """Address of float32 [rows, width]."""
    MADE_STRIDE = auto()
    PLACES = auto()
    """Address of int64 [tokens, top_k]: the rows of each token."""
    WEIGHTS = auto()
    """Address of float32 [tokens, top_k]."""
    TOP_K = auto()
    WIDTH = auto()
    """A multiple of 16."""
    OUTPUT = auto()
    """Address of float32 [tokens, width]."""
    ADDS = auto()
    """1: the result is added to what stands there."""
    SHARED = auto()
    """Address of float32 [tokens, width]: what the shared expert made, where it has a gate; or 0."""
    GATES = auto()
    """Address of float32 [tokens]: logits of its gate."""


@emitted(None, *[Int] * 8)
def blend(
    e: Emitter,
    made: Value,
    stride: Value,
    places: Value,
    weights: Value,
    top_k: Value,
    begin: Value,
    end: Value,
    to: Value,
) -> None:
    """Vectors of 16 numbers, from `begin` to `end`, of one token: added to those at `to`."""
    with e.loop(begin, end) as lane:
        at = e.times(lane, 64)
        total = e.variable(e.load(FLOATS, to, at))
        with e.loop(0, top_k) as number:
            row = e.load(LONG, places, e.times(number, 8), align=8)
            weight = e.load_splat(weights, e.times(number, 4))
            part = e.load(FLOATS, e.plus(made, e.times(row, stride)), at)
            e.b.store(e.fma(weight, part, e.b.load(total)), total)
        e.store(e.b.load(total), to, at)


@emitted(None, Int, Int, Int)
def clear(e: Emitter, begin: Value, end: Value, to: Value) -> None:
    """Zeros in the vectors of 16 numbers from `begin` to `end`."""
    with e.loop(begin, end) as lane:
        e.store(e.constant(0.0, FLOATS), to, e.times(lane, 64))


@emitted(None, *[Int] * 5)
def add_gated(e: Emitter, shared: Value, gate: Value, begin: Value, end: Value, to: Value) -> None:
    """The same vectors of what the shared expert made, times the sigmoid of the number at `gate`: added."""
    logit = e.load_splat(gate, 0)
    share = e.b.fdiv(e.constant(1.0, FLOATS), e.b.fadd(e.constant(1.0, FLOATS), e.exp(e.b.fneg(logit))))
    with e.loop(begin, end) as lane:
        at = e.times(lane, 64)
        e.store(e.fma(share, e.load(FLOATS, shared, at), e.load(FLOATS, to, at)), to, at)


@compiled
def run(thread, threads, frame, step):
    """The vectors of 16 numbers, of whatever token, that are this thread's share."""
    top_k, lanes, adds = field(step, Blend.TOP_K), field(step, Blend.WIDTH) // 16, field(step, Blend.ADDS)
    every = field(frame, Field.TOKENS) * lanes
    number, last = every * thread // threads, every * (thread + 1) // threads
    while number < last:
        token, begin = number // lanes, number % lanes
        end = min(lanes, begin + last - number)
        number += end - begin
        to = field(step, Blend.OUTPUT) + token * lanes * 64
        if adds == 0:
            clear(begin, end, to)
        places, weights = field(step, Blend.PLACES) + 8 * token * top_k, field(step, Blend.WEIGHTS) + 4 * token * top_k
        if field(step, Blend.SHARED) != 0:
            shared, gate = field(step, Blend.SHARED) + token * lanes * 64, field(step, Blend.GATES) + 4 * token
            add_gated(shared, gate, begin, end, to)
        made, stride = field(step, Blend.MADE), field(step, Blend.MADE_STRIDE)
        blend(made, stride, places, weights, top_k, begin, end, to)


BLEND = Operation(Blend, run)

"""CAP: numbers are softly kept below a bound, cap * tanh(x / cap) (Gemma 2, https://arxiv.org/abs/2408.00118)."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, float_field
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation


class Cap(Operands):
    """Operands of CAP."""

    NUMBERS = auto()
    """Address of float32 [tokens, width], changed in place."""
    STRIDE = auto()
    """Bytes from a token's numbers to the next one's."""
    WIDTH = auto()
    """A multiple of 16."""
    CAP = auto()


@emitted(None, Int, Int, Float)
def keep_below(e: Emitter, x: Value, parts: Value, cap: Value) -> None:
    """Bound 16 `parts` numbers at x: tanh(z) is 1 - 2 / (e^2z + 1)."""
    most, two, one = e.splat(cap), e.constant(2.0, FLOATS), e.constant(1.0, FLOATS)
    with e.loop(0, parts) as part:
        z = e.b.fdiv(e.load(FLOATS, x, e.times(part, 64)), most)
        tanh = e.b.fsub(one, e.b.fdiv(two, e.b.fadd(e.exp(e.b.fmul(two, z)), one)))
        e.store(e.b.fmul(most, tanh), x, e.times(part, 64))


@compiled
def run(thread, threads, frame, step):
    """This thread's share of every token's numbers: few tokens have a whole vocabulary each."""
    numbers, stride, cap = field(step, Cap.NUMBERS), field(step, Cap.STRIDE), float_field(step, Cap.CAP)
    parts = field(step, Cap.WIDTH) // 16
    first, last = parts * thread // threads, parts * (thread + 1) // threads
    for token in range(field(frame, Field.TOKENS)):
        keep_below(numbers + token * stride + first * 64, last - first, cap)


CAP = Operation(Cap, run)

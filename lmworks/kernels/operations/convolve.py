"""CONVOLVE: the short convolution of what tokens handed on (operations/hand.py), times the gate after it, in 8 bits.

Sums begin with the bias and go from the farthest token that there is to the token itself, so that a text gives the same
to the bit however it is cut.
"""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, long_at
from lmworks.kernels.emit.vectors import FLOATS, LONG, Emitter, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.operations.quantise import Place, put_group


class Convolve(Operands):
    """Operands of CONVOLVE; the first four are those of the layer's HAND."""

    SOURCE = auto()
    """Address of float32 [tokens, 3, width]: the gate before, the gate after, the value."""
    STRIDE = auto()
    WIDTH = auto()
    PLACE = auto()
    SEEN = auto()
    """Tokens that each token sees, itself included."""
    KERNEL = auto()
    """Address of float32 [seen, width]: the weights of each of them, the token's own last."""
    BIAS = auto()
    """Address of float32 [width], or 0."""
    OUTLIERS = auto()
    """Address of the table of outliers of the matrix that reads the result (outliers.py)."""


@emitted(None, *[Int] * 13)
def convolve(
    e: Emitter,
    after: Value,
    pages: Value,
    place: Value,
    position: Value,
    seen: Value,
    kernel: Value,
    bias: Value,
    width: Value,
    group: Value,
    values: Value,
    scales: Value,
    sums: Value,
    outliers: Value,
) -> None:
    """Group `group` of 32 numbers of the token at `position`, whose gate is at `after`, and whose row's pages have
    their addresses at `pages`."""
    at, zero = e.times(group, 128), e.constant(0)
    totals = [e.variable(e.constant(0.0, FLOATS)) for _ in range(2)]
    for total in totals:
        e.b.store(e.constant(0.0, FLOATS), total)
    with e.b.if_then(e.b.icmp_signed("!=", bias, zero)):
        for half, total in enumerate(totals):
            e.b.store(e.load(FLOATS, bias, e.plus(at, 64 * half)), total)
    before = e.b.sub(e.plus(position, 1), seen)  # positions that are too far away, negative where there are none
    with e.loop(e.b.select(e.b.icmp_signed("<", before, zero), zero, before), e.plus(position, 1)) as other:
        page = e.load(LONG, pages, e.times(e.b.lshr(other, e.constant(6)), 8), align=8)
        inside = e.b.and_(other, e.constant(63))
        handed = e.plus(e.plus(page, place), e.plus(e.times(inside, e.times(width, 2)), e.times(group, 64)))
        weights = e.plus(kernel, e.plus(e.times(e.b.sub(other, before), e.times(width, 4)), at))
        for half, total in enumerate(totals):
            weight = e.load(FLOATS, weights, 64 * half)
            e.b.store(e.fma(e.load_brains(handed, 32 * half), weight, e.b.load(total)), total)
    gates = (e.load(FLOATS, after, e.plus(at, 64 * half)) for half in range(2))
    first, second = (e.b.fmul(gate, e.b.load(total)) for gate, total in zip(gates, totals, strict=True))
    put_group(e, first, second, Place(values, scales, sums, outliers), group)


@compiled
def run(thread, threads, frame, step):
    """The groups of 32 numbers, of whatever token, that are this thread's share."""
    x, stride, width = field(step, Convolve.SOURCE), field(step, Convolve.STRIDE), field(step, Convolve.WIDTH)
    place = field(step, Convolve.PLACE) * field(frame, Field.LAYERS_APART)
    seen, kernel, bias = field(step, Convolve.SEEN), field(step, Convolve.KERNEL), field(step, Convolve.BIAS)
    outliers = field(step, Convolve.OUTLIERS)
    positions, pages = field(frame, Field.POSITIONS), field(frame, Field.PAGES)
    values, scales, sums = field(frame, Field.VALUES), field(frame, Field.SCALES), field(frame, Field.SUMS)
    groups = width // 32
    every = field(frame, Field.TOKENS) * groups
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, group = number // groups, number % groups
        at = token * field(frame, Field.SCALES_STRIDE)
        convolve(
            x + token * stride + 4 * width,
            long_at(pages + 8 * token),
            place,
            long_at(positions + 8 * token),
            seen,
            kernel,
            bias,
            width,
            group,
            values + token * field(frame, Field.VALUES_STRIDE),
            scales + at,
            sums + 2 * at,
            outliers,
        )


CONVOLVE = Operation(Convolve, run)

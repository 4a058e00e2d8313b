"""QUANTISE: float32 numbers become the next matrix's values, in 8 bits. `put_group` does it for other operations too.

values   int8 [token, width]             x = value * scale, |value| <= 127; 0 for outliers
scales   float32 [token, width / 32]     after them the token's outliers themselves (outliers.py)
sums     float32 [token, width / 32, 2]  scale * sum of the group's values: what a weight's minimum is multiplied with;
                                        then that of its first 16

Where a matrix of the network has weights that are floats, the numbers themselves follow a token's values; where there
are tiles, which multiply bfloat16, in that format. Where all matrices have such weights, and no adapter reads what is
in 8 bits, the numbers alone are written:

values   int8 [width], float32 or bfloat16 [width]
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, float_field
from lmworks.kernels.emit.tiles import has_tiles
from lmworks.kernels.emit.vectors import (
    BYTE,
    FLOATS,
    LONG,
    SINGLE,
    WORD,
    WORDS,
    Emitter,
    Float,
    Int,
    Value,
    emitted,
    ir,
)
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation, Step
from lmworks.kernels.outliers import GROUPS_AT
from lmworks.kernels.packed import Packed


class Quantise(Operands):
    """Operands of QUANTISE."""

    SOURCE = auto()
    """Address of float32 [tokens, width]."""
    SOURCE_STRIDE = auto()
    """Bytes from a token's numbers to the next one's."""
    WIDTH = auto()
    FACTOR = auto()
    """What each number is multiplied with."""
    OUTLIERS = auto()
    """Address of the table of outliers of the matrix that reads the values (outliers.py)."""


def quantise_step(matrix: Packed, source: int, stride: int, factor: float = 1.0) -> Step:
    """Leave float32 numbers times a factor where the matrix reads its values."""
    return Quantise.step(
        source=source,
        source_stride=stride,
        width=32 * matrix.groups,
        factor=factor,
        outliers=matrix.for_values.ctypes.data,
    )


SMALLEST = 1e-20
"""The largest number of a group of zeros, so that nothing is divided by 0."""


@dataclass(frozen=True)
class Place:
    """Where a token's groups go: addresses of its values, scales and sums, and of the table of outliers, None for
    none."""

    values: Value
    scales: Value
    sums: Value
    outliers: Value | None = None
    floats: Value | None = None
    """Where the numbers go as they are, in bytes from the values: 0 for nowhere, less than 0 where they go nowhere
    else; None for where the table says."""


def put_group(e: Emitter, first: Value, second: Value, to: Place, group: Value) -> None:
    """Quantise 32 numbers, two vectors of 16, into group number `group` of a token."""
    floats, none = to.floats if to.outliers is None else e.load(LONG, to.outliers), e.constant(0)
    if floats is None:
        _put_codes(e, first, second, to, group)
        return
    with e.b.if_then(e.b.icmp_signed("!=", floats, none)):
        width = e.b.select(e.b.icmp_signed("<", floats, none), e.b.neg(floats), floats)
        _put_floats(e, first, second, e.plus(to.values, width), group)
    with e.b.if_then(e.b.icmp_signed(">=", floats, none)):
        _put_codes(e, first, second, to, group)


def _put_codes(e: Emitter, first: Value, second: Value, to: Place, group: Value) -> None:
    """The group in 8 bits."""
    if to.outliers is not None:
        first, second = _without_outliers(e, first, second, to.scales, to.outliers, group)
    # Compared by their bits, where NaN is the largest.
    bits, others = (e.b.bitcast(e.absolute(one), WORDS) for one in (first, second))
    larger = e.b.select(e.b.icmp_signed(">", bits, others), bits, others)
    largest = e.b.bitcast(e.call("llvm.vector.reduce.smax.v16i32", WORD, larger), SINGLE)
    least = e.constant(SMALLEST, SINGLE)
    largest = e.b.select(e.b.fcmp_ordered("<", largest, least), least, largest)  # NaN stays, and shows
    scale = e.b.fdiv(largest, e.constant(127.0, SINGLE))
    inverse = e.splat(e.b.fdiv(e.constant(127.0, SINGLE), largest))
    total, first_total = None, None
    for half, vector in enumerate((first, second)):
        whole = e.b.fptosi(e.rounded(e.b.fmul(vector, inverse)), WORDS)
        e.store(e.b.trunc(whole, ir.VectorType(BYTE, 16)), to.values, e.plus(e.times(group, 32), 16 * half))
        first_total = whole if total is None else first_total
        total = whole if total is None else e.b.add(total, whole)
    e.store(scale, to.scales, e.times(group, 4), align=4)
    for number, words in enumerate((total, first_total)):
        sum_ = e.b.fmul(scale, e.b.sitofp(e.sum_words(words), SINGLE))
        e.store(sum_, to.sums, e.plus(e.times(group, 8), 4 * number), align=4)


def _put_floats(e: Emitter, first: Value, second: Value, to: Value, group: Value) -> None:
    """The group as it is, or rounded for tiles."""
    for half, vector in enumerate((first, second)):
        if has_tiles():
            e.store_brains(vector, to, e.plus(e.times(group, 64), 32 * half))
        else:
            e.store(vector, to, e.plus(e.times(group, 128), 64 * half))


def _without_outliers(
    e: Emitter, first: Value, second: Value, scales: Value, table: Value, group: Value
) -> tuple[Value, Value]:
    """The group's outliers put where they are kept, and the group with zeros in their places."""
    entry = e.plus(table, e.plus(e.times(group, 16), GROUPS_AT))
    begin, count = e.plus(table, e.load(LONG, entry)), e.load(LONG, entry, 8)
    pair = e.variable(first), e.variable(second)
    with e.b.if_then(e.b.icmp_signed("!=", count, e.constant(0))):
        numbers = e.memory(2)
        for vector, place in zip((first, second), (0, 64), strict=True):
            e.store(vector, numbers, place)
        with e.loop(0, count) as number:
            of = e.plus(begin, e.times(number, 16))
            at = e.plus(numbers, e.load(LONG, of))
            e.store(e.load(SINGLE, at, align=4), e.plus(scales, e.load(LONG, of, 8)), align=4)
            e.store(e.constant(0.0, SINGLE), at, align=4)
        for kept, place in zip(pair, (0, 64), strict=True):
            e.b.store(e.load(FLOATS, numbers, place), kept)
    return e.b.load(pair[0]), e.b.load(pair[1])


@emitted(None, Int, Int, Float, Int, Int, Int, Int)
def quantise(
    e: Emitter, x: Value, width: Value, factor: Value, values: Value, scales: Value, sums: Value, outliers: Value
) -> None:
    """x * factor, `width` numbers, a multiple of 32."""
    factor, to = e.splat(factor), Place(values, scales, sums, outliers)
    with e.loop(0, e.b.sdiv(width, e.constant(32))) as group:
        place = e.times(group, 128)
        first, second = (e.b.fmul(e.load(FLOATS, x, e.plus(place, at)), factor) for at in (0, 64))
        put_group(e, first, second, to, group)


@emitted(None, Int, Int, Int, Int, Int, Int, Int)
def put_groups(
    e: Emitter, x: Value, first: Value, count: Value, values: Value, scales: Value, sums: Value, floats: Value
) -> None:
    """Quantise `count` groups of 32 numbers at x into those from `first` on; `floats` as in `Place`."""
    with e.loop(0, count) as group:
        pair = [e.load(FLOATS, x, e.plus(e.times(group, 128), at)) for at in (0, 64)]
        put_group(e, pair[0], pair[1], Place(values, scales, sums, floats=floats), e.b.add(first, group))


@compiled
def run(thread, threads, frame, step):
    """Quantise the tokens that are this thread's share."""
    source, stride = field(step, Quantise.SOURCE), field(step, Quantise.SOURCE_STRIDE)
    width, factor, outliers = (
        field(step, Quantise.WIDTH),
        float_field(step, Quantise.FACTOR),
        field(step, Quantise.OUTLIERS),
    )
    values, scales, sums = field(frame, Field.VALUES), field(frame, Field.SCALES), field(frame, Field.SUMS)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        at = token * field(frame, Field.SCALES_STRIDE)
        to = values + token * field(frame, Field.VALUES_STRIDE)
        quantise(source + token * stride, width, factor, to, scales + at, sums + 2 * at, outliers)


QUANTISE = Operation(Quantise, run)

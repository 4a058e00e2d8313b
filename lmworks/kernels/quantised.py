"""Activations in 8 bits: groups of 32, each with a scale, ready to be multiplied with packed weights.

values   int8 [token, width]             x = value * scale, |value| <= 127; 0 for outliers
scales   float32 [token, width / 32]     behind them the token's outliers themselves (outliers.py)
sums     float32 [token, width / 32]     scale * sum of the group's values: what a weight's minimum is multiplied with
"""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.kernels.vectors import BYTE, FLOATS, LONG, SINGLE, WORDS, Float, Int, Value, Writer, emitted, ir

SMALLEST = 1e-20
"""The largest number of a group of zeros, so that nothing is divided by 0."""


@dataclass(frozen=True)
class Place:
    """Where a token's groups go: addresses of its values, scales and sums, and of the table of the outliers, None for none."""

    values: Value
    scales: Value
    sums: Value
    outliers: Value | None = None


def put_group(w: Writer, first: Value, second: Value, to: Place, group: Value) -> None:
    """Quantise 32 numbers, two vectors of 16, into group number `group` of a token."""
    if to.outliers is not None:
        first, second = _without_outliers(w, first, second, to.scales, to.outliers, group)
    largest = w.largest(w.larger(w.absolute(first), w.absolute(second)))
    least = w.constant(SMALLEST, SINGLE)
    largest = w.b.select(w.b.fcmp_ordered("<", largest, least), least, largest)  # NaN stays, and shows
    scale = w.b.fdiv(largest, w.constant(127.0, SINGLE))
    inverse = w.splat(w.b.fdiv(w.constant(127.0, SINGLE), largest))
    total = None
    for half, vector in enumerate((first, second)):
        whole = w.b.fptosi(w.rounded(w.b.fmul(vector, inverse)), WORDS)
        w.store(w.b.trunc(whole, ir.VectorType(BYTE, 16)), to.values, w.plus(w.times(group, 32), 16 * half))
        total = whole if total is None else w.b.add(total, whole)
    place = w.times(group, 4)
    w.store(scale, to.scales, place, align=4)
    w.store(w.b.fmul(scale, w.b.sitofp(w.sum_words(total), SINGLE)), to.sums, place, align=4)


def _without_outliers(
    w: Writer, first: Value, second: Value, scales: Value, table: Value, group: Value
) -> tuple[Value, Value]:
    """The group's outliers put where they are kept, and the group with zeros in their places."""
    entry = w.plus(table, w.times(group, 16))
    begin, count = w.plus(table, w.load(LONG, entry)), w.load(LONG, entry, 8)
    pair = w.variable(first), w.variable(second)
    with w.b.if_then(w.b.icmp_signed("!=", count, w.constant(0))):
        numbers = w.memory(2)
        for vector, place in zip((first, second), (0, 64), strict=True):
            w.store(vector, numbers, place)
        with w.loop(0, count) as number:
            of = w.plus(begin, w.times(number, 16))
            at = w.plus(numbers, w.load(LONG, of))
            w.store(w.load(SINGLE, at, align=4), w.plus(scales, w.load(LONG, of, 8)), align=4)
            w.store(w.constant(0.0, SINGLE), at, align=4)
        for kept, place in zip(pair, (0, 64), strict=True):
            w.b.store(w.load(FLOATS, numbers, place), kept)
    return w.b.load(pair[0]), w.b.load(pair[1])


@emitted(None, Int, Int, Float, Int, Int, Int, Int)
def quantise(
    w: Writer, x: Value, width: Value, factor: Value, values: Value, scales: Value, sums: Value, outliers: Value
) -> None:
    """x * factor, `width` numbers, a multiple of 32."""
    factor, to = w.splat(factor), Place(values, scales, sums, outliers)
    with w.loop(0, w.b.sdiv(width, w.constant(32))) as group:
        place = w.times(group, 128)
        first, second = (w.b.fmul(w.load(FLOATS, x, w.plus(place, at)), factor) for at in (0, 64))
        put_group(w, first, second, to, group)

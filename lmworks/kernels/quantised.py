"""Activations in 8 bits: groups of 32, each with a scale, ready to be multiplied with packed weights.

values   int8 [token, width]             x = value * scale, |value| <= 127
scales   float32 [token, width / 32]
sums     float32 [token, width / 32]     scale * sum of the group's values: what a weight's minimum is multiplied with
"""

from __future__ import annotations

from lmworks.kernels.vectors import BYTE, FLOATS, SINGLE, WORDS, Float, Int, Value, Writer, emitted, ir

SMALLEST = 1e-20
"""The largest number of a group of zeros, so that nothing is divided by 0."""


def put_group(w: Writer, first: Value, second: Value, values: Value, scales: Value, sums: Value, group: Value) -> None:
    """Quantise 32 numbers, two vectors of 16, into group number `group` of a token."""
    largest = w.largest(w.larger(w.absolute(first), w.absolute(second)))
    least = w.constant(SMALLEST, SINGLE)
    largest = w.b.select(w.b.fcmp_ordered("<", largest, least), least, largest)  # NaN stays, and shows
    scale = w.b.fdiv(largest, w.constant(127.0, SINGLE))
    inverse = w.splat(w.b.fdiv(w.constant(127.0, SINGLE), largest))
    total = None
    for half, vector in enumerate((first, second)):
        whole = w.b.fptosi(w.rounded(w.b.fmul(vector, inverse)), WORDS)
        w.store(w.b.trunc(whole, ir.VectorType(BYTE, 16)), values, w.plus(w.times(group, 32), 16 * half))
        total = whole if total is None else w.b.add(total, whole)
    place = w.times(group, 4)
    w.store(scale, scales, place, align=4)
    w.store(w.b.fmul(scale, w.b.sitofp(w.sum_words(total), SINGLE)), sums, place, align=4)


@emitted(None, Int, Int, Float, Int, Int, Int)
def quantise(w: Writer, x: Value, width: Value, factor: Value, values: Value, scales: Value, sums: Value) -> None:
    """x * factor, `width` numbers, a multiple of 32."""
    factor = w.splat(factor)
    with w.loop(0, w.b.sdiv(width, w.constant(32))) as group:
        place = w.times(group, 128)
        first, second = (w.b.fmul(w.load(FLOATS, x, w.plus(place, at)), factor) for at in (0, 64))
        put_group(w, first, second, values, scales, sums, group)

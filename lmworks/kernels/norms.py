"""RMS and layer norm of one token: (x - mean) / sqrt(variance + eps) * weight + bias; an RMS norm takes the mean as 0."""

from __future__ import annotations

from lmworks.kernels.quantised import Place, put_group
from lmworks.kernels.vectors import FLOATS, SINGLE, Float, Int, Value, Writer, emitted


@emitted(None, *[Int] * 4, Float, *[Int] * 6)
def norm(
    w: Writer,
    x: Value,
    weight: Value,
    bias: Value,
    width: Value,
    eps: Value,
    centred: Value,
    kept: Value,
    values: Value,
    scales: Value,
    sums: Value,
    outliers: Value,
) -> None:
    """Norm `width` numbers at x, a multiple of 32, with `bias` 0 for none and `centred` 1 for a layer norm.

    The result goes to `kept` (x itself, for a norm in place) unless that is 0, and in 8 bits to `values`, `scales` and
    `sums` unless `values` is 0, but for those that the table at `outliers` names.
    """
    mean = _mean(w, x, width, centred)
    root = w.call("llvm.sqrt.f32", SINGLE, w.b.fadd(_variance(w, x, width, mean), eps))
    factor, mean = w.splat(w.b.fdiv(w.constant(1.0, SINGLE), root)), w.splat(mean)
    has_bias, keeps, quantises = (w.b.icmp_signed("!=", one, w.constant(0)) for one in (bias, kept, values))
    offset = w.b.select(has_bias, bias, weight)  # without a bias any numbers are read and multiplied by 0
    offset_factor = w.splat(w.b.select(has_bias, w.constant(1.0, SINGLE), w.constant(0.0, SINGLE)))
    with w.loop(0, w.b.sdiv(width, w.constant(32))) as group:
        pair = []
        for at in (0, 64):
            place = w.plus(w.times(group, 128), at)
            scaled = w.b.fmul(w.b.fmul(w.b.fsub(w.load(FLOATS, x, place), mean), factor), w.load(FLOATS, weight, place))
            normed = w.fma(w.load(FLOATS, offset, place), offset_factor, scaled)
            pair.append((place, normed))
        with w.b.if_then(keeps):
            for place, normed in pair:
                w.store(normed, kept, place)
        with w.b.if_then(quantises):
            put_group(w, pair[0][1], pair[1][1], Place(values, scales, sums, outliers), group)


def _mean(w: Writer, x: Value, width: Value, centred: Value) -> Value:
    total = w.variable(w.constant(0.0, FLOATS))
    with w.b.if_then(w.b.icmp_signed("!=", centred, w.constant(0))), w.loop(0, w.b.sdiv(width, w.constant(16))) as part:
        w.b.store(w.b.fadd(w.b.load(total), w.load(FLOATS, x, w.times(part, 64))), total)
    return w.b.fdiv(w.sum(w.b.load(total)), w.b.sitofp(width, SINGLE))


def _variance(w: Writer, x: Value, width: Value, mean: Value) -> Value:
    total, mean = w.variable(w.constant(0.0, FLOATS)), w.splat(mean)
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as part:
        apart = w.b.fsub(w.load(FLOATS, x, w.times(part, 64)), mean)
        w.b.store(w.fma(apart, apart, w.b.load(total)), total)
    return w.b.fdiv(w.sum(w.b.load(total)), w.b.sitofp(width, SINGLE))


@emitted(None, Int, Int, Int, Float)
def head_norm(w: Writer, x: Value, weight: Value, width: Value, eps: Value) -> None:
    """An RMS norm of one head in place; `width` is a multiple of 16."""
    root = w.call("llvm.sqrt.f32", SINGLE, w.b.fadd(_variance(w, x, width, w.constant(0.0, SINGLE)), eps))
    factor = w.splat(w.b.fdiv(w.constant(1.0, SINGLE), root))
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as part:
        place = w.times(part, 64)
        w.store(w.b.fmul(w.b.fmul(w.load(FLOATS, x, place), factor), w.load(FLOATS, weight, place)), x, place)

"""NORM: RMS or layer norm of each token, (x - mean) / sqrt(variance + eps) * weight + bias; RMS takes the mean as 0."""

from __future__ import annotations

from enum import auto

import numpy as np

from lmworks.kernels.emit.scalars import compiled, field, float_field
from lmworks.kernels.emit.vectors import FLOATS, SINGLE, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation, Step
from lmworks.kernels.operations.quantise import Place, put_group
from lmworks.kernels.packed import Packed
from lmworks.kernels.run.weights import Weights


class Norm(Operands):
    """Operands of NORM."""

    WEIGHT = auto()
    """Address of float32 [dim]."""
    BIAS = auto()
    """Address of float32 [dim], or 0."""
    DIM = auto()
    EPS = auto()
    CENTRED = auto()
    """1 for a layer norm, 0 for RMS."""
    SOURCE = auto()
    """Address of float32 [tokens, dim]."""
    KEPT = auto()
    """Where the result goes in float32, [tokens, dim]; 0 for nowhere."""
    STRIDE = auto()
    """Bytes from a token's numbers to the next one's, in the source and in what is kept."""
    ADDS = auto()
    """1: the result is added to what stands in KEPT."""
    OUTLIERS = auto()
    """Address of the table of outliers of the matrix that reads the result in 8 bits (outliers.py), or 0."""


def norm_step(
    weights: Weights,
    path: str,
    source: int,
    *,
    centred: bool | None = None,
    kept: int = 0,
    adds: bool = False,
    read_by: Packed | None = None,
    unit: float = 1.0,
    width: int | None = None,
) -> Step:
    """A norm with the weight it multiplies by, and the matrix that reads its result: `centred` for a layer norm, unless
    it is the network's own kind, over `width` numbers, the stream's unless given. `unit` is what 1 in the source stands
    for: a norm takes out any factor, and its eps is to be as large beside the numbers."""
    config, dim = weights.config, width or weights.config.dim
    return Norm.step(
        weight=norm_weight(weights, path, dim),
        bias=weights.vector(f"{path}.bias"),
        dim=dim,
        eps=config.norm_eps / unit**2,
        centred=config.norm == "layer" if centred is None else centred,
        source=source,
        kept=kept,
        stride=dim * 4,
        adds=adds,
        outliers=0 if read_by is None else read_by.for_values.ctypes.data,
    )


def norm_weight(weights: Weights, path: str, width: int) -> int:
    """The address of what a norm multiplies by: 1 where it has no weight."""
    return weights.vector(f"{path}.weight") or weights.keep(f"{path}.weight", np.ones(width, np.float32))


@compiled
def run(thread, threads, frame, step):
    """Norm the tokens that are this thread's share."""
    weight, bias, dim = field(step, Norm.WEIGHT), field(step, Norm.BIAS), field(step, Norm.DIM)
    eps, centred = float_field(step, Norm.EPS), field(step, Norm.CENTRED)
    source, kept, outliers = field(step, Norm.SOURCE), field(step, Norm.KEPT), field(step, Norm.OUTLIERS)
    stride, adds = field(step, Norm.STRIDE), field(step, Norm.ADDS)
    values, scales, sums = field(frame, Field.VALUES), field(frame, Field.SCALES), field(frame, Field.SUMS)
    values_stride, scales_stride = field(frame, Field.VALUES_STRIDE), field(frame, Field.SCALES_STRIDE)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        to = kept + token * stride if kept != 0 else 0
        of = values + token * values_stride if outliers != 0 else 0
        at = token * scales_stride
        x = source + token * stride
        norm(x, weight, bias, dim, eps, centred, to, adds, of, scales + at, sums + 2 * at, outliers)


@emitted(None, *[Int] * 4, Float, *[Int] * 7)
def norm(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value,
    width: Value,
    eps: Value,
    centred: Value,
    kept: Value,
    adds: Value,
    values: Value,
    scales: Value,
    sums: Value,
    outliers: Value,
) -> None:
    """Norm `width` numbers at x, a multiple of 32, with `bias` 0 for none and `centred` 1 for a layer norm.

    The result goes to `kept` (x itself, for a norm in place; or it is added there) unless that is 0, and in 8 bits to
    `values`, `scales` and `sums` unless `values` is 0, but for those that the table at `outliers` names.
    """
    mean = _mean(e, x, width, centred)
    root = e.call("llvm.sqrt.f32", SINGLE, e.b.fadd(_variance(e, x, width, mean), eps))
    factor, mean = e.splat(e.b.fdiv(e.constant(1.0, SINGLE), root)), e.splat(mean)
    has_bias, keeps, quantises = (e.b.icmp_signed("!=", one, e.constant(0)) for one in (bias, kept, values))
    offset = e.b.select(has_bias, bias, weight)  # without a bias any numbers are read and multiplied by 0
    offset_factor = e.splat(e.b.select(has_bias, e.constant(1.0, SINGLE), e.constant(0.0, SINGLE)))
    with e.loop(0, e.b.sdiv(width, e.constant(32))) as group:
        pair = []
        for at in (0, 64):
            place = e.plus(e.times(group, 128), at)
            scaled = e.b.fmul(e.b.fmul(e.b.fsub(e.load(FLOATS, x, place), mean), factor), e.load(FLOATS, weight, place))
            normed = e.fma(e.load(FLOATS, offset, place), offset_factor, scaled)
            pair.append((place, normed))
        with e.b.if_then(keeps):
            is_sum = e.b.icmp_signed("!=", adds, e.constant(0))
            for place, normed in pair:
                total = e.b.fadd(e.load(FLOATS, kept, place), normed)
                e.store(e.b.select(is_sum, total, normed), kept, place)
        with e.b.if_then(quantises):
            put_group(e, pair[0][1], pair[1][1], Place(values, scales, sums, outliers), group)


def _mean(e: Emitter, x: Value, width: Value, centred: Value) -> Value:
    total = e.variable(e.constant(0.0, FLOATS))
    with e.b.if_then(e.b.icmp_signed("!=", centred, e.constant(0))), e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        e.b.store(e.b.fadd(e.b.load(total), e.load(FLOATS, x, e.times(part, 64))), total)
    return e.b.fdiv(e.sum(e.b.load(total)), e.b.sitofp(width, SINGLE))


def _variance(e: Emitter, x: Value, width: Value, mean: Value) -> Value:
    total, mean = e.variable(e.constant(0.0, FLOATS)), e.splat(mean)
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        apart = e.b.fsub(e.load(FLOATS, x, e.times(part, 64)), mean)
        e.b.store(e.fma(apart, apart, e.b.load(total)), total)
    return e.b.fdiv(e.sum(e.b.load(total)), e.b.sitofp(width, SINGLE))


@emitted(None, Int, Int, Int, Float)
def head_norm(e: Emitter, x: Value, weight: Value, width: Value, eps: Value) -> None:
    """An RMS norm of one head in place; `width` is a multiple of 16."""
    root = e.call("llvm.sqrt.f32", SINGLE, e.b.fadd(_variance(e, x, width, e.constant(0.0, SINGLE)), eps))
    factor = e.splat(e.b.fdiv(e.constant(1.0, SINGLE), root))
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        place = e.times(part, 64)
        e.store(e.b.fmul(e.b.fmul(e.load(FLOATS, x, place), factor), e.load(FLOATS, weight, place)), x, place)


NORM = Operation(Norm, run)

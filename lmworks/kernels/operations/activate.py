"""ACTIVATE: the feed-forward's non-linearity, gated or plain, and its result in 8 bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import auto
from typing import Any

from lmworks.kernels.emit.scalars import compiled, field, float_field
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation, Step
from lmworks.kernels.operations.quantise import Place, put_group
from lmworks.kernels.packed import Packed
from lmworks.models.config import ModelConfig

STEEP = 1.702
"""Of quick_gelu's sigmoid (models/feed_forward.py, which imports PyTorch)."""


class Activate(Operands):
    """Operands of ACTIVATE."""

    INPUT = auto()
    """Address of float32 [tokens, width], or [tokens, 2 width] where it is gated: the gate first."""
    INPUT_STRIDE = auto()
    WIDTH = auto()
    KIND = auto()
    """Place in ACTIVATIONS."""
    GATED = auto()
    """1: multiply with the second half."""
    OUTLIERS = auto()
    """Address of the table of outliers of the matrix that reads the result (outliers.py)."""
    ROWS = auto()
    """Address of the frame of experts' rows, which then stand in the place of tokens (operations/gather.py), or 0."""
    LIMIT = auto()
    """What a gate is kept below, and the second half between this and its negative; infinite for no limit."""
    SHIFT = auto()
    """What is added to the second half."""
    ABOVE = auto()
    """xIELU's factor of x squared above 0, a number that each layer learns."""
    BELOW = auto()
    """The same of its part below 0."""


def _sigmoid(e: Emitter, x: Value) -> Value:
    one = e.constant(1.0, FLOATS)
    return e.b.fdiv(one, e.b.fadd(one, e.exp(e.b.fneg(x))))


def _silu(e: Emitter, x: Value) -> Value:
    return e.b.fdiv(x, e.b.fadd(e.constant(1.0, FLOATS), e.exp(e.b.fneg(x))))


def _quick_gelu(e: Emitter, x: Value) -> Value:
    return e.b.fdiv(x, e.b.fadd(e.constant(1.0, FLOATS), e.exp(e.b.fmul(x, e.constant(-STEEP, FLOATS)))))


def _tanh(e: Emitter, x: Value) -> Value:
    """2 sigmoid(2 x) - 1"""
    two = e.constant(2.0, FLOATS)
    return e.fma(two, _sigmoid(e, e.b.fmul(two, x)), e.constant(-1.0, FLOATS))


def _gelu(e: Emitter, x: Value) -> Value:
    """x / 2 (1 + erf(x / sqrt 2)), by formula 7.1.26 of Abramowitz and Stegun: erf within 1.5e-7."""
    z = e.b.fmul(e.absolute(x), e.constant(0.7071067811865476, FLOATS))
    one = e.constant(1.0, FLOATS)
    t = e.b.fdiv(one, e.fma(z, e.constant(0.3275911, FLOATS), one))
    tail = e.constant(1.061405429, FLOATS)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = e.fma(tail, t, e.constant(factor, FLOATS))
    tail = e.b.fmul(e.b.fmul(tail, t), e.exp(e.b.fneg(e.b.fmul(z, z))))
    # 1 - erf|z| is the tail: of a positive x the rest is taken, of a negative one the tail itself.
    half = e.b.fmul(x, e.constant(0.5, FLOATS))
    positive = e.b.fcmp_ordered(">", x, e.constant(0.0, FLOATS))
    return e.b.fmul(half, e.b.select(positive, e.b.fsub(e.constant(2.0, FLOATS), tail), tail))


def _gelu_tanh(e: Emitter, x: Value) -> Value:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which is x sigmoid(2 ...)."""
    inner = e.fma(e.b.fmul(x, x), e.constant(0.044715, FLOATS), e.constant(1.0, FLOATS))
    return e.b.fmul(x, _sigmoid(e, e.b.fmul(e.b.fmul(x, inner), e.constant(1.5957691216057308, FLOATS))))


def _relu(e: Emitter, x: Value) -> Value:
    return e.b.select(e.b.fcmp_unordered("<", x, e.constant(0.0, FLOATS)), e.b.fmul(x, e.constant(0.0, FLOATS)), x)


def _relu_squared(e: Emitter, x: Value) -> Value:
    kept = _relu(e, x)
    return e.b.fmul(kept, kept)


def _xielu(e: Emitter, x: Value, above: Value, below: Value) -> Value:
    """x / 2, and above * x^2 or below * (e^x - 1 - x)"""
    one = e.constant(1.0, FLOATS)
    curved = e.b.fmul(e.b.fsub(e.b.fsub(e.exp(x), one), x), e.splat(below))
    positive = e.b.fcmp_ordered(">", x, e.constant(0.0, FLOATS))
    curved = e.b.select(positive, e.b.fmul(e.b.fmul(x, x), e.splat(above)), curved)
    return e.fma(x, e.constant(0.5, FLOATS), curved)


ACTIVATIONS: dict[str, Callable[..., Value]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": _relu,
    "relu_squared": _relu_squared,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "quick_gelu": _quick_gelu,
    "xielu": _xielu,
}
"""By the names of configs; a step says which by its place here."""


def activate_step(
    config: ModelConfig,
    source: int,
    stride: int,
    width: int,
    read_by: Packed,
    rows: int = 0,
    learned: tuple[float, float] = (0.0, 0.0),
) -> Step:
    """The activation of `width` numbers a token, or of each of `rows`, with the two numbers of one that learns; and the
    matrix that reads its result."""
    return Activate.step(
        input=source,
        input_stride=stride,
        width=width,
        kind=list(ACTIVATIONS).index(config.activation),
        gated=config.gated,
        outliers=read_by.for_values.ctypes.data,
        rows=rows,
        limit=math.inf if config.gate_limit is None else config.gate_limit,
        shift=1.0 if config.gate_shift else 0.0,
        above=learned[0],
        below=learned[1],
    )


def _at_most(e: Emitter, x: Value, limit: Value) -> Value:
    """The smaller one; NaN stays."""
    return e.b.select(e.b.fcmp_ordered(">", x, limit), limit, x)


def _second(e: Emitter, x: Value, limit: Value, shift: Value) -> Value:
    """What a gate is multiplied with: within the limit on both sides, then shifted."""
    least = e.b.fneg(limit)
    within = e.b.select(e.b.fcmp_ordered("<", x, least), least, _at_most(e, x, limit))
    return e.b.fadd(within, shift)


def _activation(name: str) -> Any:
    apply = ACTIVATIONS[name]

    @emitted(None, *[Int] * 7, *[Float] * 4)
    def activate(
        e: Emitter,
        x: Value,
        gated: Value,
        group: Value,
        values: Value,
        scales: Value,
        sums: Value,
        outliers: Value,
        limit: Value,
        shift: Value,
        above: Value,
        below: Value,
    ) -> None:
        """Group `group` of a token at x; multiplied with that at `gated` unless that is 0."""
        place, limit, shift = e.times(group, 128), e.splat(limit), e.splat(shift)
        learned = (above, below) if name == "xielu" else ()
        pair = [apply(e, _at_most(e, e.load(FLOATS, x, e.plus(place, at)), limit), *learned) for at in (0, 64)]
        result = [e.variable(one) for one in pair]
        with e.b.if_then(e.b.icmp_signed("!=", gated, e.constant(0))):
            for at, one, place_of in zip((0, 64), pair, result, strict=True):
                e.b.store(e.b.fmul(one, _second(e, e.load(FLOATS, gated, e.plus(place, at)), limit, shift)), place_of)
        put_group(e, e.b.load(result[0]), e.b.load(result[1]), Place(values, scales, sums, outliers), group)

    return activate


silu, gelu, gelu_tanh, relu, relu_squared, sigmoid, tanh, quick_gelu, xielu = map(_activation, ACTIVATIONS)


@compiled
def run(thread, threads, frame, step):
    """The groups of 32 numbers, of whatever token, that are this thread's share."""
    frame = field(step, Activate.ROWS) if field(step, Activate.ROWS) != 0 else frame
    x, stride, width = field(step, Activate.INPUT), field(step, Activate.INPUT_STRIDE), field(step, Activate.WIDTH)
    kind, gated, outliers = field(step, Activate.KIND), field(step, Activate.GATED), field(step, Activate.OUTLIERS)
    limit, shift = float_field(step, Activate.LIMIT), float_field(step, Activate.SHIFT)
    above, below, groups = float_field(step, Activate.ABOVE), float_field(step, Activate.BELOW), width // 32
    every = field(frame, Field.TOKENS) * groups
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, group = number // groups, number % groups
        at = x + token * stride
        by = at + width * 4 if gated != 0 else 0
        values = field(frame, Field.VALUES) + token * field(frame, Field.VALUES_STRIDE)
        scales = field(frame, Field.SCALES) + token * field(frame, Field.SCALES_STRIDE)
        sums = field(frame, Field.SUMS) + 2 * token * field(frame, Field.SCALES_STRIDE)
        if kind == 0:
            silu(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 1:
            gelu(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 2:
            gelu_tanh(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 3:
            relu(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 4:
            relu_squared(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 5:
            sigmoid(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 6:
            tanh(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        elif kind == 7:
            quick_gelu(at, by, group, values, scales, sums, outliers, limit, shift, above, below)
        else:
            xielu(at, by, group, values, scales, sums, outliers, limit, shift, above, below)


ACTIVATE = Operation(Activate, run)

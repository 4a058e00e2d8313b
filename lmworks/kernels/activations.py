"""The feed-forward's non-linearities, gated or plain, and their result in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmworks.kernels.quantised import Place, put_group
from lmworks.kernels.vectors import FLOATS, Int, Value, Writer, emitted

NAMES = ("silu", "gelu", "gelu_tanh", "relu", "relu_squared", "sigmoid", "tanh")
"""In the order of the numbers by which a tape names them."""


def _sigmoid(w: Writer, x: Value) -> Value:
    one = w.constant(1.0, FLOATS)
    return w.b.fdiv(one, w.b.fadd(one, w.exp(w.b.fneg(x))))


def _silu(w: Writer, x: Value) -> Value:
    return w.b.fdiv(x, w.b.fadd(w.constant(1.0, FLOATS), w.exp(w.b.fneg(x))))


def _tanh(w: Writer, x: Value) -> Value:
    """2 sigmoid(2 x) - 1"""
    two = w.constant(2.0, FLOATS)
    return w.fma(two, _sigmoid(w, w.b.fmul(two, x)), w.constant(-1.0, FLOATS))


def _gelu(w: Writer, x: Value) -> Value:
    """x / 2 (1 + erf(x / sqrt 2)), by formula 7.1.26 of Abramowitz and Stegun: erf within 1.5e-7."""
    z = w.b.fmul(w.absolute(x), w.constant(0.7071067811865476, FLOATS))
    one = w.constant(1.0, FLOATS)
    t = w.b.fdiv(one, w.fma(z, w.constant(0.3275911, FLOATS), one))
    tail = w.constant(1.061405429, FLOATS)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = w.fma(tail, t, w.constant(factor, FLOATS))
    tail = w.b.fmul(w.b.fmul(tail, t), w.exp(w.b.fneg(w.b.fmul(z, z))))
    # 1 - erf|z| is the tail: of a positive x the rest is taken, of a negative one the tail itself.
    half = w.b.fmul(x, w.constant(0.5, FLOATS))
    positive = w.b.fcmp_ordered(">", x, w.constant(0.0, FLOATS))
    return w.b.fmul(half, w.b.select(positive, w.b.fsub(w.constant(2.0, FLOATS), tail), tail))


def _gelu_tanh(w: Writer, x: Value) -> Value:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which is x sigmoid(2 ...)."""
    inner = w.fma(w.b.fmul(x, x), w.constant(0.044715, FLOATS), w.constant(1.0, FLOATS))
    return w.b.fmul(x, _sigmoid(w, w.b.fmul(w.b.fmul(x, inner), w.constant(1.5957691216057308, FLOATS))))


def _relu(w: Writer, x: Value) -> Value:
    return w.b.select(w.b.fcmp_unordered("<", x, w.constant(0.0, FLOATS)), w.b.fmul(x, w.constant(0.0, FLOATS)), x)


def _relu_squared(w: Writer, x: Value) -> Value:
    kept = _relu(w, x)
    return w.b.fmul(kept, kept)


WRITERS = dict(zip(NAMES, (_silu, _gelu, _gelu_tanh, _relu, _relu_squared, _sigmoid, _tanh), strict=True))


def _activation(name: str) -> Any:
    apply: Callable[[Writer, Value], Value] = WRITERS[name]

    @emitted(None, *[Int] * 7)
    def activate(
        w: Writer, x: Value, gated: Value, group: Value, values: Value, scales: Value, sums: Value, outliers: Value
    ) -> None:
        """Group `group` of a token at x; multiplied with that at `gated` unless that is 0."""
        place = w.times(group, 128)
        pair = [apply(w, w.load(FLOATS, x, w.plus(place, at))) for at in (0, 64)]
        result = [w.variable(one) for one in pair]
        with w.b.if_then(w.b.icmp_signed("!=", gated, w.constant(0))):
            for at, one, place_of in zip((0, 64), pair, result, strict=True):
                w.b.store(w.b.fmul(one, w.load(FLOATS, gated, w.plus(place, at))), place_of)
        put_group(w, w.b.load(result[0]), w.b.load(result[1]), Place(values, scales, sums, outliers), group)

    return activate


silu, gelu, gelu_tanh, relu, relu_squared, sigmoid, tanh = (_activation(name) for name in NAMES)

"""What a training step computes between its matrix products: norms and gates forward and backward, rotary positions and
the softmax, one pass for each row; and matrices unpacked from 4 bits (NF4).

PyTorch makes several passes over memory for each of these, and in bfloat16 a float32 copy for each pass. Beside
products that run on matrix tiles (AMX), that was half of a step. Here a row is read in bfloat16 or float32, computed in
float32 and rounded once. Widths are multiples of 16; `kernels/between.py` makes the calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from lmworks.kernels.emit.compiler import float32
from lmworks.kernels.emit.scalars import byte_at, compiled_as, put_single, single_at
from lmworks.kernels.emit.vectors import BYTE, FLOATS, SINGLE, WORDS, Emitter, Float, Int, Value, emitted
from lmworks.models.files.code_tables import NF4


class Form(NamedTuple):
    """A number format in memory."""

    name: str
    size: int
    """Bytes of a number."""
    load: Callable[[Emitter, Value, Value], Value]
    """Reads 16 numbers as float32, from an address and an offset in bytes."""
    store: Callable[[Emitter, Value, Value, Value], None]


def _load_floats(e: Emitter, address: Value, offset: Value) -> Value:
    return e.load(FLOATS, address, offset)


def _load_brains(e: Emitter, address: Value, offset: Value) -> Value:
    return e.load_brains(address, offset)


def _store_floats(e: Emitter, value: Value, address: Value, offset: Value) -> None:
    e.store(value, address, offset)


def _store_brains(e: Emitter, value: Value, address: Value, offset: Value) -> None:
    e.store_brains(value, address, offset)


FORMS = (Form("float32", 4, _load_floats, _store_floats), Form("bfloat16", 2, _load_brains, _store_brains))


def _vectors(e: Emitter, width: Value) -> Value:
    return e.b.sdiv(width, e.constant(16))


def _inverse_root(e: Emitter, squares: Value, width: Value, eps: Value) -> Value:
    """1 / sqrt(mean of the squares + eps), from a vector of partial sums of the squares."""
    mean = e.b.fdiv(e.sum(squares), e.b.sitofp(width, SINGLE))
    return e.b.fdiv(e.constant(1.0, SINGLE), e.call("llvm.sqrt.f32", SINGLE, e.b.fadd(mean, eps)))


def _norm_row(form: Form) -> Any:
    @emitted(None, Int, Int, Int, Int, Float)
    def norm_row(e: Emitter, x: Value, weight: Value, to: Value, width: Value, eps: Value) -> None:
        squares = e.variable(e.constant(0.0, FLOATS))
        with e.loop(0, _vectors(e, width)) as at:
            one = form.load(e, x, e.times(at, 16 * form.size))
            e.b.store(e.fma(one, one, e.b.load(squares)), squares)
        factor = e.splat(_inverse_root(e, e.b.load(squares), width, eps))
        with e.loop(0, _vectors(e, width)) as at:
            place = e.times(at, 16 * form.size)
            normed = e.b.fmul(form.load(e, x, place), factor)
            form.store(e, e.b.fmul(normed, form.load(e, weight, place)), to, place)

    return norm_row


def _norm(x, weight, to, rows, width, eps):
    for row in range(rows):
        at = row * width * SIZE  # noqa: F821
        norm_row(x + at, weight, to + at, width, float32(eps))  # noqa: F821


def _norm_back_row(form: Form) -> Any:
    @emitted(None, *[Int] * 6, Float)
    def norm_back_row(
        e: Emitter, gradient: Value, x: Value, weight: Value, stream: Value, to: Value, width: Value, eps: Value
    ) -> None:
        squares, along = (e.variable(e.constant(0.0, FLOATS)) for _ in range(2))
        with e.loop(0, _vectors(e, width)) as at:
            place = e.times(at, 16 * form.size)
            one = form.load(e, x, place)
            weighted = e.b.fmul(form.load(e, gradient, place), form.load(e, weight, place))
            e.b.store(e.fma(one, one, e.b.load(squares)), squares)
            e.b.store(e.fma(one, weighted, e.b.load(along)), along)
        inverse = _inverse_root(e, e.b.load(squares), width, eps)
        cubed = e.b.fmul(e.b.fmul(inverse, inverse), inverse)
        share = e.b.fdiv(e.b.fmul(e.sum(e.b.load(along)), cubed), e.b.sitofp(width, SINGLE))
        factor, share = e.splat(inverse), e.splat(e.b.fneg(share))
        with e.loop(0, _vectors(e, width)) as at:
            place = e.times(at, 16 * form.size)
            weighted = e.b.fmul(form.load(e, gradient, place), form.load(e, weight, place))
            result = e.fma(form.load(e, x, place), share, form.load(e, stream, place))
            form.store(e, e.fma(weighted, factor, result), to, place)

    return norm_back_row


def _norm_back(gradient, x, weight, stream, to, rows, width, eps):
    for row in range(rows):
        at = row * width * SIZE  # noqa: F821
        norm_back_row(gradient + at, x + at, weight, stream + at, to + at, width, float32(eps))  # noqa: F821


def _sigmoid(e: Emitter, x: Value) -> Value:
    one = e.constant(1.0, FLOATS)
    return e.b.fdiv(one, e.b.fadd(one, e.exp(e.b.fneg(x))))


def _gate_row(form: Form) -> Any:
    @emitted(None, Int, Int, Int)
    def gate_row(e: Emitter, inner: Value, to: Value, width: Value) -> None:
        second = e.b.add(inner, e.times(width, form.size))
        with e.loop(0, _vectors(e, width)) as at:
            place = e.times(at, 16 * form.size)
            gate = form.load(e, inner, place)
            activation = e.b.fmul(gate, _sigmoid(e, gate))
            form.store(e, e.b.fmul(activation, form.load(e, second, place)), to, place)

    return gate_row


def _gate(inner, to, rows, width):
    for row in range(rows):
        at = row * width * SIZE  # noqa: F821
        gate_row(inner + 2 * at, to + at, width)  # noqa: F821


def _gate_back_row(form: Form) -> Any:
    @emitted(None, Int, Int, Int, Int)
    def gate_back_row(e: Emitter, gradient: Value, inner: Value, to: Value, width: Value) -> None:
        half, one = e.times(width, form.size), e.constant(1.0, FLOATS)
        second, to_second = e.b.add(inner, half), e.b.add(to, half)
        with e.loop(0, _vectors(e, width)) as at:
            place = e.times(at, 16 * form.size)
            gate, up = form.load(e, inner, place), form.load(e, second, place)
            given, open_ = form.load(e, gradient, place), _sigmoid(e, gate)
            # The derivative of x s(x) is s (1 + x (1 - s)).
            slope = e.b.fmul(open_, e.fma(gate, e.b.fsub(one, open_), one))
            form.store(e, e.b.fmul(e.b.fmul(given, up), slope), to, place)
            form.store(e, e.b.fmul(given, e.b.fmul(gate, open_)), to_second, place)

    return gate_back_row


def _gate_back(gradient, inner, to, rows, width):
    for row in range(rows):
        at = row * width * SIZE  # noqa: F821
        gate_back_row(gradient + at, inner + 2 * at, to + 2 * at, width)  # noqa: F821


def _turn_row(form: Form) -> Any:
    @emitted(None, *[Int] * 5, Float, Float)
    def turn_row(
        e: Emitter, x: Value, cos: Value, sin: Value, to: Value, half: Value, scale: Value, back: Value
    ) -> None:
        second, to_second = (e.b.add(one, e.times(half, form.size)) for one in (x, to))
        factor, sign = e.splat(scale), e.splat(e.b.fmul(scale, back))
        with e.loop(0, _vectors(e, half)) as at:
            place = e.times(at, 16 * form.size)
            left, right = form.load(e, x, place), form.load(e, second, place)
            along = e.b.fmul(form.load(e, cos, place), factor)
            across = e.b.fmul(form.load(e, sin, place), sign)
            form.store(e, e.b.fsub(e.b.fmul(left, along), e.b.fmul(right, across)), to, place)
            form.store(e, e.b.fadd(e.b.fmul(right, along), e.b.fmul(left, across)), to_second, place)

    return turn_row


def _turn(flat, apart, cos, sin, batch, seq, heads, tile, dim, stride, table_stride, back, scale):
    for row in range(batch):
        for at in range(seq):
            table = (row * table_stride + at * (dim // 2)) * SIZE  # noqa: F821
            block = (at // tile * batch + row) * heads  # this row's tile: [heads, tile, dim]
            for head in range(heads):
                left = flat + ((row * seq + at) * stride + head * dim) * SIZE  # noqa: F821
                right = apart + ((block + head) * tile + at % tile) * dim * SIZE  # noqa: F821
                if back:
                    turn_row(right, cos + table, sin + table, left, dim // 2, float32(scale), float32(-1.0))  # noqa: F821
                else:
                    turn_row(left, cos + table, sin + table, right, dim // 2, float32(scale), float32(1.0))  # noqa: F821


def _largest_of_row(form: Form) -> Any:
    @emitted(Float, Int, Int)
    def largest_of_row(e: Emitter, x: Value, width: Value) -> Value:
        seen = e.variable(form.load(e, x, 0))
        with e.loop(1, _vectors(e, width)) as at:
            e.b.store(e.larger(form.load(e, x, e.times(at, 16 * form.size)), e.b.load(seen)), seen)
        return e.largest(e.b.load(seen))

    return largest_of_row


def _exponents_of_row(form: Form) -> Any:
    @emitted(Float, Int, Int, Float)
    def exponents_of_row(e: Emitter, x: Value, width: Value, largest: Value) -> Value:
        """The sum of e^(x - largest)."""
        total, top = e.variable(e.constant(0.0, FLOATS)), e.splat(largest)
        with e.loop(0, _vectors(e, width)) as at:
            apart = e.b.fsub(form.load(e, x, e.times(at, 16 * form.size)), top)
            e.b.store(e.b.fadd(e.b.load(total), e.exp(apart)), total)
        return e.sum(e.b.load(total))

    return exponents_of_row


def _softmax_row(form: Form) -> Any:
    @emitted(None, Int, Int, Float, Float)
    def softmax_row(e: Emitter, x: Value, width: Value, largest: Value, factor: Value) -> None:
        """Overwrite x with e^(x - largest) times the factor."""
        top, by = e.splat(largest), e.splat(factor)
        with e.loop(0, _vectors(e, width)) as at:
            place = e.times(at, 16 * form.size)
            form.store(e, e.b.fmul(e.exp(e.b.fsub(form.load(e, x, place), top)), by), x, place)

    return softmax_row


def _softmax(x, log_sums, rows, width):
    for row in range(rows):
        at = x + row * width * SIZE  # noqa: F821
        largest = largest_of_row(at, width)  # noqa: F821
        total = exponents_of_row(at, width, largest)  # noqa: F821
        put_single(log_sums + 4 * row, float32(largest + math.log(total)))
        softmax_row(at, width, largest, float32(1.0) / total)  # noqa: F821


BLOCK, GROUP = 64, 256
"""NF4: how many weights share a size, and how many sizes share a scale."""


def _nf4_block(form: Form) -> Any:
    @emitted(None, Int, Float, Int)
    def nf4_block(e: Emitter, codes: Value, size: Value, to: Value) -> None:
        by, lowest = e.splat(size), e.constant(15, WORDS)
        shifts = ir.Constant(WORDS, [4, 0] * 8)  # the first of two weights is in the high half of their byte
        for at in range(0, BLOCK, 16):
            pairs = e.shuffle(e.load(ir.VectorType(BYTE, 8), codes, at // 2), [lane // 2 for lane in range(16)])
            found = e.looked_up_floats(NF4, e.b.and_(e.b.lshr(e.b.zext(pairs, WORDS), shifts), lowest))
            form.store(e, e.b.fmul(found, by), to, at * form.size)

    return nf4_block


def _nf4(to, codes, sizes, scales, levels, blocks, mean):
    for block in range(blocks):
        level = single_at(levels + 4 * byte_at(sizes + block))
        size = level * single_at(scales + 4 * (block // GROUP)) + float32(mean)
        nf4_block(codes + block * BLOCK // 2, size, to + block * BLOCK * SIZE)  # noqa: F821


ROWS_OF = {
    "norm_row": _norm_row,
    "norm_back_row": _norm_back_row,
    "gate_row": _gate_row,
    "gate_back_row": _gate_back_row,
    "turn_row": _turn_row,
    "largest_of_row": _largest_of_row,
    "exponents_of_row": _exponents_of_row,
    "softmax_row": _softmax_row,
    "nf4_block": _nf4_block,
}
"""The functions that the loops call, by the names that the loops use."""


def loops_of(form: Form) -> dict[str, Any]:
    """The compiled loops for one number format: norm, norm_back, gate, gate_back, turn, softmax, nf4."""
    names = {name: made(form) for name, made in ROWS_OF.items()} | {"SIZE": form.size}
    return {
        one.__name__[1:]: compiled_as(one, f"{one.__name__[1:]}_{form.name}", **names)
        for one in (_norm, _norm_back, _gate, _gate_back, _turn, _softmax, _nf4)
    }

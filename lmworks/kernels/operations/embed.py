"""EMBED: the residual stream begins with each token's row of the packed embedding, or, of an id below zero, with the
vector in float32 at that address (an image's: SeenVectors)."""

from __future__ import annotations

import functools
from enum import auto
from typing import Any

from lmworks.kernels.emit.calls import call_embed, function_of
from lmworks.kernels.emit.scalars import compiled, compiled_as, copy, field, float_field, long_at, put_single
from lmworks.kernels.emit.vectors import BYTE, HALF, LONG, SHORT, SINGLE, WORD, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import Field, FormEntry
from lmworks.kernels.operation import Operands, Operation, Step
from lmworks.kernels.packed import Packed
from lmworks.kernels.quantisation import Quantisation, number_of


class Embed(Operands):
    """Operands of EMBED."""

    TABLE = auto()
    """Address of a packed matrix (its layout: matrix.py)."""
    FORM = auto()
    """The number of its quantisation (quantisation.py)."""
    GROUPS = auto()
    """Groups of 32 numbers in a row."""
    FACTOR = auto()
    """What each number is multiplied with."""


def embed_step(matrix: Packed, factor: float) -> Step:
    """The tokens' rows of a matrix, times a factor, into the stream."""
    return Embed.step(table=matrix.address, form=number_of(matrix.form), groups=matrix.groups, factor=factor)


def _weight_of(kind: Quantisation) -> Any:
    @emitted(Float, Int, Int, Int, Int)
    def weight_of(e: Emitter, block: Value, lane: Value, group: Value, place: Value) -> Value:
        """The weight of input `place` of a group, of one row of a block."""
        if kind.floats:
            at = e.plus(block, e.plus(e.times(group, kind.run_bytes), e.times(lane, 4)))
            of_pair = e.plus(e.times(e.b.lshr(place, e.constant(1)), 64), e.times(e.b.and_(place, e.constant(1)), 2))
            bits = e.b.zext(e.load(SHORT, e.plus(at, of_pair), align=2), WORD)
            return e.float_of(bits, kind.floats)
        number, quad, parts = e.b.urem(group, e.constant(kind.run)), e.b.lshr(place, e.constant(2)), []
        run = e.plus(block, e.times(e.b.udiv(group, e.constant(kind.run)), kind.run_bytes))
        byte = e.plus(run, e.times(number, kind.codes_bytes))
        byte = e.plus(byte, e.plus(e.times(lane, 4), e.b.and_(place, e.constant(3))))
        for plane in kind.places:
            vector = e.plus(e.b.urem(quad, e.constant(plane.bits)), plane.vector)
            shift = e.times(e.b.udiv(quad, e.constant(plane.bits)), plane.bits)
            part = e.b.lshr(e.b.zext(e.load(BYTE, byte, e.times(vector, 64)), LONG), shift)
            parts.append(e.b.shl(e.b.and_(part, e.constant(plane.mask)), e.constant(plane.up)))
        code = functools.reduce(e.b.or_, parts)
        of_run = e.plus(e.times(number, kind.parts), e.b.udiv(place, e.constant(32 // kind.parts)))
        scale = _end(e, kind, run, lane, of_run, kind.scales_at, kind.factors_at)
        if kind.table:
            code = _looked_up(e, kind.table, code)
        elif kind.centre:
            code = e.b.sub(code, e.constant(kind.centre))
        product = e.b.fmul(e.b.sitofp(code, SINGLE), scale)
        if kind.centre:
            return product
        return e.b.fadd(product, _end(e, kind, run, lane, of_run, kind.minima_at, kind.factors_at + 32))

    return weight_of


def _end(e: Emitter, kind: Quantisation, run: Value, lane: Value, number: Value, whole: int, factor: int) -> Value:
    """A scale or a minimum of one row."""
    found = e.b.fpext(e.load(HALF, e.plus(run, e.times(lane, 2)), factor), SINGLE)
    if kind.run == 1:
        return found
    small = e.load(BYTE, e.plus(run, e.plus(e.times(number, 16), lane)), whole)
    return e.b.fmul(e.b.sitofp(small, SINGLE), found)


def _looked_up(e: Emitter, table: tuple[int, ...], code: Value) -> Value:
    """What a code stands for: a byte of one of two integers."""
    low, high = (
        e.constant(int.from_bytes(bytes(one & 255 for one in part), "little")) for part in (table[:8], table[8:])
    )
    eight = e.b.select(e.b.icmp_unsigned("<", code, e.constant(8)), low, high)
    shift = e.times(e.b.and_(code, e.constant(7)), 8)
    return e.b.sext(e.b.trunc(e.b.lshr(eight, shift), BYTE), LONG)


def _embed_row(step, token, x):
    """Row `token` of a packed matrix times the step's factor, in float32 at x."""
    groups, factor, lane = field(step, Embed.GROUPS), float_field(step, Embed.FACTOR), token % 16
    block = field(step, Embed.TABLE) + token // 16 * (groups // run_of * run_bytes)  # noqa: F821 (embed_of names these)
    for group in range(groups):
        for place in range(32):
            put_single(x + (group * 32 + place) * 4, weight_of(block, lane, group, place) * factor)  # noqa: F821


def embed_of(kind: Quantisation) -> Any:
    """What embeds a token by a matrix of this quantisation, to be compiled: (step, token, x)."""
    names = {"weight_of": _weight_of(kind), "run_of": kind.run, "run_bytes": kind.run_bytes}
    return compiled_as(_embed_row, f"embed_{kind.name}", **names)


@compiled
def run(thread, threads, frame, step):
    """The stream of the tokens that are this thread's share."""
    function, row = function_of(frame, field(step, Embed.FORM), FormEntry.EMBED), 128 * field(step, Embed.GROUPS)
    ids, stream = field(frame, Field.IDS), field(frame, Field.STREAM)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        one = long_at(ids + 8 * token)
        if one < 0:
            copy(0 - one, 32 * field(step, Embed.GROUPS), stream + token * row)
        else:
            call_embed(function, step, one, stream + token * row)


EMBED = Operation(Embed, run)

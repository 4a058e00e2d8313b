"""EMBED: the residual stream begins with each token's row of the packed embedding."""

from __future__ import annotations

import functools
from enum import auto
from typing import Any

from lmworks.kernels.emit.scalars import compiled, field, float_field, half_at, inlined, long_at, put_single
from lmworks.kernels.emit.vectors import BYTE, LONG, Emitter, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation, Step
from lmworks.kernels.packing import Packed
from lmworks.kernels.quantisation import Quantisation, quantisations


class Embed(Operands):
    """What EMBED is told."""

    TABLE = auto()
    """Address of a packed matrix (its layout: matrix.py)."""
    BITS = auto()
    GROUPS = auto()
    """Groups of 32 numbers in a row."""
    FACTOR = auto()
    """What each number is multiplied with."""


def embed_step(matrix: Packed, factor: float) -> Step:
    """The tokens' rows of a matrix, times a factor, into the stream."""
    return Embed.step(table=matrix.address, bits=matrix.bits, groups=matrix.groups, factor=factor)


def _code_of(kind: Quantisation) -> Any:
    @emitted(Int, Int, Int, Int)
    def code_of(e: Emitter, group: Value, lane: Value, place: Value) -> Value:
        """The code of input `place` of a row in a group."""
        quad, parts = e.b.lshr(place, e.constant(2)), []
        byte = e.plus(group, e.plus(e.times(lane, 4), e.b.and_(place, e.constant(3))))
        for plane in kind.places:
            vector = e.plus(e.b.urem(quad, e.constant(plane.bits)), plane.vector)
            shift = e.times(e.b.udiv(quad, e.constant(plane.bits)), plane.bits)
            part = e.b.lshr(e.b.zext(e.load(BYTE, byte, e.times(vector, 64)), LONG), shift)
            parts.append(e.b.shl(e.b.and_(part, e.constant(plane.mask)), e.constant(plane.up)))
        return functools.reduce(e.b.or_, parts)

    return code_of


def _row_of(kind: Quantisation) -> Any:
    code_of, vectors, size = _code_of(kind), 64 * kind.bits, kind.group_bytes

    @inlined
    def embed(table, bits, groups, token, factor, x):
        """Row `token` of a packed matrix times `factor`, in float32 at x."""
        lane = token % 16
        for group in range(groups):
            at = table + (token // 16 * groups + group) * size
            scale, minimum = half_at(at + vectors + 2 * lane), half_at(at + vectors + 32 + 2 * lane)
            for place in range(32):
                put_single(x + (group * 32 + place) * 4, (code_of(at, lane, place) * scale + minimum) * factor)

    return embed


def _if_of(own: int, kernel: Any, otherwise: Any) -> Any:
    """A kernel for matrices of these bits, another one for the others."""

    @inlined
    def embed(table, bits, groups, token, factor, x):
        if bits == own:
            kernel(table, bits, groups, token, factor, x)
        else:
            otherwise(table, bits, groups, token, factor, x)

    return embed


_first, *_others = ((bits, _row_of(one)) for bits, one in quantisations().items())
embed = _first[1]
for _bits, _other in _others:
    embed = _if_of(_bits, _other, embed)


@compiled
def run(thread, threads, frame, step):
    """The stream of the tokens that are this thread's share."""
    table, bits, groups = field(step, Embed.TABLE), field(step, Embed.BITS), field(step, Embed.GROUPS)
    factor, ids, stream = float_field(step, Embed.FACTOR), field(frame, Field.IDS), field(frame, Field.STREAM)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        embed(table, bits, groups, long_at(ids + 8 * token), factor, stream + token * groups * 32 * 4)


EMBED = Operation(Embed, run)

"""EMBED: the residual stream begins with each token's row of the packed embedding."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import byte_at, compiled, field, float_field, half_at, inlined, long_at, put_single
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation, Step
from lmworks.kernels.packing import Packed


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


@inlined
def embed(table, bits, groups, token, factor, x):
    """Row `token` of a packed matrix times `factor`, in float32 at x."""
    size, lane = 64 * bits + 64, token % 16  # frame.group_bytes
    block = table + (token // 16) * size * groups
    for group in range(groups):
        at = block + group * size
        scale, minimum = half_at(at + 64 * bits + 2 * lane), half_at(at + 64 * bits + 32 + 2 * lane)
        for place in range(32):
            quad = place // 4
            if bits == 4:
                code = int(byte_at(at + quad % 4 * 64 + 4 * lane + place % 4))
                code = code >> 4 if quad >= 4 else code & 15
            else:
                code = int(byte_at(at + quad * 64 + 4 * lane + place % 4))
            put_single(x + (group * 32 + place) * 4, (code * scale + minimum) * factor)


@compiled
def run(thread, threads, frame, step):
    """The stream of the tokens that are this thread's share."""
    table, bits, groups = field(step, Embed.TABLE), field(step, Embed.BITS), field(step, Embed.GROUPS)
    factor, ids, stream = float_field(step, Embed.FACTOR), field(frame, Field.IDS), field(frame, Field.STREAM)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        embed(table, bits, groups, long_at(ids + 8 * token), factor, stream + token * groups * 32 * 4)


EMBED = Operation(Embed, run)

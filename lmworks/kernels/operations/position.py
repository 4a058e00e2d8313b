"""POSITION: learned or sinusoidal positions, and segments, are added to the residual stream."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, long_at, put_single, single_at
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation


class Position(Operands):
    """Operands of POSITION."""

    TABLE = auto()
    """Address of float32 [segments * positions, dim]."""
    DIM = auto()


@compiled
def run(thread, threads, frame, step):
    """Add to each token that is this thread's share the table's row of its place."""
    table, dim = field(step, Position.TABLE), field(step, Position.DIM)
    places, stream = field(frame, Field.PLACES), field(frame, Field.STREAM)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        row, x = table + long_at(places + 8 * token) * dim * 4, stream + token * dim * 4
        for at in range(0, dim * 4, 4):
            put_single(x + at, single_at(x + at) + single_at(row + at))


POSITION = Operation(Position, run)

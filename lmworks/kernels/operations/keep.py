"""KEEP: from here on only the tokens that the frame names go on; the others have left their keys and values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import auto

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.kernels.emit.scalars import compiled, copy, field, inlined, long_at, put_field, put_long
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation, Step


class Keep(Operands):
    """Arrays of float32 with a row for each token, which moves to the front: addresses, or 0, and bytes of a row."""

    FIRST = auto()
    FIRST_STRIDE = auto()
    SECOND = auto()
    SECOND_STRIDE = auto()
    THIRD = auto()
    THIRD_STRIDE = auto()


def keep_step(arrays: Sequence[Float[np.ndarray, "tokens width"]]) -> Step:
    """Keep tokens, and their rows of up to three arrays."""
    pairs = [(one.ctypes.data, one.strides[0]) for one in arrays] + [(0, 0)] * (3 - len(arrays))
    names = [one.name.lower() for one in Keep]
    return Keep.step(**dict(zip(names, itertools.chain(*pairs), strict=True)))


@inlined
def move_row(rows, size, token, number):
    """Copy a token's row to the place of a number."""
    if rows != 0:
        copy(rows + token * size, size // 4, rows + number * size)


@inlined
def move_entry(entries, token, number):
    """Copy a token's integer to the place of a number."""
    put_long(entries + 8 * number, long_at(entries + 8 * token))


@compiled
def run(thread, threads, frame, step):
    """Thread 0 moves the kept tokens to the front, each a tile of its own."""
    if thread != 0:
        return
    count, tiles = field(frame, Field.KEPT_COUNT), field(frame, Field.TILES)
    for number in range(count):
        token = long_at(field(frame, Field.KEPT) + 8 * number)
        move_row(field(step, Keep.FIRST), field(step, Keep.FIRST_STRIDE), token, number)
        move_row(field(step, Keep.SECOND), field(step, Keep.SECOND_STRIDE), token, number)
        move_row(field(step, Keep.THIRD), field(step, Keep.THIRD_STRIDE), token, number)
        move_entry(field(frame, Field.POSITIONS), token, number)
        move_entry(field(frame, Field.ENDS), token, number)
        move_entry(field(frame, Field.PAGES), token, number)
        move_entry(field(frame, Field.ADAPTERS), token, number)
        if field(frame, Field.SOURCES) != 0:
            for half in range(2):
                move_entry(field(frame, Field.SOURCES), 2 * token + half, 2 * number + half)
        put_long(tiles + 16 * number, number)
        put_long(tiles + 16 * number + 8, 1)
    put_field(frame, Field.TOKENS, count)
    put_field(frame, Field.TILE_COUNT, count)


KEEP = Operation(Keep, run, moves_texts=True)

"""HAND: what each token hands on to those after it in a short convolution goes into the cache.

In a layer's part of a page (pages.py) lie the numbers of 64 positions,

    handed   bfloat16 [64, width]

as products of two projections may leave float16's range.
"""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, long_at
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation


class Hand(Operands):
    """Operands of HAND."""

    SOURCE = auto()
    """Address of float32 [tokens, 3, width]: the gate before, the gate after, the value."""
    STRIDE = auto()
    """Bytes from a token's numbers to the next one's."""
    WIDTH = auto()
    """A multiple of 32."""
    PLACE = auto()
    """Where the layer's part of a page begins, in bytes."""


@emitted(None, Int, Int, Int, Int)
def hand_on(e: Emitter, x: Value, width: Value, group: Value, to: Value) -> None:
    """Group `group` of 32 numbers of a token at x, to its place in the token's row of a page."""
    value = e.plus(x, e.times(width, 8))
    for half in range(2):
        place = e.plus(e.times(group, 128), 64 * half)
        handed = e.b.fmul(e.load(FLOATS, x, place), e.load(FLOATS, value, place))
        e.store_brains(handed, to, e.plus(e.times(group, 64), 32 * half))


@compiled
def run(thread, threads, frame, step):
    """The groups of 32 numbers, of whatever token, that are this thread's share."""
    x, stride, width = field(step, Hand.SOURCE), field(step, Hand.STRIDE), field(step, Hand.WIDTH)
    place = field(step, Hand.PLACE) * field(frame, Field.LAYERS_APART)
    positions, pages, groups = field(frame, Field.POSITIONS), field(frame, Field.PAGES), width // 32
    every = field(frame, Field.TOKENS) * groups
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, group = number // groups, number % groups
        position = long_at(positions + 8 * token)
        page = long_at(long_at(pages + 8 * token) + position // 64 * 8) + place
        hand_on(x + token * stride, width, group, page + position % 64 * width * 2)


HAND = Operation(Hand, run)

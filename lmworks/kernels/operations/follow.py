"""FOLLOW: the tokens that were chosen, one for each row, are read in the next round."""

from __future__ import annotations

from lmworks.kernels.emit.scalars import atomic_load, compiled, field, inlined, put_field, put_long
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.operations.choose import CHOICE_BYTES, is_end


class Follow(Operands):
    """FOLLOW has no operands."""


@inlined
def stop_if_interrupted(frame):
    """This round is the last one where somebody waits for the end of the run."""
    if atomic_load(field(frame, Field.INTERRUPT)) != 0:
        put_field(frame, Field.STOP, 1)


@inlined
def read_next(frame, row, token, position):
    """Put a token of the next round into the frame; it sees all before it."""
    put_long(field(frame, Field.IDS) + 8 * row, token)
    put_long(field(frame, Field.POSITIONS) + 8 * row, position)
    put_long(field(frame, Field.ENDS) + 8 * row, position + 1)


@compiled
def run(thread, threads, frame, step):
    """Thread 0 prepares the next round, or ends the run."""
    if thread != 0:
        return
    stop_if_interrupted(frame)
    tokens, round_ = field(frame, Field.TOKENS), field(frame, Field.ROUNDS_DONE)
    for row in range(tokens):
        token = field(field(frame, Field.CHOSEN), round_ * tokens + row)
        if token < 0 or is_end(field(frame, Field.CHOICES) + CHOICE_BYTES * row, token):
            put_field(frame, Field.STOP, 1)
        # After the last round a row may have no page left, and a late helper (work_stealing.py) may still look.
        if token >= 0 and round_ + 1 < field(frame, Field.ROUNDS):
            read_next(frame, row, token, field(field(frame, Field.POSITIONS), row) + 1)


FOLLOW = Operation(Follow, run)

"""CHOOSE: the next token of each row from its logits, and its log-probability where that is asked for."""

from __future__ import annotations

import math
from enum import auto

from lmworks.kernels.emit.compiler import float32
from lmworks.kernels.emit.scalars import (
    compiled,
    double_at,
    field,
    inlined,
    long_at,
    put_double,
    put_long,
    put_single,
    single_at,
)
from lmworks.kernels.emit.softmax import SMALLEST, choose, largest_of, log_total
from lmworks.kernels.frame import CHUNK, Choosing, Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.models.lookup import WRITTEN

CHOICE_BYTES = 8 * len(Choosing)


class Choose(Operands):
    """Operands of CHOOSE."""

    LOGITS = auto()
    """Address of float32 [tokens, vocabulary]; a new address in each run (tape.py)."""
    LOGITS_STRIDE = auto()
    VOCABULARY = auto()
    ROOM = auto()
    """Address of a room for each thread (frame.py), ROOM_BYTES each."""
    ROOM_BYTES = auto()


@compiled
def run(thread, threads, frame, step):
    """The next token of the rows that are this thread's share."""
    logits, stride, size = field(step, Choose.LOGITS), field(step, Choose.LOGITS_STRIDE), field(step, Choose.VOCABULARY)
    room = field(step, Choose.ROOM) + thread * field(step, Choose.ROOM_BYTES)
    tokens, guesses, round_ = field(frame, Field.TOKENS), field(frame, Field.LOOKUP), field(frame, Field.ROUNDS_DONE)
    for row in range(thread, tokens, threads):
        number, chooser, written = round_ * tokens + row, row, round_
        if guesses != 0:  # rows are tokens of one text
            number, chooser = field(guesses, WRITTEN) + row, 0
            written = number
        of, choice = logits + row * stride, field(frame, Field.CHOICES) + CHOICE_BYTES * chooser
        total = log_total(of, size, room) if field(choice, Choosing.JUDGED) != 0 else 0.0
        token = choose_next(of, size, choice, written, double_at(field(frame, Field.UNIFORMS) + 8 * number), room)
        put_long(field(frame, Field.CHOSEN) + 8 * number, token)
        logprob = -total if token < 0 else single_at(of + 4 * token) - total
        put_double(field(frame, Field.LOGPROBS) + 8 * number, logprob)


@inlined
def choose_next(logits, count, choice, written, at, room):
    """The token that a row chooses after the `written` ones of this run; -1 where Python has to choose."""
    if written < field(choice, Choosing.FORBIDDEN):
        for number in range(field(choice, Choosing.END_COUNT)):
            put_single(logits + 4 * long_at(field(choice, Choosing.ENDS) + 8 * number), float32(SMALLEST))
    factor = double_at(choice + 8 * Choosing.FACTOR)
    if factor == 0:
        return likeliest(logits, count)
    top_p, min_p = double_at(choice + 8 * Choosing.TOP_P), double_at(choice + 8 * Choosing.MIN_P)
    return choose(logits, count, factor, field(choice, Choosing.TOP_K), top_p, min_p, at, room)


@inlined
def likeliest(logits, count):
    """The first of the largest logits; -1 where these are infinite."""
    whole = count // CHUNK
    chunk, largest, token = 0, float32(SMALLEST), -1
    for number in range(whole):
        here = largest_of(logits + 4 * CHUNK * number, CHUNK // 16)
        if here > largest:
            chunk, largest = number, here
    for at in range(chunk * CHUNK, (chunk + 1) * CHUNK if whole > 0 else 0):
        if token < 0 and single_at(logits + 4 * at) == largest:
            token = at
    for at in range(whole * CHUNK, count):
        if single_at(logits + 4 * at) > largest:
            token, largest = at, single_at(logits + 4 * at)
    return token if math.isfinite(largest) else -1


@inlined
def is_end(choice, token):
    """Does a token end its row's text?"""
    found = False
    for number in range(field(choice, Choosing.END_COUNT)):
        found = found or long_at(field(choice, Choosing.ENDS) + 8 * number) == token
    return found


CHOOSE = Operation(Choose, run, takes_long=True)

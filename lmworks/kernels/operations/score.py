"""SCORE: a router's logits, in float32: which experts are chosen must not hang on rounded numbers."""

from __future__ import annotations

from enum import auto
from typing import Any

from lmworks.kernels.emit.scalars import compiled, field
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation

AT_ONCE = 4
"""Experts whose sums are in registers together."""


class Score(Operands):
    """Operands of SCORE."""

    SOURCE = auto()
    """Address of float32 [tokens, width]."""
    WIDTH = auto()
    """A multiple of 16."""
    WEIGHTS = auto()
    """Address of float32 [experts, width]."""
    EXPERTS = auto()
    LOGITS = auto()
    """Address of float32 [tokens, experts]."""
    LOGITS_STRIDE = auto()


def _products(experts: int) -> Any:
    @emitted(None, *[Int] * 4)
    def products(e: Emitter, x: Value, weights: Value, width: Value, to: Value) -> None:
        """Some experts' rows of weights times `width` numbers at x."""
        totals = [e.variable(e.constant(0.0, FLOATS)) for _ in range(experts)]
        rows = [e.plus(weights, e.times(width, 4 * number)) for number in range(experts)]
        with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
            place = e.times(part, 64)
            read = e.load(FLOATS, x, place)
            for row, total in zip(rows, totals, strict=True):
                e.b.store(e.fma(e.load(FLOATS, row, place), read, e.b.load(total)), total)
        for number, total in enumerate(totals):
            e.store(e.sum(e.b.load(total)), to, 4 * number, align=4)

    return products


one, several = _products(1), _products(AT_ONCE)


@compiled
def run(thread, threads, frame, step):
    """The experts, of whatever token, that are this thread's share: some for all tokens, then the next ones."""
    source, width, weights = field(step, Score.SOURCE), field(step, Score.WIDTH), field(step, Score.WEIGHTS)
    experts, tokens = field(step, Score.EXPERTS), field(frame, Field.TOKENS)
    every = tokens * ((experts + AT_ONCE - 1) // AT_ONCE)
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, first = number % tokens, number // tokens * AT_ONCE
        x = source + token * width * 4
        to = field(step, Score.LOGITS) + token * field(step, Score.LOGITS_STRIDE)
        if first + AT_ONCE <= experts:
            several(x, weights + first * width * 4, width, to + 4 * first)
        else:
            for expert in range(first, experts):
                one(x, weights + expert * width * 4, width, to + 4 * expert)


SCORE = Operation(Score, run)

"""MIX: the parts of attention are joined and divided, and become the next matrix's values."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.attention_page import join
from lmworks.kernels.emit.scalars import compiled, field, long_at
from lmworks.kernels.emit.vectors import FLOATS, SINGLE, WORD, Emitter, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.operations.attend import first_seen, seen_to
from lmworks.kernels.operations.quantise import put_groups


class Mix(Operands):
    """Operands of MIX."""

    HEADS = auto()
    VALUE_DIM = auto()
    WINDOW = auto()
    """Tokens that each token sees, itself included; 0 for all before it."""
    ONWARD = auto()
    """1: as many tokens after it are seen, too."""
    SOURCE = auto()
    """1: of a source, whose pages are not shared."""
    SINKS = auto()
    """Address of float32 [heads]: the score of each head's sink, whose weight goes nowhere; 0 for none."""
    FLOATS = auto()
    """1: the result is kept in floats too (quantise.py); -1: in floats alone."""


@emitted(None, Int, Int, Int, Int)
def divide(e: Emitter, part: Value, width: Value, sink: Value, to: Value) -> None:
    """The mix of a part, divided by the sum of its weights and that of the sink whose score is at `sink`, unless that
    is 0."""
    end = e.plus(part, e.times(width, 4))
    total, factor = e.variable(e.load(SINGLE, end, 4, align=4)), e.variable(e.constant(1.0, SINGLE))
    with e.b.if_then(e.b.icmp_signed("!=", sink, e.constant(0))):
        most, score = e.load(SINGLE, end, align=4), e.load(SINGLE, sink, align=4)
        larger = e.b.select(e.b.fcmp_ordered(">", score, most), score, most)
        of_keys, of_sink = (
            e.b.extract_element(e.exp(e.splat(e.b.fsub(one, larger))), e.constant(0, WORD)) for one in (most, score)
        )
        e.b.store(e.b.fadd(e.b.fmul(e.b.load(total), of_keys), of_sink), total)
        e.b.store(of_keys, factor)
    inverse = e.splat(e.b.fdiv(e.b.load(factor), e.b.load(total)))
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as lane:
        place = e.times(lane, 64)
        e.store(e.b.fmul(e.load(FLOATS, part, place), inverse), to, place)


@compiled
def run(thread, threads, frame, step):
    """The heads, of whatever token, that are this thread's share: two at once where one is no whole group of 32."""
    heads, width = field(step, Mix.HEADS), field(step, Mix.VALUE_DIM)
    window, onward = field(step, Mix.WINDOW), field(step, Mix.ONWARD)
    parts, mixed, size = field(frame, Field.PARTS), field(frame, Field.MIXED), width * 4 + 64
    if field(step, Mix.SOURCE) != 0:
        parts = 1
    sinks, floats = field(step, Mix.SINKS), heads * width * field(step, Mix.FLOATS)
    span = 1 if width % 32 == 0 else 2
    scratch = field(frame, Field.SCRATCH) + thread * field(frame, Field.SCRATCH_STRIDE)
    values, scales, sums = field(frame, Field.VALUES), field(frame, Field.SCALES), field(frame, Field.SUMS)
    every = field(frame, Field.TOKENS) * (heads // span)
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, head = number // (heads // span), number % (heads // span) * span
        position = long_at(field(frame, Field.POSITIONS) + 8 * token)
        last = (seen_to(position, window, onward, long_at(field(frame, Field.ENDS) + 8 * token)) - 1) // 64
        pages = last - first_seen(position, window) // 64 + 1
        for one in range(span):
            part = mixed + (token * heads + head + one) * parts * size
            if parts > 1:
                for share in range(1, pages):
                    join(part, part + share * size, width)
            sink = sinks + 4 * (head + one) if sinks != 0 else 0
            divide(part, width, sink, scratch + one * width * 4)
        at, to = token * field(frame, Field.SCALES_STRIDE), values + token * field(frame, Field.VALUES_STRIDE)
        put_groups(scratch, head * width // 32, span * width // 32, to, scales + at, sums + 2 * at, floats)


MIX = Operation(Mix, run)

"""GATHER: the values of each token, once for each of its experts, in the order of the experts: an expert's rows follow
one another, those of earlier tokens first."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, inlined, long_at, put_field, put_long
from lmworks.kernels.emit.vectors import FLOATS_8, WORD, Emitter, Int, Value, emitted
from lmworks.kernels.frame import GROUP, RUN_BYTES, Field, Run
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.outliers import MOST


class Gather(Operands):
    """Operands of GATHER."""

    CHOSEN = auto()
    """Address of int64 [tokens, top_k]: each token's experts."""
    TOP_K = auto()
    EXPERTS = auto()
    WIDTH = auto()
    """Values of a token, a multiple of 32."""
    VALUE_BYTES = auto()
    """Of each: 1, or more where they are there in floats too (run/buffers.py)."""
    ROWS = auto()
    """Address of the frame of the rows (run/buffers.py), where the values go; TOKENS becomes their number."""
    PLACES = auto()
    """Address of int64 [tokens, top_k]: the rows that these become."""
    RUNS = auto()
    """Address of int64: how many experts have rows, and then [that many, Run]."""


@emitted(None, Int, Int, Int)
def copy_bytes(e: Emitter, x: Value, count: Value, to: Value) -> None:
    """`count` bytes, a multiple of 4."""
    whole = e.b.sdiv(count, e.constant(32))
    with e.loop(0, whole) as part:
        place = e.times(part, 32)
        e.store(e.load(FLOATS_8, x, place), to, place)
    with e.loop(e.times(whole, 8), e.b.sdiv(count, e.constant(4))) as part:
        place = e.times(part, 4)
        e.store(e.load(WORD, x, place, align=4), to, place, align=4)


@inlined
def copy_row(frame, token, rows, row, width, value_bytes):
    """A token's values, with their scales, outliers and sums, to a row."""
    groups, scale, to_scale = width // GROUP, field(frame, Field.SCALES_STRIDE), field(rows, Field.SCALES_STRIDE)
    values = field(rows, Field.VALUES) + row * field(rows, Field.VALUES_STRIDE)
    copy_bytes(field(frame, Field.VALUES) + token * field(frame, Field.VALUES_STRIDE), width * value_bytes, values)
    scales, sums = field(rows, Field.SCALES) + row * to_scale, field(rows, Field.SUMS) + 2 * row * to_scale
    copy_bytes(field(frame, Field.SCALES) + token * scale, 4 * (groups + MOST), scales)
    copy_bytes(field(frame, Field.SUMS) + 2 * token * scale, 8 * groups, sums)


@inlined
def begin_run(of_expert, expert, begin, end, rows):
    """Say of an expert which rows it has, and where their values are."""
    put_field(of_expert, Run.EXPERT, expert)
    put_field(of_expert, Run.BEGIN, begin)
    put_field(of_expert, Run.END, end)
    own, stride, scales = of_expert + 8 * Run.FRAME, field(rows, Field.VALUES_STRIDE), field(rows, Field.SCALES_STRIDE)
    put_field(own, Field.VALUES, field(rows, Field.VALUES) + begin * stride)
    put_field(own, Field.VALUES_STRIDE, stride)
    put_field(own, Field.SCALES, field(rows, Field.SCALES) + begin * scales)
    put_field(own, Field.SUMS, field(rows, Field.SUMS) + 2 * begin * scales)
    put_field(own, Field.SCALES_STRIDE, scales)


@compiled
def run(thread, threads, frame, step):
    """The rows that are this thread's share. Every thread counts the rows of all experts for itself."""
    chosen, top_k, experts = field(step, Gather.CHOSEN), field(step, Gather.TOP_K), field(step, Gather.EXPERTS)
    rows, places, runs = field(step, Gather.ROWS), field(step, Gather.PLACES), field(step, Gather.RUNS)
    every, width, value_bytes = (
        field(frame, Field.TOKENS) * top_k,
        field(step, Gather.WIDTH),
        field(step, Gather.VALUE_BYTES),
    )
    following = field(frame, Field.SCRATCH) + thread * field(frame, Field.SCRATCH_STRIDE)
    for expert in range(experts):
        put_field(following, expert, 0)
    for number in range(every):
        expert = long_at(chosen + 8 * number)
        put_field(following, expert, field(following, expert) + 1)
    used, row = 0, 0
    for expert in range(experts):
        size = field(following, expert)
        put_field(following, expert, row)
        if size != 0 and thread == 0:
            begin_run(runs + 8 + RUN_BYTES * used, expert, row, row + size, rows)
        used += size != 0
        row += size
    if thread == 0:
        put_long(runs, used)
        put_field(rows, Field.TOKENS, every)
    begin, end = every * thread // threads, every * (thread + 1) // threads
    for number in range(end):
        expert = long_at(chosen + 8 * number)
        row = field(following, expert)
        put_field(following, expert, row + 1)
        if number >= begin:
            put_long(places + 8 * number, row)
            copy_row(frame, number // top_k, rows, row, width, value_bytes)


GATHER = Operation(Gather, run)

"""EXPERT: each row that GATHER made times the matrix of its own expert. A chunk is a block of 16 rows of the matrix of
one expert that has rows, for all of these."""

from __future__ import annotations

from collections.abc import Sequence
from enum import auto

import numpy as np

from lmworks.basics.arrays import Int
from lmworks.kernels.emit.calls import call_multiply, function_of
from lmworks.kernels.emit.scalars import compiled, field, inlined, long_at
from lmworks.kernels.frame import RUN_BYTES, STEP_BYTES, WORDS, Field, FormEntry, Run
from lmworks.kernels.operation import Chunks, Operands, Operation
from lmworks.kernels.operations.matrix import Matrix, multiply_all, put_outputs, share_chunks
from lmworks.kernels.packed import Packed


class Expert(Operands):
    """Operands of EXPERT."""

    TABLE = auto()
    """Address of a MATRIX step for each expert, [experts, WORDS]; its output is counted from a row's OUTPUT on."""
    BLOCKS = auto()
    """Blocks of 16 rows of the largest."""
    ROWS = auto()
    """Address of the frame of the rows."""
    RUNS = auto()
    """Address of what GATHER says of the experts that have rows."""
    OUTPUT = auto()
    """Address of float32 [rows, 16 blocks or more]."""
    OUTPUT_STRIDE = auto()


def expert_tables(matrices: Sequence[Packed], biases: Sequence[int]) -> list[Int[np.ndarray, "experts words"]]:
    """Tables for experts whose matrices and biases (addresses, or 0) these are: one, or one for each part of their rows
    that a file stores in its own way."""
    steps = [multiply_all(one, 0, 0, bias) for one, bias in zip(matrices, biases, strict=True)]
    tables = []
    for part in range(max(map(len, steps))):
        table = np.zeros((len(steps), WORDS), np.int64)  # no blocks, where an expert has fewer parts
        for expert, parts in enumerate(steps):
            if part < len(parts):
                table[expert, 1 : 1 + len(parts[part].operands)] = parts[part].operands
        tables.append(table)
    return tables


@compiled
def count(frame, step):
    """Chunks; 0 where a helper's outbox has no room for the outputs of all rows."""
    blocks, rows = field(step, Expert.BLOCKS), field(field(step, Expert.ROWS), Field.TOKENS)
    fits = blocks * rows * 64 <= field(frame, Field.OUTBOX_STRIDE)
    return blocks * long_at(field(step, Expert.RUNS)) if fits else 0


@inlined
def run_of(step, number):
    """The address of what GATHER says of an expert: `number` counts those that have rows."""
    return field(step, Expert.RUNS) + 8 + RUN_BYTES * number


@compiled
def do(begin, end, thread, outbox, frame, step):
    """Chunks, to where they belong or to the outbox of a helper, one row after another."""
    blocks = field(step, Expert.BLOCKS)
    while begin < end:
        number, first = begin // blocks, begin % blocks
        last = min(blocks, first + end - begin)
        begin += last - first
        of_expert = run_of(step, number)
        own = field(step, Expert.TABLE) + field(of_expert, Run.EXPERT) * STEP_BYTES
        output, stride = field(step, Expert.OUTPUT) + field(own, Matrix.OUTPUT), field(step, Expert.OUTPUT_STRIDE)
        first_row, last_row = field(of_expert, Run.BEGIN), field(of_expert, Run.END)
        if outbox != 0:
            output = field(frame, Field.OUTBOX) + (outbox - 1) * field(frame, Field.OUTBOX_STRIDE)
            stride = blocks * 64
            last_row = min(last_row, field(frame, Field.OUTBOX_STRIDE) // stride)  # a late one may read later rows
        last = min(last, field(own, Matrix.BLOCKS))
        if first < last:
            function = function_of(frame, field(own, Matrix.FORM), FormEntry.MULTIPLY)
            output += first_row * stride
            rows = of_expert + 8 * Run.FRAME  # in a frame of their own the first is prefetched for (matrix.py)
            call_multiply(function, rows, own, first, last, 0, last_row - first_row, output, stride, 0)


@compiled
def take_over(chunk, helper, frame, step):
    """A helper's outputs of a chunk to where they belong."""
    blocks = field(step, Expert.BLOCKS)
    of_expert, block = run_of(step, chunk // blocks), chunk % blocks
    own = field(step, Expert.TABLE) + field(of_expert, Run.EXPERT) * STEP_BYTES
    found = field(frame, Field.OUTBOX) + (helper - 1) * field(frame, Field.OUTBOX_STRIDE)
    output, stride = field(step, Expert.OUTPUT) + field(own, Matrix.OUTPUT), field(step, Expert.OUTPUT_STRIDE)
    if block < field(own, Matrix.BLOCKS):
        for row in range(field(of_expert, Run.BEGIN), field(of_expert, Run.END)):
            put_outputs(found + (row * blocks + block) * 64, output + row * stride + block * 64, 0)


@compiled
def run(thread, threads, frame, step):
    """This thread's chunks; where each has its share, it is whole experts as far as that can be."""
    share_chunks(field(step, Expert.BLOCKS) * long_at(field(step, Expert.RUNS)), thread, threads, frame, step)


EXPERT = Operation(Expert, run, Chunks(count, do, take_over, reads_texts=False))

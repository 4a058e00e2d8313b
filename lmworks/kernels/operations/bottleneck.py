"""BOTTLENECK: D x of each token's own adapter (adapters.py), where the matrix that it stands beside will read it.

Tokens that follow one another and have the same adapter are multiplied together; those without one are passed over.
"""

from __future__ import annotations

from enum import auto

from lmworks.kernels.adapters import PackedAdapters
from lmworks.kernels.emit.calls import call_do, call_multiply, entry_of, function_of
from lmworks.kernels.emit.scalars import compiled, field, long_at
from lmworks.kernels.frame import STEP_BYTES, Entry, Field, FormEntry
from lmworks.kernels.operation import Chunks, Operands, Operation, Step
from lmworks.kernels.operations.matrix import Matrix, multiply, put_outputs
from lmworks.kernels.packed import ROWS


class Bottleneck(Operands):
    """Operands of BOTTLENECK."""

    TABLE = auto()
    """Address of a MATRIX step for each adapter by its number, [adapters, WORDS]; of no blocks for none."""
    BLOCKS = auto()
    """Blocks of 16 rows of the largest."""
    OUTPUT = auto()
    """Address of float32 [tokens, 16 blocks]."""
    OUTPUT_STRIDE = auto()


def bottleneck_step(adapters: PackedAdapters, scales: int, stride: int) -> Step:
    """Make the bottlenecks of tokens whose scales begin there and are `stride` bytes apart."""
    for number, one in adapters.numbered.items():
        operands = multiply(one.down, 0, 0).operands
        adapters.steps[number, 1 : 1 + len(operands)] = operands
    return Bottleneck.step(
        table=adapters.steps.ctypes.data,
        blocks=adapters.numbers // ROWS,
        output=scales + adapters.offset,
        output_stride=stride,
    )


@compiled
def count(frame, step):
    """Blocks of 16 rows; 0 where a helper's outbox has no room for the outputs of all tokens."""
    blocks = field(step, Bottleneck.BLOCKS)
    return blocks if blocks * field(frame, Field.TOKENS) * 64 <= field(frame, Field.OUTBOX_STRIDE) else 0


@compiled
def do(begin, end, thread, outbox, frame, step):
    """Blocks of rows for all tokens, to where they belong or to the outbox of a helper, one token after another."""
    output, stride = field(step, Bottleneck.OUTPUT), field(step, Bottleneck.OUTPUT_STRIDE)
    if outbox != 0:
        output = field(frame, Field.OUTBOX) + (outbox - 1) * field(frame, Field.OUTBOX_STRIDE)
        stride = field(step, Bottleneck.BLOCKS) * 64
    tokens, adapters, token = field(frame, Field.TOKENS), field(frame, Field.ADAPTERS), 0
    while token < tokens:
        first, number = token, long_at(adapters + 8 * token)
        while token < tokens and long_at(adapters + 8 * token) == number:
            token += 1
        own = field(step, Bottleneck.TABLE) + number * STEP_BYTES
        function = function_of(frame, field(own, Matrix.FORM), FormEntry.MULTIPLY)
        last = min(end, field(own, Matrix.BLOCKS))
        if begin < last:  # an adapter without a bottleneck here has no blocks, and no function either
            call_multiply(function, frame, own, begin, last, first, token, output, stride, 0)


@compiled
def take_over(block, helper, frame, step):
    """A helper's outputs of a block to where they belong; of tokens that have no such block, what nobody reads."""
    found = field(frame, Field.OUTBOX) + (helper - 1) * field(frame, Field.OUTBOX_STRIDE)
    for token in range(field(frame, Field.TOKENS)):
        at = found + (token * field(step, Bottleneck.BLOCKS) + block) * 64
        put_outputs(at, field(step, Bottleneck.OUTPUT) + token * field(step, Bottleneck.OUTPUT_STRIDE) + block * 64, 0)


@compiled
def run(thread, threads, frame, step):
    """This thread's share of the blocks, for all tokens."""
    blocks, function = field(step, Bottleneck.BLOCKS), field(entry_of(frame, step), Entry.DO)
    call_do(function, blocks * thread // threads, blocks * (thread + 1) // threads, thread, 0, frame, step)


BOTTLENECK = Operation(Bottleneck, run, Chunks(count, do, take_over, reads_texts=False))

"""BOTTLENECK: D x of each token's own adapter (adapters.py), where the matrix that it stands beside will read it; of a
bottleneck adapter through its activation.

Tokens that follow one another and have the same adapter are multiplied together; those without one are passed over.
"""

from __future__ import annotations

from enum import auto
from typing import Any

from lmworks.kernels.adapters import PackedAdapters
from lmworks.kernels.emit.calls import call_do, call_multiply, entry_of, function_of
from lmworks.kernels.emit.scalars import compiled, field, float_field, long_at
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import ACTIVATED, STEP_BYTES, Entry, Field, FormEntry
from lmworks.kernels.operation import Chunks, Operands, Operation, Step
from lmworks.kernels.operations.activate import ACTIVATIONS
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
    BETWEEN = auto()
    """Address of int64 [adapters, 2]: the place of its activation in ACTIVATED, from 1 on, or 0; and what the outputs
    are multiplied with before, float32 by its bits."""


def bottleneck_step(adapters: PackedAdapters, scales: int, stride: int) -> Step:
    """Make the bottlenecks of tokens whose scales begin there and are `stride` bytes apart."""
    for number, one in adapters.numbered.items():
        bias = 0 if one.between is None else int(one.between.bias.ctypes.data)
        operands = multiply(one.down, 0, 0, bias).operands
        adapters.steps[number, 1 : 1 + len(operands)] = operands
    return Bottleneck.step(
        table=adapters.steps.ctypes.data,
        blocks=adapters.numbers // ROWS,
        output=scales + adapters.offset,
        output_stride=stride,
        between=adapters.between.ctypes.data,
    )


def _activation(name: str) -> Any:
    apply = ACTIVATIONS[name]

    @emitted(None, Int, Int, Float)
    def activate(e: Emitter, x: Value, blocks: Value, size: Value) -> None:
        """The 16 numbers of each block at x, times `size`, in place."""
        size = e.splat(size)
        with e.loop(0, blocks) as block:
            at = e.times(block, 64)
            e.store(apply(e, e.b.fmul(e.load(FLOATS, x, at), size)), x, at)

    return activate


gelu, relu, silu, tanh = map(_activation, ACTIVATED)


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
            between = field(step, Bottleneck.BETWEEN) + 16 * number
            kind, size, blocks = field(between, 0), float_field(between, 1), last - begin
            for one in range(first, token if kind != 0 else first):
                at = output + one * stride + begin * 64
                if kind == 1:
                    gelu(at, blocks, size)
                elif kind == 2:
                    relu(at, blocks, size)
                elif kind == 3:
                    silu(at, blocks, size)
                else:
                    tanh(at, blocks, size)


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

"""MATRIX: packed weights times values in 8 bits.

Layout of a packed matrix, by blocks of 16 rows (an output each, one for every lane) and in them groups of 32 inputs:

    codes, 64 bytes a bit (quantisation.py). In 4 bits: in vector j, byte 4 r + i holds of row r the inputs 4 j + i
        (low nibble) and 4 (j + 4) + i (high nibble). In 8 bits: the input 4 j + i
    16 float16 scales, 16 float16 minima, one for each row:      weight = code * scale + minimum
        (of K-quants and their like after several groups, as whole numbers and their factors; of floats none)

So a lane holds four consecutive inputs of one row, which is what the byte product adds up: no sum runs across lanes,

    output += float(sum of code * value) * (scale * the token's scale) + minimum * the token's sum

Weights are unpacked once for up to 16 tokens; the products of 16 are those of tiles where there are any. A token's
result does not depend on its neighbours, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import auto
from typing import Any

from lmworks.kernels.emit.calls import call_do, call_multiply, entry_of, function_of
from lmworks.kernels.emit.float_tiles import product_by_tiles, put, use_float_tiles
from lmworks.kernels.emit.instructions import chosen
from lmworks.kernels.emit.product import Given, product, product_in_halves
from lmworks.kernels.emit.scalars import atomic_add, compiled, compiled_as, field, inlined
from lmworks.kernels.emit.tiles import TOKENS, leave_tiles, multiplies_floats, tiles_of
from lmworks.kernels.emit.vectors import FLOATS, LONG, Emitter, Int, Value, emitted
from lmworks.kernels.frame import ADAPTER_ENTRY_BYTES, GROUP, TAKEN, Entry, Field, FormEntry
from lmworks.kernels.operation import Chunks, Operands, Operation, Step
from lmworks.kernels.packed import Packed
from lmworks.kernels.quantisation import Quantisation, number_of

MOST_TOKENS = TOKENS
"""That are multiplied at once: those of a tile; of tiles of floats, twice as many."""
FEWEST_TOKENS, TOKENS_NEAR = 16, 256
"""That tiles of floats multiply, and whose values stay in a near cache while one block of rows after another is read:
of 1,024 tokens at once, half as many are multiplied in a second."""
SHARED = 64
"""Tokens from which on threads take one block after another instead of a share each: some 7 microseconds of work each.
With 16, a thread that loses its core is waited for more often than it helps."""
EACH_TAKES = 8
"""Blocks for each thread from which on it takes two at once."""
AHEAD, AHEAD_AVX2 = 4096, 1024
"""Bytes that weights are fetched in advance. On Emerald Rapids (AVX-512) a token's were read at 23 GB/s without, at 26
with 1,024, at 29 to 30 with 2,048 to 8,192, at 22 with 32,768; on Zen 3 (AVX2), before they lay in large pages, 1,024
brought 10 to 15 % and 4,096 nothing."""


class Matrix(Operands):
    """Operands of MATRIX."""

    WEIGHTS = auto()
    """Address of the packed matrix, at a multiple of 64."""
    FORM = auto()
    """The number of its quantisation (quantisation.py)."""
    BLOCKS = auto()
    """Blocks of 16 rows."""
    GROUPS = auto()
    """Groups of 32 inputs."""
    OUTPUT = auto()
    """Address of float32 [tokens, 16 blocks]; of logits, a new address in each run (tape.py)."""
    OUTPUT_STRIDE = auto()
    ADDS = auto()
    """1: the result is added to what stands there."""
    BIAS = auto()
    """Address of float32 [16 blocks], or 0."""
    OUTLIERS = auto()
    """Address of the matrix's table of outliers (outliers.py)."""
    ADAPTERS = auto()
    """Address of the table of the adapters whose bottlenecks are there already (adapters.py), or 0."""
    ADAPTER_COUNT = auto()
    """Entries of a block in that table."""
    APART = auto()
    """Blocks of rows that read values of their own, GROUPS groups, after which those of the next blocks follow; 0
    where all read the same."""


NO_ADAPTERS = (0, 0)


def multiply(
    matrix: Packed, output: int, stride: int, bias: int = 0, adds: bool = False, adapters: tuple[int, int] = NO_ADAPTERS
) -> Step:
    """Multiply the values with a matrix; `stride` is that of the output, in bytes, and `adapters` the address of their
    table and the entries of a block in it."""
    return Matrix.step(
        weights=matrix.address,
        form=number_of(matrix.form),
        blocks=matrix.blocks,
        groups=matrix.groups,
        output=output,
        output_stride=stride,
        adds=adds,
        bias=bias,
        outliers=matrix.for_weights.ctypes.data,
        adapters=adapters[0],
        adapter_count=adapters[1],
        apart=0 if matrix.heads == 1 else matrix.blocks // matrix.heads,
    )


def multiply_all(
    matrix: Packed, output: int, stride: int, bias: int = 0, adds: bool = False, adapters: tuple[int, int] = NO_ADAPTERS
) -> list[Step]:
    """The same, with the rows that are stored in another way too: a step for each part."""
    steps, done = [], 0
    for part in matrix.every:
        table = adapters[0] and adapters[0] + ADAPTER_ENTRY_BYTES * adapters[1] * done
        of_part = bias and bias + 64 * done, adds, (table, adapters[1])
        steps.append(multiply(part, output + 64 * done, stride, *of_part))
        done += part.blocks
    return steps


@dataclass(frozen=True)
class _Placed:
    """Where the operands of a block of rows are, from a certain token on."""

    given: Given
    weights: Value
    groups: Value
    bias: Value
    """Address of the block's, or 0."""
    adapter_count: Value
    output: Value


def _placed(
    e: Emitter, kind: Quantisation, frame: Value, step: Value, block: Value, token: Value, output: Value, stride: Value
) -> _Placed:
    """`output` is where the first token's outputs begin, `stride` the bytes to the next one's."""
    weights, groups, bias, outliers = _loaded(e, step, Matrix.WEIGHTS, Matrix.GROUPS, Matrix.BIAS, Matrix.OUTLIERS)
    adapters, adapter_count, apart = _loaded(e, step, Matrix.ADAPTERS, Matrix.ADAPTER_COUNT, Matrix.APART)
    values, values_stride, chosen_adapters = _loaded(e, frame, Field.VALUES, Field.VALUES_STRIDE, Field.ADAPTERS)
    scales, sums, scales_stride = _loaded(e, frame, Field.SCALES, Field.SUMS, Field.SCALES_STRIDE)
    begin = e.times(_parts_before(e, block, apart), groups)
    values = e.plus(e.plus(values, e.times(values_stride, token)), e.times(begin, GROUP))
    scales, sums = (
        e.plus(e.plus(one, e.times(scales_stride, e.times(token, size))), e.times(begin, 4 * size))
        for one, size in ((scales, 1), (sums, 2))
    )
    of_block = e.times(block, 64)  # of 16 float32
    output = e.plus(e.plus(output, e.times(stride, token)), of_block)
    adapters = _unless_zero(e, adapters, e.times(e.times(block, adapter_count), ADAPTER_ENTRY_BYTES))
    of_tokens = e.plus(chosen_adapters, e.times(token, 8))
    none = e.constant(0)
    ahead = e.constant(AHEAD_AVX2 if chosen().name == "avx2" else AHEAD)
    ahead = e.b.select(e.b.icmp_signed("==", token, none), ahead, none)
    given = Given(values, values_stride, scales, sums, scales_stride, outliers, adapters, of_tokens, ahead)
    runs = e.b.sdiv(groups, e.constant(kind.run))
    weights = e.plus(weights, e.times(e.times(runs, kind.run_bytes), block))
    return _Placed(given, weights, groups, _unless_zero(e, bias, of_block), adapter_count, output)


def _kernel(tokens: int, kind: Quantisation) -> Any:
    """One block of 16 rows times a number of tokens, from a certain one on."""

    @emitted(None, *[Int] * 7)
    def multiply_block(
        e: Emitter, frame: Value, step: Value, block: Value, token: Value, output: Value, stride: Value, adds: Value
    ) -> None:
        """`output` is where the first token's outputs begin, `stride` the bytes to the next one's; `adds` 1 to add."""
        at = _placed(e, kind, frame, step, block, token, output, stride)
        start = e.variable(e.constant(0.0, FLOATS))
        with e.b.if_then(e.b.icmp_signed("!=", at.bias, e.constant(0))):
            e.b.store(e.load(FLOATS, at.bias), start)
        in_halves = chosen().name == "avx2" and not kind.floats
        multiplied = product_in_halves if in_halves else product
        for number, total in enumerate(multiplied(e, tokens, kind, e.b.load(start), at.weights, at.groups, at.given)):
            put(e, total, e.plus(at.output, e.times(stride, number)), adds)

    return multiply_block


def _tile_kernel(blocks: int, sets: int, kind: Quantisation) -> Any:
    """Blocks of 16 rows times sets of up to 16 tokens, from a certain one on, of weights that are floats."""

    @emitted(None, *[Int] * 8)
    def multiply_tiles(
        e: Emitter,
        frame: Value,
        step: Value,
        block: Value,
        token: Value,
        tokens: Value,
        output: Value,
        stride: Value,
        adds: Value,
    ) -> None:
        at = _placed(e, kind, frame, step, block, token, output, stride)
        known = at.bias, at.weights, at.groups, at.given, at.adapter_count, at.output
        product_by_tiles(e, blocks, sets, tokens, *known, stride, adds)

    return multiply_tiles


def _loaded(e: Emitter, table: Value, *numbers: int) -> list[Value]:
    """Operands of a step, or entries of a frame, by their numbers."""
    return [e.load(LONG, table, 8 * number) for number in numbers]


def _parts_before(e: Emitter, block: Value, apart: Value) -> Value:
    """How many parts of the rows that read values of their own come before a block's; 0 where all read the same."""
    before = e.variable(e.constant(0))
    with e.b.if_then(e.b.icmp_signed("!=", apart, e.constant(0))):
        e.b.store(e.b.sdiv(block, apart), before)
    return e.b.load(before)


def _unless_zero(e: Emitter, address: Value, offset: Value) -> Value:
    """An address and an offset; 0 where the address is 0."""
    zero = e.constant(0)
    return e.b.select(e.b.icmp_signed("==", address, zero), zero, e.plus(address, offset))


def _multiply_blocks(frame, step, first, last, begin, end, output, stride, adds):
    """Blocks of rows, each times the tokens from `begin` on: 16 at once, then 8, 4, 3, 2 or one."""
    if end - begin >= MOST_TOKENS:
        use_tiles()  # noqa: F821 (multiply_of names these)
    for block in range(first, last):
        token = begin
        while token < end:
            left = end - token
            if left >= MOST_TOKENS:
                most(frame, step, block, token, output, stride, adds)  # noqa: F821
                token += MOST_TOKENS
            elif left >= 8:
                eight(frame, step, block, token, output, stride, adds)  # noqa: F821
                token += 8
            elif left >= 4:
                four(frame, step, block, token, output, stride, adds)  # noqa: F821
                token += 4
            elif left == 3:
                three(frame, step, block, token, output, stride, adds)  # noqa: F821
                token += 3
            elif left == 2:
                two(frame, step, block, token, output, stride, adds)  # noqa: F821
                token += 2
            else:
                one(frame, step, block, token, output, stride, adds)  # noqa: F821
                token += 1
    if end - begin >= MOST_TOKENS:
        leave_tiles()


def _multiply_by_float_tiles(frame, step, first, last, begin, end, output, stride, adds):
    """The same of weights that are floats, by tiles: some tokens after the others, and of them each two blocks of rows
    times each 32; of what is left, up to 16 tokens, four blocks at once."""
    if end - begin < FEWEST_TOKENS:
        few(frame, step, first, last, begin, end, output, stride, adds)  # noqa: F821
        return
    together = 2 if field(step, Matrix.APART) == 0 else 1  # blocks that read the same values
    token = begin
    while token < end:
        left = min(end - token, TOKENS_NEAR)
        if left >= 2 * TOKENS:
            left, in_first, in_second = left // (2 * TOKENS) * 2 * TOKENS, TOKENS, TOKENS
        else:
            in_first = min(left, TOKENS)
            in_second = left - in_first
        use_float_tiles(in_first, in_second if in_second > 0 else in_first)
        block = first
        while block < last and in_second > 0:
            blocks = min(last - block, together)
            for at in range(token, token + left, 2 * TOKENS):
                tokens = in_first + in_second
                if blocks == 2:
                    two_by_two(frame, step, block, at, tokens, output, stride, adds)  # noqa: F821
                else:
                    one_by_two(frame, step, block, at, tokens, output, stride, adds)  # noqa: F821
            block += blocks
        while block < last:
            if last - block >= 4 and together > 1:
                four_by_one(frame, step, block, token, left, output, stride, adds)  # noqa: F821
                block += 4
            else:
                one_by_one(frame, step, block, token, left, output, stride, adds)  # noqa: F821
                block += 1
        token += left
    leave_tiles()


def multiply_of(kind: Quantisation) -> Any:
    """What multiplies a matrix of this quantisation, to be compiled: (frame, step, first block, last, first
    token, last, output, stride, adds). It is called once for many blocks: a call takes 2 % of a block of 16 tokens."""
    sizes = {"one": 1, "two": 2, "three": 3, "four": 4, "eight": 8, "most": MOST_TOKENS}
    kernels = {name: _kernel(tokens, kind) for name, tokens in sizes.items()}
    few = compiled_as(_multiply_blocks, f"multiply_{kind.name}", **kernels, use_tiles=tiles_of(kind))
    if not multiplies_floats(kind):
        return few
    pairs = {"two_by_two": (2, 2), "one_by_two": (1, 2), "four_by_one": (4, 1), "one_by_one": (1, 1)}
    by_tiles = {name: _tile_kernel(blocks, sets, kind) for name, (blocks, sets) in pairs.items()}
    return compiled_as(_multiply_by_float_tiles, f"multiply_{kind.name}_by_tiles", few=few, **by_tiles)


@compiled
def count(frame, step):
    """Blocks of 16 rows; 0 where a helper's outbox has no room for the outputs of all tokens."""
    blocks = field(step, Matrix.BLOCKS)
    return blocks if blocks * field(frame, Field.TOKENS) * 64 <= field(frame, Field.OUTBOX_STRIDE) else 0


@compiled
def do(begin, end, thread, outbox, frame, step):
    """Blocks of rows for all tokens, to the step's output or to the outbox of a helper, one token after another."""
    output, stride, adds = field(step, Matrix.OUTPUT), field(step, Matrix.OUTPUT_STRIDE), field(step, Matrix.ADDS)
    if outbox != 0:
        output = field(frame, Field.OUTBOX) + (outbox - 1) * field(frame, Field.OUTBOX_STRIDE)
        stride, adds = field(step, Matrix.BLOCKS) * 64, 0
    tokens, function = field(frame, Field.TOKENS), function_of(frame, field(step, Matrix.FORM), FormEntry.MULTIPLY)
    call_multiply(function, frame, step, begin, end, 0, tokens, output, stride, adds)


@emitted(None, Int, Int, Int)
def put_outputs(e: Emitter, found: Value, to: Value, adds: Value) -> None:
    """16 outputs of a helper to where they belong."""
    new = e.load(FLOATS, found)
    e.store(e.b.select(e.b.icmp_signed("!=", adds, e.constant(0)), e.b.fadd(e.load(FLOATS, to), new), new), to)


@compiled
def take_over(block, helper, frame, step):
    """A helper's outputs of a block to where they belong."""
    found = field(frame, Field.OUTBOX) + (helper - 1) * field(frame, Field.OUTBOX_STRIDE)
    for token in range(field(frame, Field.TOKENS)):
        at = found + (token * field(step, Matrix.BLOCKS) + block) * 64
        to = field(step, Matrix.OUTPUT) + token * field(step, Matrix.OUTPUT_STRIDE) + block * 64
        put_outputs(at, to, field(step, Matrix.ADDS))


@inlined
def share_chunks(chunks, thread, threads, frame, step):
    """This thread's chunks of a step.

    For few tokens each thread has its share, which it reads from end to end. For many, whoever is done takes the next
    chunk (the barrier counts them): cores are not alike, and not always undisturbed.
    """
    function = field(entry_of(frame, step), Entry.DO)
    if threads > 1 and field(frame, Field.TOKENS) >= SHARED:
        size = 2 if chunks >= EACH_TAKES * threads else 1  # tiles of floats multiply two blocks together
        chunk = size * atomic_add(field(frame, Field.BARRIER) + TAKEN, 1)
        while chunk < chunks:
            call_do(function, chunk, min(chunk + size, chunks), thread, 0, frame, step)
            chunk = size * atomic_add(field(frame, Field.BARRIER) + TAKEN, 1)
    else:
        call_do(function, chunks * thread // threads, chunks * (thread + 1) // threads, thread, 0, frame, step)


@compiled
def run(thread, threads, frame, step):
    """This thread's blocks of rows, for all tokens."""
    share_chunks(field(step, Matrix.BLOCKS), thread, threads, frame, step)


MATRIX = Operation(Matrix, run, Chunks(count, do, take_over, reads_texts=False))

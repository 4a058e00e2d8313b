"""Packed weights times activations in 8 bits.

Layout of a packed matrix, by blocks of 16 rows (an output each, one for every lane) and in them groups of 32 inputs:

    4 bits   4 x 64 bytes: in vector j, byte 4 r + i holds of row r the inputs 4 j + i (low nibble) and 4 (j + 4) + i (high)
    8 bits   8 x 64 bytes: in vector j, byte 4 r + i holds of row r the input 4 j + i, plus 128
             16 float16 scales, 16 float16 minima, one for each row:      weight = code * scale + minimum

A lane so holds four consecutive inputs of one row, which is what the byte product adds up: there is no sum across lanes,

    output += float(sum of code * value) * (scale * the token's scale) + minimum * the token's sum

Weights are unpacked once for up to 16 tokens. The sum of each output runs over the groups, then over the outliers (outliers.py) and
the bottleneck of an adapter (adapters.py), which are multiplied as they are, in order, whatever the number of tokens, so that a token's
result does not depend on its neighbours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lmworks.kernels.claims import BITS, MASK, helper_of, mark, next_units
from lmworks.kernels.frame import ENTRY_BYTES, MAIL_BEGIN, TAKEN, Field, group_bytes
from lmworks.kernels.frame import WORDS as STEP_WORDS
from lmworks.kernels.instructions import chosen
from lmworks.kernels.scalars import atomic_add, compiled, field, inlined, put_long
from lmworks.kernels.vectors import (
    FLOATS,
    FLOATS_8,
    HALVES,
    HALVES_8,
    LONG,
    WORD,
    WORDS,
    WORDS_8,
    Int,
    Value,
    Writer,
    emitted,
)

ROWS, GROUP = 16, 32
TOKENS, BARRIER, MAIL, MAIL_STRIDE = (int(one) for one in (Field.TOKENS, Field.BARRIER, Field.MAIL, Field.MAIL_STRIDE))
OUTPUT, OUTPUT_STRIDE, ADDS = 5, 6, 7
"""Words of a step."""
MOST_TOKENS = 16
SHARED = 64
"""Tokens from which on blocks are not dealt out, but taken: some 7 microseconds of work each. With 16, a thread that loses its core
is waited for more often than it helps."""
AHEAD, AHEAD_AVX2 = 4096, 1024
"""Bytes that weights are asked for in advance. On Emerald Rapids (AVX-512) a token's were read at 23 GB/s without, at 26 with 1,024, at 29 to 30
with 2,048 to 8,192, at 22 with 32,768; on Zen 3 (AVX2), before they lay in large pages, 1,024 brought 10 to 15 % and 4,096 nothing."""


@dataclass(frozen=True)
class Given:
    """Addresses and strides of what is multiplied (quantised.py)."""

    values: Value
    values_stride: Value
    scales: Value
    sums: Value
    scales_stride: Value
    outliers: Value
    """Address of the table for weights (outliers.py)."""
    adapter: Value
    """Address of the block's entry (adapters.py), or 0."""
    ahead: Value
    """How far behind a group the one lies that is asked for: 0, itself, for the tokens behind the first, which find all in the cache."""


def _kernel(tokens: int, bits: int) -> Any:
    """One block of 16 rows times so many tokens, from a certain one on: step and frame are those of the tape (frame.py)."""

    @emitted(None, Int, Int, Int, Int)
    def multiply(w: Writer, frame: Value, step: Value, block: Value, token: Value) -> None:
        weights, _, _, groups, output, output_stride, adds, bias, outliers, adapter = (
            w.load(LONG, step, 8 * operand) for operand in range(1, 11)
        )
        values, values_stride, scales, sums, scales_stride = (
            w.load(LONG, frame, 8 * entry)
            for entry in (Field.VALUES, Field.VALUES_STRIDE, Field.SCALES, Field.SUMS, Field.SCALES_STRIDE)
        )
        values = w.plus(values, w.times(values_stride, token))
        scales, sums = (w.plus(one, w.times(scales_stride, token)) for one in (scales, sums))
        of_block = w.times(block, 64)  # of 16 float32
        output = w.plus(w.plus(output, w.times(output_stride, token)), of_block)
        adapter = _unless_zero(w, adapter, w.times(block, ENTRY_BYTES))
        avx2, none = chosen().name == "avx2", w.constant(0)
        ahead = w.b.select(w.b.icmp_signed("==", token, none), w.constant(AHEAD_AVX2 if avx2 else AHEAD), none)
        given = Given(values, values_stride, scales, sums, scales_stride, outliers, adapter, ahead)
        weights = w.plus(weights, w.times(w.times(groups, group_bytes(bits)), block))
        start = w.variable(w.constant(0.0, FLOATS))
        with w.b.if_then(w.b.icmp_signed("!=", bias, w.constant(0))):
            w.b.store(w.load(FLOATS, bias, of_block), start)
        product = _product_in_halves if avx2 else _product
        totals = product(w, tokens, bits, w.b.load(start), weights, groups, given)
        is_sum = w.b.icmp_signed("!=", adds, w.constant(0))
        for number, total in enumerate(totals):
            place = w.plus(output, w.times(output_stride, number))
            with w.b.if_else(is_sum) as (yes, no):
                with yes:
                    w.store(w.b.fadd(w.load(FLOATS, place), total), place)
                with no:
                    w.store(total, place)

    return multiply


def _unless_zero(w: Writer, address: Value, offset: Value) -> Value:
    """An address and an offset; 0 where the address is 0."""
    zero = w.constant(0)
    return w.b.select(w.b.icmp_signed("==", address, zero), zero, w.plus(address, offset))


def _product(
    w: Writer, tokens: int, bits: int, start: Value, weights: Value, groups: Value, given: Given
) -> list[Value]:
    """Each token's 16 outputs, begun at `start`, with the totals of all tokens in registers."""
    totals = [w.variable(w.constant(0.0, FLOATS)) for _ in range(tokens)]
    for total in totals:
        w.b.store(start, total)
    with w.loop(0, groups) as group:
        at = w.plus(weights, w.times(group, group_bytes(bits)))
        _ask(w, at, bits, given.ahead)
        codes = _codes(w, [w.load(WORDS, at, 64 * vector, align=64) for vector in range(bits)])
        scale, minimum = w.load_halves(at, 64 * bits), w.load_halves(at, 64 * bits + 32)
        of_group, of_values = w.times(group, 4), w.times(group, GROUP)
        at_once = tokens if tokens <= 8 else 1  # registers: a sum and a total of each token, and 8 of codes
        for first in range(0, tokens, at_once):
            side = range(first, first + at_once)
            values = [w.plus(w.plus(given.values, w.times(given.values_stride, token)), of_values) for token in side]
            dots = _dots(w, codes, values, chains=2 if tokens == 1 else 1)
            for token, dot in zip(side, dots, strict=True):
                place = w.plus(w.times(given.scales_stride, token), of_group)
                factor = w.b.fmul(scale, w.load_splat(given.scales, place))
                sum_ = w.fma(w.b.sitofp(dot, FLOATS), factor, w.b.load(totals[token]))
                w.b.store(w.fma(minimum, w.load_splat(given.sums, place), sum_), totals[token])
    with w.loop(0, w.load(LONG, given.outliers)) as number:
        weight, behind = _outlier(w, bits, weights, number, given), w.times(w.b.add(groups, number), 4)
        for token, total in enumerate(totals):
            place = w.plus(w.times(given.scales_stride, token), behind)
            w.b.store(w.fma(weight, w.load_splat(given.scales, place), w.b.load(total)), total)
    with _adapter(w, given) as (up, behind):
        weight = up(0, FLOATS)
        for token, total in enumerate(totals):
            place = w.plus(w.times(given.scales_stride, token), behind)
            w.b.store(w.fma(weight, w.load_splat(given.scales, place), w.b.load(total)), total)
    return [w.b.load(total) for total in totals]


@contextlib.contextmanager
def _adapter(w: Writer, given: Given) -> Iterator[tuple[Callable[[int, Any], Value], Value]]:
    """For each number of the bottleneck, what it is multiplied with for the rows from one on, and where it stands behind the scales."""
    with w.b.if_then(w.b.icmp_signed("!=", given.adapter, w.constant(0))):
        count, ups, begin = (w.load(LONG, given.adapter, place) for place in (0, 8, 16))
        with w.loop(0, count) as number:
            at = w.plus(ups, w.times(number, 32))
            yield lambda row, kind: w.load_brains(at, 2 * row, kind), w.plus(begin, w.times(number, 4))


def _ask(w: Writer, group: Value, bits: int, ahead: Value) -> None:
    """Have the group that lies so many bytes behind this one fetched: the processor's own reading ahead ends with a page of 4 KB."""
    for line in range(bits + 1):
        w.prefetch(group, w.plus(ahead, 64 * line))


def _codes(w: Writer, packed: list[Value]) -> list[Value]:
    """Eight vectors: in each lane four consecutive inputs of its row."""
    if len(packed) == 8:
        return packed
    kind = packed[0].type
    low, four = w.constant(0x0F0F0F0F, kind), w.constant(4, kind)
    return [w.b.and_(one, low) for one in packed] + [w.b.and_(w.b.lshr(one, four), low) for one in packed]


def _outlier(w: Writer, bits: int, weights: Value, number: Value, given: Given, half: int | None = None) -> Value:
    """The weights of an outlier, in float32: of all 16 rows, or of half of them."""
    words, halves = (WORDS, HALVES) if half is None else (WORDS_8, HALVES_8)
    entry, of_half = w.plus(given.outliers, w.plus(w.times(number, 24), 8)), half or 0
    at, shift, ends = (w.load(LONG, entry, place) for place in (0, 8, 16))
    code = w.load(words, w.plus(weights, at), 32 * of_half, align=32)
    code = w.b.lshr(code, w.splat(w.b.trunc(shift, WORD), words.count))
    code = w.b.sitofp(w.b.and_(code, w.constant((1 << bits) - 1, words)), FLOATS if half is None else FLOATS_8)
    ends = w.plus(weights, ends)
    return w.fma(code, *(w.load_halves(ends, 16 * of_half + place, halves) for place in (0, 32)))


def _dots(w: Writer, codes: list[Value], values: list[Value], chains: int) -> list[Value]:
    """The sums of 32 products in each lane, for the values at each address side by side; with one token in two chains, so that none
    waits for the one before it."""
    sums = [[w.constant(0, WORDS) for _ in range(chains)] for _ in values]
    for vector, code in enumerate(codes):
        for one, value in zip(sums, values, strict=True):
            one[vector % chains] = w.dot_bytes(one[vector % chains], code, w.load_splat(value, 4 * vector, WORD))
    return [one[0] if chains == 1 else w.b.add(one[0], one[1]) for one in sums]


def _product_in_halves(
    w: Writer, tokens: int, bits: int, start: Value, weights: Value, groups: Value, given: Given
) -> list[Value]:
    """The same for AVX2, which has 16 registers of 256 bits: the codes of 8 rows fill half of them, the tokens take turns, and
    totals lie in memory."""
    totals = w.memory(tokens)
    for token in range(tokens):
        w.store(start, totals, 64 * token)
    with w.loop(0, groups) as group:
        at = w.plus(weights, w.times(group, group_bytes(bits)))
        of_group, of_values = w.times(group, 4), w.times(group, GROUP)
        _ask(w, at, bits, given.ahead)
        for half in (0, 1):
            codes = _codes(w, [w.load(WORDS_8, at, 64 * vector + 32 * half, align=32) for vector in range(bits)])
            if (
                bits == 8
            ):  # AVX2's product of bytes takes no more than 7 bits and a sign: less 128, by 0x80 in each byte
                codes = [w.b.xor(one, w.constant(-0x7F7F7F80, WORDS_8)) for one in codes]
            scale, minimum = (w.load_halves(at, 64 * bits + 16 * half + end, HALVES_8) for end in (0, 32))
            with w.loop(0, tokens) as token:
                value = w.plus(w.plus(given.values, w.times(given.values_stride, token)), of_values)
                place = w.plus(w.times(given.scales_stride, token), of_group)
                total = w.plus(totals, w.plus(w.times(token, 64), 32 * half))
                dot = w.b.sitofp(_dot_of_half(w, codes, value, bits), FLOATS_8)
                sum_ = w.fma(dot, w.b.fmul(scale, w.load_splat(given.scales, place, lanes=8)), w.load(FLOATS_8, total))
                if bits == 4:  # of 8 the minimum is -128 times the scale
                    sum_ = w.fma(minimum, w.load_splat(given.sums, place, lanes=8), sum_)
                w.store(sum_, total)
    with w.loop(0, w.load(LONG, given.outliers)) as number:
        behind = w.times(w.b.add(groups, number), 4)
        for half in (0, 1):
            weight = _outlier(w, bits, weights, number, given, half)
            with w.loop(0, tokens) as token:
                place = w.plus(w.times(given.scales_stride, token), behind)
                total = w.plus(totals, w.plus(w.times(token, 64), 32 * half))
                value = w.load_splat(given.scales, place, lanes=8)
                w.store(w.fma(weight, value, w.load(FLOATS_8, total)), total)
    with _adapter(w, given) as (up, behind):
        for half in (0, 1):
            weight = up(8 * half, FLOATS_8)
            with w.loop(0, tokens) as token:
                place = w.plus(w.times(given.scales_stride, token), behind)
                total = w.plus(totals, w.plus(w.times(token, 64), 32 * half))
                value = w.load_splat(given.scales, place, lanes=8)
                w.store(w.fma(weight, value, w.load(FLOATS_8, total)), total)
    return [w.load(FLOATS, totals, 64 * token) for token in range(tokens)]


def _dot_of_half(w: Writer, codes: list[Value], value: Value, bits: int) -> Value:
    """The sums of 32 products in each of 8 lanes. Those of codes up to 15 are added up in 16 bits, which they fit
    (16 * 15 * 127 < 2^15), and widened once; those of signed codes after each product of bytes."""
    total = None
    for vector, code in enumerate(codes):
        four = w.load_splat(value, 4 * vector, WORD, lanes=8)
        sums = w.pairs(code, four) if bits == 4 else w.widened(w.signed_pairs(code, four))
        total = sums if total is None else w.b.add(total, sums)
    return w.widened(total) if bits == 4 else total


def _for_any(bits: int) -> Any:
    """A block of rows times any number of tokens: 16 at once, then 8, 4, 3, 2 or one."""
    one, two, three, four, eight, most = (_kernel(tokens, bits) for tokens in (1, 2, 3, 4, 8, MOST_TOKENS))

    @inlined
    def multiply(frame, step, block, tokens):
        token = 0
        while token < tokens:
            left = tokens - token
            if left >= 16:
                most(frame, step, block, token)
                token += 16
            elif left >= 8:
                eight(frame, step, block, token)
                token += 8
            elif left >= 4:
                four(frame, step, block, token)
                token += 4
            elif left == 3:
                three(frame, step, block, token)
                token += 3
            elif left == 2:
                two(frame, step, block, token)
                token += 2
            else:
                one(frame, step, block, token)
                token += 1

    return multiply


multiply_4, multiply_8 = (_for_any(bits) for bits in (4, 8))


@emitted(None, Int, Int, Int)
def take_over(w: Writer, found: Value, to: Value, adds: Value) -> None:
    """16 outputs that a helper found."""
    new = w.load(FLOATS, found)
    w.store(w.b.select(w.b.icmp_signed("!=", adds, w.constant(0)), w.b.fadd(w.load(FLOATS, to), new), new), to)


@inlined
def own_step(thread, frame, step):
    """A helper's step, whose outputs stand in its mail, one token behind another."""
    own = field(frame, MAIL) + (thread - 1) * field(frame, MAIL_STRIDE)
    for word in range(STEP_WORDS):
        put_long(own + 8 * word, field(step, word))
    put_long(own + 8 * OUTPUT, own + MAIL_BEGIN)
    put_long(own + 8 * OUTPUT_STRIDE, field(step, 3) * 64)
    put_long(own + 8 * ADDS, 0)
    return own


@compiled
def matrix(thread, threads, frame, step, epoch):
    """This thread's blocks of rows, for all tokens.

    For few tokens each thread has its share, which it reads from end to end. For many, whoever is done takes the next block
    (the barrier counts them): cores are not alike, and not always undisturbed. Where a thread leads, `epoch` is the step's number.
    """
    blocks, tokens = field(step, 3), field(frame, TOKENS)
    shared = epoch == 0 and threads > 1 and tokens >= SHARED
    begin, end = blocks * thread // threads, blocks * (thread + 1) // threads
    mine = own_step(thread, frame, step) if epoch != 0 and thread != 0 else step
    while True:
        if epoch != 0:
            units = next_units(thread, threads, frame, epoch)
            if units == 0:
                break
            begin, end = abs(units) >> BITS, abs(units) & MASK
            if units < 0:
                for block in range(begin, end):
                    found = field(frame, MAIL) + (helper_of(threads, frame, block) - 1) * field(frame, MAIL_STRIDE)
                    for token in range(tokens):
                        at = found + MAIL_BEGIN + (token * blocks + block) * 64
                        to = field(step, OUTPUT) + token * field(step, OUTPUT_STRIDE) + block * 64
                        take_over(at, to, field(step, ADDS))
                continue
        elif shared:
            begin = atomic_add(field(frame, BARRIER) + TAKEN, 1)
            end = min(begin + 1, blocks)
        for block in range(begin, end):
            if field(step, 2) == 4:
                multiply_4(frame, mine, block, tokens)
            else:
                multiply_8(frame, mine, block, tokens)
            if epoch != 0 and thread != 0 and not mark(thread, threads, frame, epoch, block):
                break
        if epoch == 0 and (not shared or end == blocks):
            break

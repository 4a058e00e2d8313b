"""Packed weights times activations in 8 bits.

Layout of a packed matrix, by blocks of 16 rows (an output each, one for every lane) and in them groups of 32 inputs:

    4 bits   4 x 64 bytes: in vector j, byte 4 r + i holds of row r the inputs 4 j + i (low nibble) and 4 (j + 4) + i (high)
    8 bits   8 x 64 bytes: in vector j, byte 4 r + i holds of row r the input 4 j + i, plus 128
             16 float16 scales, 16 float16 minima, one for each row:      weight = code * scale + minimum

A lane so holds four consecutive inputs of one row, which is what the byte product adds up: there is no sum across lanes,

    output += float(sum of code * value) * (scale * the token's scale) + minimum * the token's sum

Weights are unpacked once for up to 16 tokens. The sum of each output runs over the groups in order, whatever the number of
tokens, so that a token's result does not depend on its neighbours.
"""

from __future__ import annotations

from typing import Any

from lmworks.kernels.instructions import chosen
from lmworks.kernels.scalars import inlined
from lmworks.kernels.vectors import FLOATS, WORD, WORDS, Int, Value, Writer, dot_signed_avx2, emitted

ROWS, GROUP = 16, 32
MOST_TOKENS = 16


def group_bytes(bits: int) -> int:
    """Bytes of a group of 16 x 32 weights: codes, scales, minima."""
    return 64 * bits + 64


def _kernel(tokens: int, bits: int) -> Any:
    """One block of 16 rows times so many tokens."""

    @emitted(None, *[Int] * 11)
    def multiply(
        w: Writer,
        weights: Value,
        groups: Value,
        values: Value,
        values_stride: Value,
        scales: Value,
        sums: Value,
        scales_stride: Value,
        output: Value,
        output_stride: Value,
        adds: Value,
        bias: Value,
    ) -> None:
        start = w.variable(w.constant(0.0, FLOATS))
        with w.b.if_then(w.b.icmp_signed("!=", bias, w.constant(0))):
            w.b.store(w.load(FLOATS, bias), start)
        totals = [w.variable(w.constant(0.0, FLOATS)) for _ in range(tokens)]
        for total in totals:
            w.b.store(w.b.load(start), total)
        with w.loop(0, groups) as group:
            at = w.plus(weights, w.times(group, group_bytes(bits)))
            codes = _codes(w, at, bits)
            scale, minimum = w.load_halves(at, 64 * bits), w.load_halves(at, 64 * bits + 32)
            of_group, of_values = w.times(group, 4), w.times(group, GROUP)
            for token, total in enumerate(totals):
                value = w.plus(w.plus(values, w.times(values_stride, token)), of_values)
                place = w.plus(w.times(scales_stride, token), of_group)
                dot = w.b.sitofp(_dot(w, codes, value, bits, chains=2 if tokens == 1 else 1), FLOATS)
                sum_ = w.fma(dot, w.b.fmul(scale, w.load_splat(scales, place)), w.b.load(total))
                if not _signed(bits):
                    sum_ = w.fma(minimum, w.load_splat(sums, place), sum_)
                w.b.store(sum_, total)
        is_sum = w.b.icmp_signed("!=", adds, w.constant(0))
        for token, total in enumerate(totals):
            place = w.plus(output, w.times(output_stride, token))
            with w.b.if_else(is_sum) as (yes, no):
                with yes:
                    w.store(w.b.fadd(w.load(FLOATS, place), w.b.load(total)), place)
                with no:
                    w.store(w.b.load(total), place)

    return multiply


def _signed(bits: int) -> bool:
    """AVX2 has no product of unsigned bytes up to 255 that does not saturate: 8-bit codes are multiplied signed."""
    return bits == 8 and chosen().name == "avx2"


def _codes(w: Writer, at: Value, bits: int) -> list[Value]:
    """Eight vectors: in each lane four consecutive inputs of its row."""
    packed = [w.load(WORDS, at, 64 * vector, align=64) for vector in range(bits)]
    if bits == 4:
        low = w.constant(0x0F0F0F0F, WORDS)
        return [w.b.and_(one, low) for one in packed] + [
            w.b.and_(w.b.lshr(one, w.constant(4, WORDS)), low) for one in packed
        ]
    if _signed(bits):
        return [w.b.xor(one, w.constant(-0x7F7F7F80, WORDS)) for one in packed]  # 0x80 in each byte: minus 128
    return packed


def _dot(w: Writer, codes: list[Value], value: Value, bits: int, chains: int) -> Value:
    """The sums of 32 products in each lane; with one token in two chains, so that none waits for the one before it."""
    sums = [w.constant(0, WORDS) for _ in range(chains)]
    for vector, code in enumerate(codes):
        four = w.load_splat(value, 4 * vector, WORD)
        sum_ = sums[vector % chains]
        sums[vector % chains] = dot_signed_avx2(w, sum_, code, four) if _signed(bits) else w.dot_bytes(sum_, code, four)
    return sums[0] if chains == 1 else w.b.add(sums[0], sums[1])


four_1, four_4, four_16 = (_kernel(tokens, 4) for tokens in (1, 4, MOST_TOKENS))
eight_1, eight_4, eight_16 = (_kernel(tokens, 8) for tokens in (1, 4, MOST_TOKENS))


@inlined
def matrix(
    thread, threads, bits, weights, blocks, groups, values, values_stride, scales, sums, scales_stride, tokens, output,
    output_stride, adds, bias,
):  # fmt: skip
    """This thread's share of the rows, for all tokens: 16 at once, then 4, then one by one."""
    size = (64 * bits + 64) * groups
    for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        at, of_bias, token = weights + block * size, bias + block * 64 if bias != 0 else 0, 0
        while token < tokens:
            x, s, m = values + token * values_stride, scales + token * scales_stride, sums + token * scales_stride
            y, left = output + block * 64 + token * output_stride, tokens - token
            if left >= 16:
                if bits == 4:
                    four_16(at, groups, x, values_stride, s, m, scales_stride, y, output_stride, adds, of_bias)
                else:
                    eight_16(at, groups, x, values_stride, s, m, scales_stride, y, output_stride, adds, of_bias)
                token += 16
            elif left >= 4:
                if bits == 4:
                    four_4(at, groups, x, values_stride, s, m, scales_stride, y, output_stride, adds, of_bias)
                else:
                    eight_4(at, groups, x, values_stride, s, m, scales_stride, y, output_stride, adds, of_bias)
                token += 4
            else:
                if bits == 4:
                    four_1(at, groups, x, values_stride, s, m, scales_stride, y, output_stride, adds, of_bias)
                else:
                    eight_1(at, groups, x, values_stride, s, m, scales_stride, y, output_stride, adds, of_bias)
                token += 1

"""Packed weights times values in 8 bits, one block of 16 rows: the instructions (the layout: operations/matrix.py).

The sum of each output runs over the groups, then over the outliers (outliers.py) and the bottleneck of an adapter
(adapters.py), which are multiplied in float32, in one order whatever the number of tokens.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lmworks.kernels.emit.vectors import (
    FLOATS,
    FLOATS_8,
    HALVES,
    HALVES_8,
    LONG,
    WORD,
    WORDS,
    WORDS_8,
    Emitter,
    Value,
)
from lmworks.kernels.quantisation import QUADS, Plane, Quantisation

GROUP = 32


@dataclass(frozen=True)
class Given:
    """Addresses and strides of what is multiplied (operations/quantise.py)."""

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
    """Bytes from a group to the one that is prefetched: 0 for tokens after the first, which find all in the cache."""


def product(
    e: Emitter, tokens: int, kind: Quantisation, start: Value, weights: Value, groups: Value, given: Given
) -> list[Value]:
    """Each token's 16 outputs, begun at `start`, with the totals of all tokens in registers."""
    totals = [e.variable(e.constant(0.0, FLOATS)) for _ in range(tokens)]
    for total in totals:
        e.b.store(start, total)
    with e.loop(0, groups) as group:
        at = e.plus(weights, e.times(group, kind.group_bytes))
        _prefetch(e, at, kind.bits, given.ahead)
        codes = _codes(e, kind, [e.load(WORDS, at, 64 * vector, align=64) for vector in range(kind.bits)])
        scale, minimum = e.load_halves(at, 64 * kind.bits), e.load_halves(at, 64 * kind.bits + 32)
        of_group, of_values = e.times(group, 4), e.times(group, GROUP)
        at_once = tokens if tokens <= 8 else 1  # registers: a sum and a total of each token, and 8 of codes
        for first in range(0, tokens, at_once):
            side = range(first, first + at_once)
            values = [e.plus(e.plus(given.values, e.times(given.values_stride, token)), of_values) for token in side]
            dots = _dots(e, codes, values, chains=2 if tokens == 1 else 1)
            for token, dot in zip(side, dots, strict=True):
                place = e.plus(e.times(given.scales_stride, token), of_group)
                factor = e.b.fmul(scale, e.load_splat(given.scales, place))
                sum_ = e.fma(e.b.sitofp(dot, FLOATS), factor, e.b.load(totals[token]))
                e.b.store(e.fma(minimum, e.load_splat(given.sums, place), sum_), totals[token])
    with e.loop(0, e.load(LONG, given.outliers)) as number:
        weight, offset = _outlier(e, kind, weights, number, given), e.times(e.b.add(groups, number), 4)
        for token, total in enumerate(totals):
            place = e.plus(e.times(given.scales_stride, token), offset)
            e.b.store(e.fma(weight, e.load_splat(given.scales, place), e.b.load(total)), total)
    with _adapter(e, given) as (up, offset):
        weight = up(0, FLOATS)
        for token, total in enumerate(totals):
            place = e.plus(e.times(given.scales_stride, token), offset)
            e.b.store(e.fma(weight, e.load_splat(given.scales, place), e.b.load(total)), total)
    return [e.b.load(total) for total in totals]


@contextlib.contextmanager
def _adapter(e: Emitter, given: Given) -> Iterator[tuple[Callable[[int, Any], Value], Value]]:
    """Each number of the bottleneck: its weights, of the rows from one on, and where it is, from a token's scales."""
    with e.b.if_then(e.b.icmp_signed("!=", given.adapter, e.constant(0))):
        count, ups, begin = (e.load(LONG, given.adapter, place) for place in (0, 8, 16))
        with e.loop(0, count) as number:
            at = e.plus(ups, e.times(number, 32))
            yield lambda row, kind: e.load_brains(at, 2 * row, kind), e.plus(begin, e.times(number, 4))


def _prefetch(e: Emitter, group: Value, bits: int, ahead: Value) -> None:
    """Prefetch the group `ahead` bytes after this one: the processor's own prefetching ends with a page of 4 KB."""
    for line in range(bits + 1):
        e.prefetch(group, e.plus(ahead, 64 * line))


def _codes(e: Emitter, kind: Quantisation, vectors: list[Value]) -> list[Value]:
    """Eight vectors of codes: in each lane four consecutive inputs of its row."""
    return [
        functools.reduce(e.b.or_, (_bits_of(e, plane, vectors, quad) for plane in kind.places)) for quad in range(QUADS)
    ]


def _bits_of(e: Emitter, plane: Plane, vectors: list[Value], quad: int) -> Value:
    """What a plane has of a quad's codes, at its place in the codes."""
    vector, shift = plane.place(quad)
    bits, kind = vectors[vector], vectors[vector].type
    bits = e.b.lshr(bits, e.constant(shift, kind)) if shift else bits
    bits = e.b.and_(bits, e.constant(plane.mask * 0x01010101, kind)) if plane.bits < 8 else bits
    return e.b.shl(bits, e.constant(plane.up, kind)) if plane.up else bits


def _outlier(
    e: Emitter, kind: Quantisation, weights: Value, number: Value, given: Given, half: int | None = None
) -> Value:
    """The weights of an outlier, in float32: of all 16 rows, or of half of them."""
    words, halves = (WORDS, HALVES) if half is None else (WORDS_8, HALVES_8)
    size, of_half, parts = 8 * (2 * len(kind.places) + 1), half or 0, []
    entry = e.plus(given.outliers, e.plus(e.times(number, size), 8))
    for at, plane in enumerate(kind.places):
        place, shift = e.load(LONG, entry, 16 * at), e.load(LONG, entry, 16 * at + 8)
        part = e.load(words, e.plus(weights, place), 32 * of_half, align=32)
        part = e.b.lshr(part, e.splat(e.b.trunc(shift, WORD), words.count))
        part = e.b.and_(part, e.constant(plane.mask, words))
        parts.append(e.b.shl(part, e.constant(plane.up, words)) if plane.up else part)
    code = e.b.sitofp(functools.reduce(e.b.or_, parts), FLOATS if half is None else FLOATS_8)
    ends = e.plus(weights, e.load(LONG, entry, size - 8))
    return e.fma(code, *(e.load_halves(ends, 16 * of_half + place, halves) for place in (0, 32)))


def _dots(e: Emitter, codes: list[Value], values: list[Value], chains: int) -> list[Value]:
    """The sums of 32 products in each lane, for the values at each address side by side; for one token in two chains,
    so that none waits for the one before it."""
    sums = [[e.constant(0, WORDS) for _ in range(chains)] for _ in values]
    for vector, code in enumerate(codes):
        for one, value in zip(sums, values, strict=True):
            one[vector % chains] = e.dot_bytes(one[vector % chains], code, e.load_splat(value, 4 * vector, WORD))
    return [one[0] if chains == 1 else e.b.add(one[0], one[1]) for one in sums]


def product_in_halves(
    e: Emitter, tokens: int, kind: Quantisation, start: Value, weights: Value, groups: Value, given: Given
) -> list[Value]:
    """The same for AVX2, which has 16 registers of 256 bits: the codes of 8 rows fill half of them, the tokens take
    turns, and totals are in memory."""
    totals = e.memory(tokens)
    for token in range(tokens):
        e.store(start, totals, 64 * token)
    with e.loop(0, groups) as group:
        at = e.plus(weights, e.times(group, kind.group_bytes))
        of_group, of_values = e.times(group, 4), e.times(group, GROUP)
        _prefetch(e, at, kind.bits, given.ahead)
        for half in (0, 1):
            codes = _codes(
                e, kind, [e.load(WORDS_8, at, 64 * vector + 32 * half, align=32) for vector in range(kind.bits)]
            )
            if kind.bits == 8:  # AVX2's product of bytes takes 7 bits and a sign: subtract 128, by 0x80 in each byte
                codes = [e.b.xor(one, e.constant(-0x7F7F7F80, WORDS_8)) for one in codes]
            scale, minimum = (e.load_halves(at, 64 * kind.bits + 16 * half + end, HALVES_8) for end in (0, 32))
            with e.loop(0, tokens) as token:
                value = e.plus(e.plus(given.values, e.times(given.values_stride, token)), of_values)
                place = e.plus(e.times(given.scales_stride, token), of_group)
                total = e.plus(totals, e.plus(e.times(token, 64), 32 * half))
                dot = e.b.sitofp(_dot_of_half(e, codes, value, kind.bits), FLOATS_8)
                sum_ = e.fma(dot, e.b.fmul(scale, e.load_splat(given.scales, place, lanes=8)), e.load(FLOATS_8, total))
                if kind.bits < 8:  # of 8 the minimum is -128 times the scale
                    sum_ = e.fma(minimum, e.load_splat(given.sums, place, lanes=8), sum_)
                e.store(sum_, total)
    with e.loop(0, e.load(LONG, given.outliers)) as number:
        offset = e.times(e.b.add(groups, number), 4)
        for half in (0, 1):
            weight = _outlier(e, kind, weights, number, given, half)
            with e.loop(0, tokens) as token:
                place = e.plus(e.times(given.scales_stride, token), offset)
                total = e.plus(totals, e.plus(e.times(token, 64), 32 * half))
                value = e.load_splat(given.scales, place, lanes=8)
                e.store(e.fma(weight, value, e.load(FLOATS_8, total)), total)
    with _adapter(e, given) as (up, offset):
        for half in (0, 1):
            weight = up(8 * half, FLOATS_8)
            with e.loop(0, tokens) as token:
                place = e.plus(e.times(given.scales_stride, token), offset)
                total = e.plus(totals, e.plus(e.times(token, 64), 32 * half))
                value = e.load_splat(given.scales, place, lanes=8)
                e.store(e.fma(weight, value, e.load(FLOATS_8, total)), total)
    return [e.load(FLOATS, totals, 64 * token) for token in range(tokens)]


def _dot_of_half(e: Emitter, codes: list[Value], value: Value, bits: int) -> Value:
    """The sums of 32 products in each of 8 lanes. Those of codes up to 15 are added up in 16 bits, where they fit
    (16 * 15 * 127 < 2^15), and widened once; those of larger codes after each product of bytes (2 * 127 * 127 fits)."""
    total = None
    for vector, code in enumerate(codes):
        four = e.load_splat(value, 4 * vector, WORD, lanes=8)
        sums = e.signed_pairs(code, four) if bits == 8 else e.pairs(code, four)
        sums = sums if bits <= 4 else e.widened(sums)
        total = sums if total is None else e.b.add(total, sums)
    return e.widened(total) if bits <= 4 else total

"""Packed weights times values in 8 bits, one block of 16 rows: the instructions (the layout: operations/matrix.py).

The sum of each output runs over the groups, then over the outliers (outliers.py) and the bottleneck of the token's
adapter (adapters.py), which are multiplied in float32, in one order whatever the number of tokens.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lmworks.kernels.emit import tiles
from lmworks.kernels.emit.instructions import chosen
from lmworks.kernels.emit.vectors import (
    BYTE,
    FLOATS,
    FLOATS_8,
    HALVES,
    HALVES_8,
    LONG,
    SINGLE,
    WORD,
    WORDS,
    WORDS_8,
    Emitter,
    Value,
    ir,
)
from lmworks.kernels.frame import ADAPTER_ENTRY_BYTES
from lmworks.kernels.quantisation import QUADS, Plane, Quantisation

GROUP = 32
TILED = 8
"""Groups that are multiplied by tiles before their products are added up."""
FLOAT_TOKENS, FLOAT_TOKENS_256 = 8, 2
"""Tokens side by side where weights are floats, each of them with two sums: of 32 registers of 512 bits, and of 16 of
256."""
Ends = tuple[Value, Value]
"""A scale and a minimum, of 16 rows or of 8."""


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
    adapters: Value
    """Address of the block's entries (adapters.py), or 0."""
    of_tokens: Value
    """Address of the numbers of the tokens' adapters."""
    ahead: Value
    """Bytes from a group to the one that is prefetched: 0 for tokens after the first, which find all in the cache."""


def product(
    e: Emitter, tokens: int, kind: Quantisation, start: Value, weights: Value, groups: Value, given: Given
) -> list[Value]:
    """Each token's 16 outputs, begun at `start`, with the totals of all tokens in registers."""
    totals = [e.variable(e.constant(0.0, FLOATS)) for _ in range(tokens)]
    for total in totals:
        e.b.store(start, total)
    by_tiles = tokens >= tiles.TOKENS and tiles.has_tiles()
    add = _add_floats if kind.floats else _add_by_tiles if by_tiles else _add_groups
    add(e, tokens, kind, weights, groups, given, totals)
    if not kind.floats:
        _add_outliers(e, kind, weights, groups, given, totals)
    with e.b.if_then(e.b.icmp_signed("!=", given.adapters, e.constant(0))):
        # In memory: a loop for each token, with the totals in registers, would cost registers where nothing is adapted.
        room = e.memory(tokens)
        for token, total in enumerate(totals):
            e.store(e.b.load(total), room, 64 * token)
        add_adapters(e, tokens, given, room, 64)
        for token, total in enumerate(totals):
            e.b.store(e.load(FLOATS, room, 64 * token), total)
    return [e.b.load(total) for total in totals]


def add_adapters(e: Emitter, tokens: Value, given: Given, room: Value, stride: int) -> None:
    """What adapters add to each token's totals of a block, which lie `stride` bytes apart in `room`."""
    with e.loop(0, tokens) as token:
        entry, at = _entry(e, given, token), e.plus(room, e.times(token, stride))
        with _each_up(e, given, token, entry) as (up, place):
            e.store(e.fma(up(0, FLOATS), e.load_splat(given.scales, place), e.load(FLOATS, at)), at)
        with _if_scaled(e, entry) as gains:
            gain, after = (e.load(FLOATS, gains, place) for place in (0, 64))
            e.store(e.fma(gain, e.load(FLOATS, at), after), at)


def _add_outliers(
    e: Emitter, kind: Quantisation, weights: Value, groups: Value, given: Given, totals: list[Value]
) -> None:
    """What is multiplied in float32 alone."""
    with e.loop(0, e.load(LONG, given.outliers)) as number:
        weight, offset = _outlier(e, kind, weights, number, given), e.times(e.b.add(groups, number), 4)
        for token, total in enumerate(totals):
            place = e.plus(e.times(given.scales_stride, token), offset)
            e.b.store(e.fma(weight, e.load_splat(given.scales, place), e.b.load(total)), total)


def _add_groups(
    e: Emitter, tokens: int, kind: Quantisation, weights: Value, groups: Value, given: Given, totals: list[Value]
) -> None:
    """Each group's products to the totals."""
    with _each_group(e, kind, weights, groups) as at:
        _prefetch(e, kind, at, given.ahead)
        codes = _codes(e, kind, _packed(e, kind, at))
        ends = _ends(e, kind, at.run, at.number)
        # Registers: the sums and a total of each token, and 8 of codes.
        at_once = tokens if tokens <= 8 // kind.parts else 1
        for first in range(0, tokens, at_once):
            side = range(first, first + at_once)
            values = [e.plus(e.plus(given.values, e.times(given.values_stride, token)), at.values) for token in side]
            for part in range(kind.parts):
                dots = _dots(e, kind, codes, values, part, chains=2 if tokens == 1 else 1)
                for token, dot in zip(side, dots, strict=True):
                    _add(e, kind, given, at, part, ends[part], token, dot, totals[token])


def _add_floats(
    e: Emitter, tokens: int, kind: Quantisation, weights: Value, groups: Value, given: Given, totals: list[Value]
) -> None:
    """The same of weights that are floats, times values that are: of each group two sums, of inputs 0, 2, 4, ... and
    1, 3, 5, ..."""
    at_once = FLOAT_TOKENS if chosen().name in ("amx", "avx512") else FLOAT_TOKENS_256
    floats = e.plus(given.values, e.times(groups, GROUP))
    with _each_group(e, kind, weights, groups) as at:
        _prefetch(e, kind, at, given.ahead)
        of_group = e.plus(floats, e.times(at.values, 2 if tiles.has_tiles() else 4))
        for first in range(0, tokens, at_once):
            side = range(first, min(first + at_once, tokens))
            values = [e.plus(of_group, e.times(given.values_stride, token)) for token in side]
            sums = [[e.constant(0.0, FLOATS)] * 2 for _ in side]
            for pair in range(GROUP // 2):
                of_pair = e.float_pairs(e.load(WORDS, at.codes, 64 * pair, align=64), kind.floats)
                for one, value in zip(sums, values, strict=True):
                    for place, (weight, factor) in enumerate(zip(of_pair, _float_pair(e, value, pair), strict=True)):
                        one[place] = e.fma(weight, factor, one[place])
            for token, (even, odd) in zip(side, sums, strict=True):
                e.b.store(e.b.fadd(e.b.load(totals[token]), e.b.fadd(even, odd)), totals[token])


def _float_pair(e: Emitter, values: Value, pair: int) -> tuple[Value, Value]:
    """Two neighbouring values, each in all lanes: of float32 numbers, or of bfloat16 where there are tiles."""
    if tiles.has_tiles():
        return e.float_pairs(e.load_splat(values, 4 * pair, WORD), "bfloat16")
    return e.load_splat(values, 8 * pair), e.load_splat(values, 8 * pair + 4)


def _add(
    e: Emitter, kind: Quantisation, given: Given, at: Group, part: int, ends: Ends, token: int, dot: Value, total: Value
) -> None:
    """A part's sums of products to a token's total."""
    scale, minimum = ends
    factor = e.b.fmul(scale, e.load_splat(given.scales, _place(e, given, token, at.group)))
    sum_ = e.fma(e.b.sitofp(dot, FLOATS), factor, e.b.load(total))
    e.b.store(e.fma(minimum, _sum_of(e, kind, given, token, at.group, part), sum_), total)


def _add_by_tiles(
    e: Emitter, tokens: int, kind: Quantisation, weights: Value, groups: Value, given: Given, totals: list[Value]
) -> None:
    """The same, some groups at a time: their codes, then all products, then the totals. What is stored for a tile, or
    by one, can be read only when it has reached the cache."""
    some = kind.run if kind.run > 1 else TILED
    codes_room, sums_room = e.memory(QUADS * some), e.memory(tokens * kind.parts * some)
    plain = kind.planes == (8,) and not kind.table  # codes that lie as a tile already
    with e.loop(0, e.b.sdiv(e.b.add(groups, e.constant(some - 1)), e.constant(some))) as chunk:
        first = e.times(chunk, some)
        count = e.smaller_integer(e.b.sub(groups, first), some)
        if not plain:
            with e.loop(0, count) as number:
                at = _group_at(e, kind, weights, first, number)
                for quad, codes in enumerate(_codes(e, kind, _packed(e, kind, at))):
                    e.store(codes, e.plus(codes_room, e.times(number, 64 * QUADS)), 64 * quad, align=64)
        with e.loop(0, count) as number:
            at = _group_at(e, kind, weights, first, number)
            _prefetch(e, kind, at, given.ahead)
            codes = at.codes if plain else e.plus(codes_room, e.times(number, 64 * QUADS))
            for part in range(kind.parts):
                tiles.multiply(
                    e,
                    e.plus(codes, part * 64 * QUADS // kind.parts),
                    e.plus(e.plus(given.values, at.values), part * GROUP // kind.parts),
                    given.values_stride,
                    e.plus(sums_room, e.times(e.plus(e.times(number, kind.parts), part), 64 * tokens)),
                )
        with e.loop(0, count) as number:
            at = _group_at(e, kind, weights, first, number)
            ends = _ends(e, kind, at.run, at.number)
            for part in range(kind.parts):
                sums = e.plus(sums_room, e.times(e.plus(e.times(number, kind.parts), part), 64 * tokens))
                for token, total in enumerate(totals):
                    dot = e.load(WORDS, sums, 64 * token, align=64)
                    _add(e, kind, given, at, part, ends[part], token, dot, total)


def _entry(e: Emitter, given: Given, token: Value) -> Value:
    """The address of the entry of a token's adapter, for the block."""
    number = e.load(LONG, given.of_tokens, e.times(token, 8), align=8)
    return e.plus(given.adapters, e.times(number, ADAPTER_ENTRY_BYTES))


@contextlib.contextmanager
def _if_scaled(e: Emitter, entry: Value) -> Iterator[Value]:
    """The address of the rows' factors, and of what is added after them, 64 bytes on, where an adapter has some."""
    gains = e.load(LONG, entry, 24, align=8)
    with e.b.if_then(e.b.icmp_signed("!=", gains, e.constant(0))):
        yield gains


@contextlib.contextmanager
def _each_up(
    e: Emitter, given: Given, token: Value, entry: Value
) -> Iterator[tuple[Callable[[int, Any], Value], Value]]:
    """Each number of a token's bottleneck: its weights, of the rows from one on, and where it is, from the first
    token's scales."""
    count, ups, begin = (e.load(LONG, entry, place, align=8) for place in (0, 8, 16))
    begin = e.plus(e.times(given.scales_stride, token), begin)
    with e.loop(0, count) as at:
        weights = e.plus(ups, e.times(at, 32))
        yield lambda row, kind: e.load_brains(weights, 2 * row, kind), e.plus(begin, e.times(at, 4))


@dataclass(frozen=True)
class Group:
    """Where a group of inputs is."""

    group: Value
    """Its number."""
    run: Value
    """The address of its run of groups."""
    number: Value
    """Its number in it."""
    codes: Value
    """The address of its codes."""
    values: Value
    """Where its inputs begin, from a token's first."""


def _group_at(e: Emitter, kind: Quantisation, weights: Value, first: Value, number: Value) -> Group:
    """The group with a number after the first, which begins a run."""
    group = e.b.add(first, number)
    if kind.run == 1:
        run = e.plus(weights, e.times(group, kind.run_bytes))
        return Group(group, run, e.constant(0), run, e.times(group, GROUP))
    run = e.plus(weights, e.times(e.b.sdiv(first, e.constant(kind.run)), kind.run_bytes))
    return Group(group, run, number, e.plus(run, e.times(number, kind.codes_bytes)), e.times(group, GROUP))


def _packed(e: Emitter, kind: Quantisation, at: Group) -> list[Value]:
    """A group's codes as they are packed."""
    return [e.load(WORDS, at.codes, 64 * vector, align=64) for vector in range(kind.bits)]


@contextlib.contextmanager
def _each_group(e: Emitter, kind: Quantisation, weights: Value, groups: Value) -> Iterator[Group]:
    """Each group of a block of rows, one run after another."""
    if kind.run == 1:
        with e.loop(0, groups) as number:
            yield _group_at(e, kind, weights, e.constant(0), number)
        return
    with e.loop(0, e.b.sdiv(groups, e.constant(kind.run))) as of_run, e.loop(0, kind.run) as number:
        yield _group_at(e, kind, weights, e.times(of_run, kind.run), number)


def _ends(e: Emitter, kind: Quantisation, run: Value, number: Value, half: int | None = None) -> list[Ends]:
    """Scale and minimum of each part of a group, of all 16 rows or of half of them."""
    return [_ends_of(e, kind, run, e.plus(e.times(number, kind.parts), part), half) for part in range(kind.parts)]


def _ends_of(e: Emitter, kind: Quantisation, run: Value, number: Value, half: int | None = None) -> Ends:
    """The scale with a number in its run, and its minimum."""
    first, halves = 8 * (half or 0), HALVES if half is None else HALVES_8
    scale = e.load_halves(run, kind.factors_at + 2 * first, halves)
    if kind.run > 1:
        scale = e.b.fmul(_whole_numbers(e, run, number, kind.scales_at + first, halves.count), scale)
    if kind.centre:
        return scale, e.b.fmul(scale, e.constant(-float(kind.centre), scale.type))
    minimum = e.load_halves(run, kind.factors_at + 32 + 2 * first, halves)
    if kind.run > 1:
        minimum = e.b.fmul(_whole_numbers(e, run, number, kind.minima_at + first, halves.count), minimum)
    return scale, minimum


def _whole_numbers(e: Emitter, run: Value, number: Value, begin: int, lanes: int) -> Value:
    """Some numbers of 8 bits in float32."""
    found = e.load(ir.VectorType(BYTE, lanes), e.plus(run, e.times(number, 16)), begin)
    return e.b.sitofp(found, ir.VectorType(SINGLE, lanes))


def _place(e: Emitter, given: Given, token: Value, group: Value) -> Value:
    """Where a token's number for a group is, from the first token's first."""
    return e.plus(e.times(given.scales_stride, token), e.times(group, 4))


def _sum_of(
    e: Emitter, kind: Quantisation, given: Given, token: Value, group: Value, part: int, lanes: int = 16
) -> Value:
    """What a minimum is multiplied with: the sum of a group's values, or of its part's (operations/quantise.py)."""
    place = e.times(_place(e, given, token, group), 2)
    return (
        e.load_splat(given.sums, e.plus(place, 0 if kind.parts == 1 else 4), lanes=lanes)
        if part == 0
        else e.b.fsub(
            e.load_splat(given.sums, place, lanes=lanes), e.load_splat(given.sums, e.plus(place, 4), lanes=lanes)
        )
    )


def _prefetch(e: Emitter, kind: Quantisation, at: Group, ahead: Value) -> None:
    """Prefetch the group `ahead` bytes after this one: the processor's own prefetching ends with a page of 4 KB."""
    begin = e.plus(at.run, e.plus(ahead, e.times(at.number, kind.run_bytes // kind.run)))
    for line in range(kind.bits + (0 if kind.floats else 1)):
        e.prefetch(begin, 64 * line)


def _codes(e: Emitter, kind: Quantisation, vectors: list[Value]) -> list[Value]:
    """Eight vectors of codes, or of what they stand for in the table: in each lane four consecutive inputs of its
    row."""
    return [
        _factors(e, kind, functools.reduce(e.b.or_, (_bits_of(e, plane, vectors, quad) for plane in kind.places)))
        for quad in range(QUADS)
    ]


def _factors(e: Emitter, kind: Quantisation, codes: Value) -> Value:
    """What is multiplied, from 0 up: the codes, or the table's values plus its centre."""
    return e.looked_up([value + kind.centre for value in kind.table], codes) if kind.table else codes


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
    words = WORDS if half is None else WORDS_8
    size, of_half, parts = 8 * (2 * len(kind.places) + 2), half or 0, []
    entry = e.plus(given.outliers, e.plus(e.times(number, size), 8))
    for at, plane in enumerate(kind.places):
        place, shift = e.load(LONG, entry, 16 * at), e.load(LONG, entry, 16 * at + 8)
        part = e.load(words, e.plus(weights, place), 32 * of_half, align=32)
        part = e.b.lshr(part, e.splat(e.b.trunc(shift, WORD), words.count))
        part = e.b.and_(part, e.constant(plane.mask, words))
        parts.append(e.b.shl(part, e.constant(plane.up, words)) if plane.up else part)
    factor = _factors(e, kind, functools.reduce(e.b.or_, parts))
    factor = e.b.and_(factor, e.constant(255, words)) if kind.table else factor
    run, of_run = e.plus(weights, e.load(LONG, entry, size - 16)), e.load(LONG, entry, size - 8)
    return e.fma(e.b.sitofp(factor, ir.VectorType(SINGLE, words.count)), *_ends_of(e, kind, run, of_run, half))


def _dots(
    e: Emitter, kind: Quantisation, codes: list[Value], values: list[Value], part: int, chains: int
) -> list[Value]:
    """The sums of the products of a part in each lane, for the values at each address side by side; for one token in
    two chains, so that none waits for the one before it."""
    sums = [[e.constant(0, WORDS) for _ in range(chains)] for _ in values]
    for vector in _quads(kind, part):
        for one, value in zip(sums, values, strict=True):
            dot = e.dot_bytes(one[vector % chains], codes[vector], e.load_splat(value, 4 * vector, WORD))
            one[vector % chains] = dot
    return [one[0] if chains == 1 else e.b.add(one[0], one[1]) for one in sums]


def _quads(kind: Quantisation, part: int) -> range:
    """Those of a part of a group."""
    return range(part * QUADS // kind.parts, (part + 1) * QUADS // kind.parts)


def product_in_halves(
    e: Emitter, tokens: int, kind: Quantisation, start: Value, weights: Value, groups: Value, given: Given
) -> list[Value]:
    """The same for AVX2, which has 16 registers of 256 bits: the codes of 8 rows fill half of them, the tokens take
    turns, and totals are in memory."""
    totals = e.memory(tokens)
    for token in range(tokens):
        e.store(start, totals, 64 * token)
    with _each_group(e, kind, weights, groups) as at:
        _prefetch(e, kind, at, given.ahead)
        for half in (0, 1):
            vectors = [e.load(WORDS_8, at.codes, 64 * vector + 32 * half, align=32) for vector in range(kind.bits)]
            codes = _codes(e, kind, vectors)
            if kind.most > 127:  # AVX2's product of bytes takes 7 bits and a sign: subtract 128, by 0x80 in each byte
                codes = [e.b.xor(one, e.constant(-0x7F7F7F80, WORDS_8)) for one in codes]
            ends = _ends(e, kind, at.run, at.number, half)
            with e.loop(0, tokens) as token:
                value = e.plus(e.plus(given.values, e.times(given.values_stride, token)), at.values)
                total = e.plus(totals, e.plus(e.times(token, 64), 32 * half))
                of_token, sum_ = e.load_splat(given.scales, _place(e, given, token, at.group), lanes=8), None
                for part, (scale, minimum) in enumerate(ends):
                    dot = e.b.sitofp(_dot_of_half(e, kind, codes, value, part), FLOATS_8)
                    sum_ = e.fma(dot, e.b.fmul(scale, of_token), e.load(FLOATS_8, total) if sum_ is None else sum_)
                    if kind.most <= 127:  # else the minimum is -128 times the scale
                        sum_ = e.fma(minimum, _sum_of(e, kind, given, token, at.group, part, lanes=8), sum_)
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
    adapted = e.b.icmp_signed("!=", given.adapters, e.constant(0))
    with e.b.if_then(adapted), e.loop(0, tokens) as token:
        entry, halves = _entry(e, given, token), [e.plus(totals, e.plus(e.times(token, 64), at)) for at in (0, 32)]
        with _each_up(e, given, token, entry) as (up, place):
            value = e.load_splat(given.scales, place, lanes=8)
            for half, total in enumerate(halves):
                e.store(e.fma(up(8 * half, FLOATS_8), value, e.load(FLOATS_8, total)), total)
        with _if_scaled(e, entry) as gains:
            for half, total in enumerate(halves):
                gain, after = (e.load(FLOATS_8, gains, place + 32 * half) for place in (0, 64))
                e.store(e.fma(gain, e.load(FLOATS_8, total), after), total)
    return [e.load(FLOATS, totals, 64 * token) for token in range(tokens)]


def _dot_of_half(e: Emitter, kind: Quantisation, codes: list[Value], value: Value, part: int) -> Value:
    """The sums of the products of a part in each of 8 lanes. Those of codes up to 15 are added up in 16 bits, where
    they fit (16 * 15 * 127 < 2^15), and widened once; those of larger codes after each product of bytes
    (2 * 127 * 127 fits)."""
    total = None
    for vector in _quads(kind, part):
        four = e.load_splat(value, 4 * vector, WORD, lanes=8)
        sums = e.signed_pairs(codes[vector], four) if kind.most > 127 else e.pairs(codes[vector], four)
        sums = sums if kind.most <= 15 else e.widened(sums)
        total = sums if total is None else e.b.add(total, sums)
    return e.widened(total) if kind.most <= 15 else total

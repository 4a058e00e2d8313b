"""Attention over the pages of a row: scores, weights and mix of one page at a time, and pages joined in order.

A tile is a few neighbouring tokens of a row. Its tokens, and the query heads of a group, are up to 12 vectors that are
multiplied with each key and value at once, so that these are read, and turned from float16 into float32, once for all.

A part, what one page gives to one query head, is float32 [value_dim + 16]:

    mix (not yet divided by the weights' sum), largest score, sum of the weights

Queries lie in blocks of MOST_VECTORS: first the first 16 numbers of each, then the next 16 of each, and so on. So the
kernels find the same number of every query at distances that are known when they are compiled.

Parts are joined page after page from the first, however threads shared the pages: the result is the same to the bit.
Source of the joining: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867.
"""

from __future__ import annotations

from typing import Any

from lmworks.kernels.emit.instructions import chosen
from lmworks.kernels.emit.scalars import inlined
from lmworks.kernels.emit.vectors import (
    FLOATS,
    LONG,
    NONE_SEEN,
    SINGLE,
    WORD,
    WORDS,
    Emitter,
    Float,
    Int,
    Value,
    emitted,
    ir,
)

REGISTERS = 24 if chosen().name in ("amx", "avx512") else 6
"""Vectors of 16 numbers that sums may fill: AVX-512 holds 32 in its registers, AVX2 and NEON 8."""
TILE_VECTORS = 12
"""Queries of a tile: as many neighbouring tokens as fit with their group's heads, but at least one."""
MOST_VECTORS = min(TILE_VECTORS, REGISTERS)
"""Queries that one kernel takes at once."""
NEXT_16 = 64 * MOST_VECTORS
"""Bytes from 16 numbers of a query to its next 16."""


def _page_kernel(vectors: int) -> Any:
    """One page for this many query vectors, neighbours in one block, the first of which begins at `query`."""

    @emitted(None, *[Int] * 13, Float)
    def attend_page(
        e: Emitter,
        query: Value,
        width: Value,
        value_width: Value,
        keys: Value,
        values: Value,
        first: Value,
        count: Value,
        begins: Value,
        ends: Value,
        biases: Value,
        weights: Value,
        parts: Value,
        ahead: Value,
        cap: Value,
    ) -> None:
        """`first` is the page's first position, `count` how many are looked at; query v sees begins[v] ... ends[v] -
        1. `weights` is scratch of 64 float32 a vector, `parts` takes the results, one after another. `ahead` are the
        keys that are read next, and prefetched. Scores stay below `cap` unless it is 0. Unless `biases` is 0, the
        float32 at biases[v] + 4 p is added to the score of query v at position p."""
        limits = [
            [e.splat(e.b.trunc(e.b.sub(e.load(LONG, table, 8 * v, align=8), first), WORD)) for table in (begins, ends)]
            for v in range(vectors)
        ]
        largest = [e.variable(e.constant(NONE_SEEN, FLOATS)) for _ in range(vectors)]
        blocks = e.b.sdiv(e.plus(count, 15), e.constant(16))
        at_once = next(blocks for blocks in (4, 2, 1) if blocks * vectors <= REGISTERS)  # of the 4 of a page
        with e.loop(0, e.b.sdiv(e.plus(blocks, at_once - 1), e.constant(at_once))) as part:
            read_next = values, value_width
            _scores(e, query, width, keys, read_next, e.times(part, at_once), at_once, limits, largest, weights)
        with e.b.if_then(e.b.fcmp_unordered("!=", cap, e.constant(0.0, SINGLE))):
            _keep_below(e, e.splat(cap), blocks, largest, weights)
        with e.b.if_then(e.b.icmp_signed("!=", biases, e.constant(0))):
            _bias(e, biases, first, blocks, largest, weights)
        most = [e.largest(e.b.load(one)) for one in largest]
        sums = _weights(e, blocks, most, weights)
        _mix(e, vectors, value_width, count, values, weights, parts, ahead)
        size = e.plus(e.times(value_width, 4), 64)
        for v, pair in enumerate(zip(most, sums, strict=True)):
            end = e.plus(e.plus(parts, e.times(size, v)), e.times(value_width, 4))
            for place, one in enumerate(pair):
                e.store(one, end, 4 * place, align=4)

    return attend_page


def _scores(
    e: Emitter,
    query: Value,
    width: Value,
    keys: Value,
    read_next: tuple[Value, Value],
    first: Value,
    count: int,
    limits: list[list[Value]],
    largest: list[Value],
    weights: Value,
) -> None:
    """The scores of `count` blocks of 16 positions, in the lanes, for every query vector; sums of several blocks grow
    side by side, so that none waits for the one before it. Values are read next, and prefetched: where they are, and
    their width."""
    sums = [[e.variable(e.constant(0.0, FLOATS)) for _ in limits] for _ in range(count)]
    for row in sums:
        for one in row:
            e.b.store(e.constant(0.0, FLOATS), one)
    size = e.times(width, 32)
    starts = [e.times(e.plus(first, block), size) for block in range(count)]
    values = [e.plus(read_next[0], e.times(e.plus(first, block), e.times(read_next[1], 32))) for block in range(count)]
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as lane, e.loop(0, 8) as half:
        pair = e.b.add(e.times(lane, 8), half)
        for value in values:
            e.prefetch(value, e.times(pair, 64))
        of_pair = e.plus(query, e.plus(e.times(lane, NEXT_16), e.times(half, 8)))
        for odd in range(2):
            of_key = e.plus(e.times(pair, 64), 32 * odd)
            found = [e.load_halves(e.plus(keys, start), of_key) for start in starts]
            for v in range(len(limits)):
                asked = e.load_splat(of_pair, 64 * v + 4 * odd)
                for key, row in zip(found, sums, strict=True):
                    e.b.store(e.fma(key, asked, e.b.load(row[v])), row[v])
    for number, row in enumerate(sums):
        block = e.plus(first, number)
        position = e.b.add(ir.Constant(WORDS, list(range(16))), e.splat(e.b.trunc(e.times(block, 16), WORD)))
        for v, (begin, end) in enumerate(limits):
            seen = e.b.and_(e.b.icmp_signed(">=", position, begin), e.b.icmp_signed("<", position, end))
            score = e.b.select(seen, e.b.load(row[v]), e.constant(NONE_SEEN, FLOATS))
            e.store(score, weights, e.plus(e.times(block, 64), 256 * v))
            e.b.store(e.larger(score, e.b.load(largest[v])), largest[v])


def _keep_below(e: Emitter, cap: Value, blocks: Value, largest: list[Value], weights: Value) -> None:
    """Scores, and the largest of them, made cap * tanh(score / cap) where they are of what is seen."""

    def capped(score: Value) -> Value:
        """tanh(z) is 1 - 2 / (e^2z + 1)."""
        z, two, one = e.b.fdiv(score, cap), e.constant(2.0, FLOATS), e.constant(1.0, FLOATS)
        tanh = e.b.fsub(one, e.b.fdiv(two, e.b.fadd(e.exp(e.b.fmul(two, z)), one)))
        hidden = e.b.fcmp_ordered("<=", score, e.constant(NONE_SEEN / 2, FLOATS))  # not so NaN, which shall show
        return e.b.select(hidden, score, e.b.fmul(cap, tanh))

    with e.loop(0, blocks) as block:
        for v in range(len(largest)):
            place = e.plus(e.times(block, 64), 256 * v)
            e.store(capped(e.load(FLOATS, weights, place)), weights, place)
    for one in largest:
        e.b.store(capped(e.b.load(one)), one)


def _bias(e: Emitter, biases: Value, first: Value, blocks: Value, largest: list[Value], weights: Value) -> None:
    """Scores and what is added to each, and the largest of them found again."""
    addresses = [e.load(LONG, biases, 8 * v, align=8) for v in range(len(largest))]
    for most in largest:
        e.b.store(e.constant(NONE_SEEN, FLOATS), most)
    with e.loop(0, blocks) as block:
        position = e.plus(first, e.times(block, 16))
        for v, (address, most) in enumerate(zip(addresses, largest, strict=True)):
            place = e.plus(e.times(block, 64), 256 * v)
            score = e.load(FLOATS, weights, place)
            hidden = e.b.fcmp_ordered("<=", score, e.constant(NONE_SEEN / 2, FLOATS))
            total = e.b.fadd(score, e.load(FLOATS, address, e.times(position, 4)))
            total = e.b.select(hidden, score, total)
            e.store(total, weights, place)
            e.b.store(e.larger(total, e.b.load(most)), most)


def _weights(e: Emitter, blocks: Value, most: list[Value], weights: Value) -> list[Value]:
    """Every vector's scores made weights, e^(score - most); returns their sums."""
    none, top = e.constant(0.0, FLOATS), [e.splat(one) for one in most]
    totals = [e.variable(none) for _ in most]
    for total in totals:
        e.b.store(none, total)
    with e.loop(0, blocks) as block:
        for v, total in enumerate(totals):
            place = e.plus(e.times(block, 64), 256 * v)
            score = e.load(FLOATS, weights, place)
            hidden = e.b.fcmp_ordered("<=", score, e.constant(NONE_SEEN / 2, FLOATS))  # not so NaN, which shall show
            weight = e.b.select(hidden, none, e.exp(e.b.fsub(score, top[v])))
            e.store(weight, weights, place)
            e.b.store(e.b.fadd(e.b.load(total), weight), total)
    return [e.sum(e.b.load(total)) for total in totals]


def _mix(
    e: Emitter, vectors: int, width: Value, count: Value, values: Value, weights: Value, parts: Value, ahead: Value
) -> None:
    """Values averaged with the weights: as many dimensions at once as there are registers for, then the rest."""
    at_once = max(1, min(4, REGISTERS // vectors))
    lanes = e.b.sdiv(width, e.constant(16))
    whole = e.b.sdiv(lanes, e.constant(at_once))
    with e.loop(0, whole) as part:
        _mix_dimensions(e, vectors, at_once, e.times(part, at_once), width, count, values, weights, parts, ahead)
    if at_once > 1:
        with e.loop(e.times(whole, at_once), lanes) as lane:
            _mix_dimensions(e, vectors, 1, lane, width, count, values, weights, parts, ahead)


def _mix_dimensions(
    e: Emitter,
    vectors: int,
    lanes: int,
    first: Value,
    width: Value,
    count: Value,
    values: Value,
    weights: Value,
    parts: Value,
    ahead: Value,
) -> None:
    sums = [[e.variable(e.constant(0.0, FLOATS)) for _ in range(lanes)] for _ in range(vectors)]
    for row in sums:
        for one in row:
            e.b.store(e.constant(0.0, FLOATS), one)
    start = e.times(first, 32)
    with e.loop(0, count) as position:
        at = e.plus(e.plus(values, e.times(position, e.times(width, 2))), start)
        for line in range(-(-lanes // 2)):
            e.prefetch(e.plus(e.plus(ahead, e.times(position, e.times(width, 2))), start), 64 * line)
        value = [e.load_halves(at, 32 * one) for one in range(lanes)]
        for v, row in enumerate(sums):
            weight = e.load_splat(weights, e.plus(e.times(position, 4), 256 * v))
            for one, total in zip(value, row, strict=True):
                e.b.store(e.fma(one, weight, e.b.load(total)), total)
    size = e.plus(e.times(width, 4), 64)
    for v, row in enumerate(sums):
        at = e.plus(e.plus(parts, e.times(size, v)), e.times(first, 64))
        for one, total in enumerate(row):
            e.store(e.b.load(total), at, 64 * one)


page_1, page_2, page_3, page_4, page_most = (_page_kernel(vectors) for vectors in (1, 2, 3, 4, MOST_VECTORS))


@emitted(None, Int, Int, Int)
def join(e: Emitter, part: Value, other: Value, width: Value) -> None:
    """Add a later page's part to that of the pages before it."""
    end, other_end = e.plus(part, e.times(width, 4)), e.plus(other, e.times(width, 4))
    most, other_most = e.load(SINGLE, end, align=4), e.load(SINGLE, other_end, align=4)
    larger = e.b.select(e.b.fcmp_ordered(">", other_most, most), other_most, most)
    factor = e.exp(e.splat(e.b.fsub(most, larger)))
    other_factor = e.exp(e.splat(e.b.fsub(other_most, larger)))
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as lane:
        place = e.times(lane, 64)
        scaled = e.b.fmul(e.load(FLOATS, part, place), factor)
        e.store(e.fma(e.load(FLOATS, other, place), other_factor, scaled), part, place)
    one = e.constant(0, WORD)
    total = e.b.fmul(e.load(SINGLE, end, 4, align=4), e.b.extract_element(factor, one))
    added = e.b.fmul(e.load(SINGLE, other_end, 4, align=4), e.b.extract_element(other_factor, one))
    e.store(larger, end, 0, align=4)
    e.store(e.b.fadd(total, added), end, 4, align=4)


@emitted(None, Int, Int, Int)
def put_query(e: Emitter, x: Value, width: Value, to: Value) -> None:
    """A query of `width` numbers to its place in a block (`query_at`)."""
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as lane:
        e.store(e.load(FLOATS, x, e.times(lane, 64)), to, e.times(lane, NEXT_16))


@inlined
def query_at(queries, vector, width):
    """Where a query begins, in blocks of MOST_VECTORS."""
    return queries + vector // MOST_VECTORS * (width * 4 * MOST_VECTORS) + vector % MOST_VECTORS * 64


@inlined
def attend_page(
    vectors, queries, width, value_width, keys, values, first, count, begins, ends, biases, weights, parts, ahead, cap
):
    """One page for any number of query vectors."""
    done, size = 0, value_width * 4 + 64
    while done < vectors:
        left, q, p = vectors - done, query_at(queries, done, width), parts + done * size
        first_seen, end_seen, added = begins + done * 8, ends + done * 8, biases + done * 8 if biases != 0 else 0
        if left >= MOST_VECTORS:
            page_most(
                q, width, value_width, keys, values, first, count, first_seen, end_seen, added, weights, p, ahead, cap
            )
            done += MOST_VECTORS
        elif left >= 4:
            page_4(
                q, width, value_width, keys, values, first, count, first_seen, end_seen, added, weights, p, ahead, cap
            )
            done += 4
        elif left == 3:
            page_3(
                q, width, value_width, keys, values, first, count, first_seen, end_seen, added, weights, p, ahead, cap
            )
            done += 3
        elif left == 2:
            page_2(
                q, width, value_width, keys, values, first, count, first_seen, end_seen, added, weights, p, ahead, cap
            )
            done += 2
        else:
            page_1(
                q, width, value_width, keys, values, first, count, first_seen, end_seen, added, weights, p, ahead, cap
            )
            done += 1

"""Attention over the pages of a row: scores, weights and mix of one page at a time, and pages joined in order.

A unit of work is a tile (neighbouring tokens of a row), a key head, and the pages that the tile sees. The query heads of a
group and the tokens of a tile are vectors that are multiplied with each key and value at once (up to 12), so that these are
read, and turned from float16 into float32, once for all of them.

A part, what one page gives to one query head, is float32 [head_dim + 16]:

    mix (not yet divided by the weights' sum), largest score, sum of the weights

Queries lie in blocks of MOST_VECTORS, of which the first 16 numbers of each stand first, then the next 16 of each, and so on: so the
kernels find the same number of every query at distances that they know.

Parts are joined page after page from the first, in whatever way the pages were shared among threads: the result is the same
to the bit. Source of the joining: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867.
"""

from __future__ import annotations

from typing import Any

from lmworks.kernels.instructions import chosen
from lmworks.kernels.quantised import Place, put_group
from lmworks.kernels.scalars import inlined
from lmworks.kernels.vectors import (
    FLOATS,
    LONG,
    NONE_SEEN,
    SINGLE,
    WORD,
    WORDS,
    Int,
    Value,
    Writer,
    emitted,
    ir,
)

REGISTERS = 24 if chosen().name == "avx512" else 6
"""Vectors of 16 numbers that sums may fill: AVX-512 holds 32 in its registers, AVX2 and NEON 8."""
MOST_VECTORS = min(12, REGISTERS)
"""Queries that one kernel takes at once."""
NEXT_16 = 64 * MOST_VECTORS
"""Bytes from 16 numbers of a query to its next 16."""


def _page_kernel(vectors: int) -> Any:
    """One page for so many query vectors, neighbours in one block of which the first begins at `query`."""

    @emitted(None, *[Int] * 11)
    def attend_page(
        w: Writer,
        query: Value,
        width: Value,
        keys: Value,
        values: Value,
        first: Value,
        count: Value,
        begins: Value,
        ends: Value,
        weights: Value,
        parts: Value,
        ahead: Value,
    ) -> None:
        """`first` is the page's first position, `count` how many are looked at; query v sees begins[v] ... ends[v] - 1.
        `weights` is scratch of 64 float32 a vector, `parts` takes the results, one behind another. `ahead` are the keys that are
        read next, asked for meanwhile."""
        limits = [
            [w.splat(w.b.trunc(w.b.sub(w.load(LONG, table, 8 * v, align=8), first), WORD)) for table in (begins, ends)]
            for v in range(vectors)
        ]
        largest = [w.variable(w.constant(NONE_SEEN, FLOATS)) for _ in range(vectors)]
        blocks = w.b.sdiv(w.plus(count, 15), w.constant(16))
        at_once = next(blocks for blocks in (4, 2, 1) if blocks * vectors <= REGISTERS)  # of the 4 of a page
        with w.loop(0, w.b.sdiv(w.plus(blocks, at_once - 1), w.constant(at_once))) as part:
            _scores(w, query, width, keys, values, w.times(part, at_once), at_once, limits, largest, weights)
        most = [w.largest(w.b.load(one)) for one in largest]
        sums = _weights(w, blocks, most, weights)
        _mix(w, vectors, width, count, values, weights, parts, ahead)
        size = w.plus(w.times(width, 4), 64)
        for v, pair in enumerate(zip(most, sums, strict=True)):
            end = w.plus(w.plus(parts, w.times(size, v)), w.times(width, 4))
            for place, one in enumerate(pair):
                w.store(one, end, 4 * place, align=4)

    return attend_page


def _scores(
    w: Writer,
    query: Value,
    width: Value,
    keys: Value,
    values: Value,
    first: Value,
    count: int,
    limits: list[list[Value]],
    largest: list[Value],
    weights: Value,
) -> None:
    """The scores of `count` blocks of 16 positions, in the lanes, for every query vector; sums of several blocks grow side by
    side, so that none waits for the one before it. Values are asked for meanwhile, as they are read next."""
    sums = [[w.variable(w.constant(0.0, FLOATS)) for _ in limits] for _ in range(count)]
    for row in sums:
        for one in row:
            w.b.store(w.constant(0.0, FLOATS), one)
    size = w.times(width, 32)
    starts = [w.times(w.plus(first, block), size) for block in range(count)]
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as lane, w.loop(0, 8) as half:
        pair = w.b.add(w.times(lane, 8), half)
        for start in starts:
            w.prefetch(values, w.plus(start, w.times(pair, 64)))
        of_pair = w.plus(query, w.plus(w.times(lane, NEXT_16), w.times(half, 8)))
        for odd in range(2):
            of_key = w.plus(w.times(pair, 64), 32 * odd)
            found = [w.load_halves(w.plus(keys, start), of_key) for start in starts]
            for v in range(len(limits)):
                asked = w.load_splat(of_pair, 64 * v + 4 * odd)
                for key, row in zip(found, sums, strict=True):
                    w.b.store(w.fma(key, asked, w.b.load(row[v])), row[v])
    for number, row in enumerate(sums):
        block = w.plus(first, number)
        position = w.b.add(ir.Constant(WORDS, list(range(16))), w.splat(w.b.trunc(w.times(block, 16), WORD)))
        for v, (begin, end) in enumerate(limits):
            seen = w.b.and_(w.b.icmp_signed(">=", position, begin), w.b.icmp_signed("<", position, end))
            score = w.b.select(seen, w.b.load(row[v]), w.constant(NONE_SEEN, FLOATS))
            w.store(score, weights, w.plus(w.times(block, 64), 256 * v))
            w.b.store(w.larger(score, w.b.load(largest[v])), largest[v])


def _weights(w: Writer, blocks: Value, most: list[Value], weights: Value) -> list[Value]:
    """Every vector's scores made weights, e^(score - most); returns their sums."""
    none, top = w.constant(0.0, FLOATS), [w.splat(one) for one in most]
    totals = [w.variable(none) for _ in most]
    for total in totals:
        w.b.store(none, total)
    with w.loop(0, blocks) as block:
        for v, total in enumerate(totals):
            place = w.plus(w.times(block, 64), 256 * v)
            score = w.load(FLOATS, weights, place)
            hidden = w.b.fcmp_ordered("<=", score, w.constant(NONE_SEEN / 2, FLOATS))  # not so NaN, which shall show
            weight = w.b.select(hidden, none, w.exp(w.b.fsub(score, top[v])))
            w.store(weight, weights, place)
            w.b.store(w.b.fadd(w.b.load(total), weight), total)
    return [w.sum(w.b.load(total)) for total in totals]


def _mix(
    w: Writer, vectors: int, width: Value, count: Value, values: Value, weights: Value, parts: Value, ahead: Value
) -> None:
    """Values averaged with the weights: as many dimensions at once as there are registers for, then the rest."""
    at_once = max(1, min(4, REGISTERS // vectors))
    lanes = w.b.sdiv(width, w.constant(16))
    whole = w.b.sdiv(lanes, w.constant(at_once))
    with w.loop(0, whole) as part:
        _mix_dimensions(w, vectors, at_once, w.times(part, at_once), width, count, values, weights, parts, ahead)
    if at_once > 1:
        with w.loop(w.times(whole, at_once), lanes) as lane:
            _mix_dimensions(w, vectors, 1, lane, width, count, values, weights, parts, ahead)


def _mix_dimensions(
    w: Writer,
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
    sums = [[w.variable(w.constant(0.0, FLOATS)) for _ in range(lanes)] for _ in range(vectors)]
    for row in sums:
        for one in row:
            w.b.store(w.constant(0.0, FLOATS), one)
    start = w.times(first, 32)
    with w.loop(0, count) as position:
        at = w.plus(w.plus(values, w.times(position, w.times(width, 2))), start)
        for line in range(-(-lanes // 2)):
            w.prefetch(w.plus(w.plus(ahead, w.times(position, w.times(width, 2))), start), 64 * line)
        value = [w.load_halves(at, 32 * one) for one in range(lanes)]
        for v, row in enumerate(sums):
            weight = w.load_splat(weights, w.plus(w.times(position, 4), 256 * v))
            for one, total in zip(value, row, strict=True):
                w.b.store(w.fma(one, weight, w.b.load(total)), total)
    size = w.plus(w.times(width, 4), 64)
    for v, row in enumerate(sums):
        at = w.plus(w.plus(parts, w.times(size, v)), w.times(first, 64))
        for one, total in enumerate(row):
            w.store(w.b.load(total), at, 64 * one)


page_1, page_2, page_3, page_4, page_most = (_page_kernel(vectors) for vectors in (1, 2, 3, 4, MOST_VECTORS))


@emitted(None, Int, Int, Int)
def join(w: Writer, part: Value, other: Value, width: Value) -> None:
    """Add a later page's part to that of the pages before it."""
    end, other_end = w.plus(part, w.times(width, 4)), w.plus(other, w.times(width, 4))
    most, other_most = w.load(SINGLE, end, align=4), w.load(SINGLE, other_end, align=4)
    larger = w.b.select(w.b.fcmp_ordered(">", other_most, most), other_most, most)
    factor = w.exp(w.splat(w.b.fsub(most, larger)))
    other_factor = w.exp(w.splat(w.b.fsub(other_most, larger)))
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as lane:
        place = w.times(lane, 64)
        scaled = w.b.fmul(w.load(FLOATS, part, place), factor)
        w.store(w.fma(w.load(FLOATS, other, place), other_factor, scaled), part, place)
    one = w.constant(0, WORD)
    total = w.b.fmul(w.load(SINGLE, end, 4, align=4), w.b.extract_element(factor, one))
    added = w.b.fmul(w.load(SINGLE, other_end, 4, align=4), w.b.extract_element(other_factor, one))
    w.store(larger, end, 0, align=4)
    w.store(w.b.fadd(total, added), end, 4, align=4)


@emitted(None, Int, Int, Int)
def divide(w: Writer, part: Value, width: Value, to: Value) -> None:
    """The mix of a part, divided by the sum of its weights."""
    inverse = w.splat(w.b.fdiv(w.constant(1.0, SINGLE), w.load(SINGLE, part, w.plus(w.times(width, 4), 4), align=4)))
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as lane:
        place = w.times(lane, 64)
        w.store(w.b.fmul(w.load(FLOATS, part, place), inverse), to, place)


@emitted(None, Int, Int, Int, Int, Int, Int)
def put_groups(w: Writer, x: Value, first: Value, count: Value, values: Value, scales: Value, sums: Value) -> None:
    """Quantise `count` groups of 32 at x into those from `first` on."""
    with w.loop(0, count) as group:
        pair = [w.load(FLOATS, x, w.plus(w.times(group, 128), at)) for at in (0, 64)]
        put_group(w, pair[0], pair[1], Place(values, scales, sums), w.b.add(first, group))


@emitted(None, Int, Int, Int)
def copy(w: Writer, x: Value, width: Value, to: Value) -> None:
    """`width` float32 numbers, a multiple of 16."""
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as lane:
        w.store(w.load(FLOATS, x, w.times(lane, 64)), to, w.times(lane, 64))


@emitted(None, Int, Int, Int)
def put_query(w: Writer, x: Value, width: Value, to: Value) -> None:
    """A query of `width` numbers to its place in a block (`query_at`)."""
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as lane:
        w.store(w.load(FLOATS, x, w.times(lane, 64)), to, w.times(lane, NEXT_16))


@inlined
def query_at(queries, vector, width):
    """Where a query begins, in blocks of MOST_VECTORS."""
    return queries + vector // MOST_VECTORS * (width * 4 * MOST_VECTORS) + vector % MOST_VECTORS * 64


@inlined
def attend_page(vectors, queries, width, keys, values, first, count, begins, ends, weights, parts, ahead):
    """One page for any number of query vectors."""
    done, size = 0, width * 4 + 64
    while done < vectors:
        left, q, p = vectors - done, query_at(queries, done, width), parts + done * size
        b, e = begins + done * 8, ends + done * 8
        if left >= MOST_VECTORS:
            page_most(q, width, keys, values, first, count, b, e, weights, p, ahead)
            done += MOST_VECTORS
        elif left >= 4:
            page_4(q, width, keys, values, first, count, b, e, weights, p, ahead)
            done += 4
        elif left == 3:
            page_3(q, width, keys, values, first, count, b, e, weights, p, ahead)
            done += 3
        elif left == 2:
            page_2(q, width, keys, values, first, count, b, e, weights, p, ahead)
            done += 2
        else:
            page_1(q, width, keys, values, first, count, b, e, weights, p, ahead)
            done += 1

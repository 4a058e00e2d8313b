"""Products of bfloat16 weights by AMX, up to 32 tokens times 32 rows: the sums stay in tiles over all inputs of a row.

Each of four tiles has the sums of 16 tokens and 16 rows, two sets of tokens times two blocks of rows, or one set times
four blocks. A group of 32 inputs is loaded once for all of them: four products for four tiles, where one block at a
time takes five. A product waits for the last one with the same sums, three others later.

The processor keeps the sums of even and of odd inputs of a group apart, and adds both to the sums there: what
`product` (product.py) does for a few tokens, to the bit.
"""

from __future__ import annotations

from dataclasses import replace

from lmworks.kernels.emit import tiles
from lmworks.kernels.emit.product import GROUP, Given, add_adapters
from lmworks.kernels.emit.tiles import TOKENS
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Int, Value, emitted
from lmworks.kernels.frame import ADAPTER_ENTRY_BYTES

SUMS, VALUES, CODES = (0, 1, 2, 3), (4, 5), (6, 7)
"""The numbers of the tiles."""
GROUP_BYTES = 64 * GROUP // 2
"""Of the weights of 16 rows."""


@emitted(None, Int, Int)
def use_float_tiles(e: Emitter, first: Value, second: Value) -> None:
    """Tiles for two sets of this many tokens each, 1 to 16; for one set, give its tokens twice. They hold until
    `leave_tiles`."""
    sizes: dict[int, tuple[Value, int]] = dict.fromkeys(CODES, (TOKENS, 64))
    for rows, of_set in ((first, (*SUMS[:2], VALUES[0])), (second, (*SUMS[2:], VALUES[1]))):
        sizes |= dict.fromkeys(of_set, (rows, 64))
    tiles.lay_out(e, e.memory(1), sizes)


def product_by_tiles(
    e: Emitter,
    blocks: int,
    sets: int,
    tokens: Value,
    bias: Value,
    weights: Value,
    groups: Value,
    given: Given,
    adapter_count: Value,
    output: Value,
    stride: Value,
    adds: Value,
) -> None:
    """The outputs of `tokens` tokens, in this many sets, and blocks of rows; to where the first token's begin, with
    `stride` bytes to the next one's. The numbers of rows to begin with are at `bias`, unless it is 0."""
    sums = {(number, block): SUMS[2 * number + block] for number in range(sets) for block in range(blocks)}
    with e.loop(0, tokens) as token:  # stores wait for one another; what is asked for now is there when they begin
        for block in range(blocks):
            e.prefetch(e.plus(output, e.times(stride, token)), 64 * block, written=True)
    is_biased, no = e.b.icmp_signed("!=", bias, e.constant(0)), e.constant(0)
    with e.b.if_else(is_biased) as (yes, not_):
        with yes:
            for (_, block), tile in sums.items():
                tiles.load(e, tile, e.plus(bias, 64 * block), 0)
        with not_:
            for tile in sums.values():
                tiles.zero(e, tile)
    with e.b.if_else(e.b.icmp_signed("!=", given.ahead, no)) as (fetches, has_all):
        for way, ahead in ((fetches, given.ahead), (has_all, None)):
            with way:
                _add_groups(e, sums, weights, groups, given, ahead)
    is_plain = e.b.and_(e.b.icmp_signed("==", adds, no), e.b.icmp_signed("==", given.adapters, no))
    with e.b.if_else(is_plain) as (yes, not_):
        with yes:
            _put(e, sums, output, stride)
        with not_:
            room, row = e.memory(blocks * sets * TOKENS), 64 * blocks
            _put(e, sums, room, e.constant(row))
            with e.b.if_then(e.b.icmp_signed("!=", given.adapters, no)):
                for block in range(blocks):
                    entries = e.plus(given.adapters, e.times(adapter_count, ADAPTER_ENTRY_BYTES * block))
                    add_adapters(e, tokens, replace(given, adapters=entries), e.plus(room, 64 * block), row)
            with e.loop(0, tokens) as token:
                found, place = e.plus(room, e.times(token, row)), e.plus(output, e.times(stride, token))
                for block in range(blocks):
                    put(e, e.load(FLOATS, found, 64 * block), e.plus(place, 64 * block), adds)


def put(e: Emitter, total: Value, place: Value, adds: Value) -> None:
    """A block's outputs to where they belong, or to what stands there."""
    with e.b.if_else(e.b.icmp_signed("!=", adds, e.constant(0))) as (yes, no):
        with yes:
            e.store(e.b.fadd(e.load(FLOATS, place), total), place)
        with no:
            e.store(total, place)


def _put(e: Emitter, sums: dict[tuple[int, int], int], to: Value, stride: Value) -> None:
    for (number, block), tile in sums.items():
        tiles.store(e, tile, e.plus(to, e.plus(e.times(stride, TOKENS * number), 64 * block)), stride)


def _add_groups(
    e: Emitter, sums: dict[tuple[int, int], int], weights: Value, groups: Value, given: Given, ahead: Value | None
) -> None:
    """All groups' products, to the sums of each (set, block)."""
    sets, blocks = (1 + max(place[axis] for place in sums) for axis in (0, 1))
    of_block = e.times(groups, GROUP_BYTES)
    begins = [e.plus(weights, e.times(of_block, block)) for block in range(blocks)]
    values = e.plus(given.values, e.times(groups, GROUP))  # after those in 8 bits
    of_sets = [e.plus(values, e.times(given.values_stride, TOKENS * number)) for number in range(sets)]
    with e.loop(0, groups) as group:
        places = [e.plus(begin, e.times(group, GROUP_BYTES)) for begin in begins]
        for number, begin in enumerate(of_sets):
            tiles.load(e, VALUES[number], e.plus(begin, e.times(group, 2 * GROUP)), given.values_stride)
            for block, place in enumerate(places):
                codes = CODES[block % len(CODES)]
                if number == 0:  # each load just before the first product that wants it
                    tiles.load(e, codes, place, 64)
                tiles.add_floats(e, sums[number, block], VALUES[number], codes)
        if ahead is not None:
            for place in places:
                for line in range(0, GROUP_BYTES, 64):
                    e.prefetch(e.plus(place, ahead), line)

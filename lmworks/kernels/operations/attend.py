"""ATTEND: each query over the pages of its row, into parts that MIX joins (emit/attention_page.py).

A chunk of work is a tile (neighbouring tokens of a row), a key head, and the pages that the tile sees, or one thread's
share of them. Over the pages of a source, which are few, nothing is shared.
"""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.attention_page import (
    MOST_VECTORS,
    NEXT_16,
    TILE_VECTORS,
    attend_page,
    join,
    put_query,
    query_at,
)
from lmworks.kernels.emit.calls import call_do, entry_of
from lmworks.kernels.emit.scalars import compiled, copy, field, float_field, inlined, long_at, put_long
from lmworks.kernels.frame import Entry, Field
from lmworks.kernels.operation import Chunks, Operands, Operation


class Attend(Operands):
    """Operands of ATTEND."""

    QKV = auto()
    """Address of float32 [tokens, heads + 2 kv_heads, head_dim], as HEADS left it; of queries in two parts
    [tokens, heads, value_dim], their first ones."""
    QKV_STRIDE = auto()
    TURNED = auto()
    """Address of float32 [tokens, heads, head_dim - value_dim], the same stride apart: the second parts; 0 for
    queries that are whole."""
    HEADS = auto()
    KV_HEADS = auto()
    HEAD_DIM = auto()
    """Width of a query and of a key."""
    VALUE_DIM = auto()
    """Width of a value: that of a key, or less where there is one key head."""
    PLACE = auto()
    """Where the layer's part of a page begins, in bytes."""
    WINDOW = auto()
    """Tokens that each token sees, itself included; 0 for all before it."""
    ONWARD = auto()
    """1: as many tokens after it are seen, too."""
    CAP = auto()
    """Scores are softly kept below this; 0 for no cap."""
    BIASED = auto()
    """1: the frame's BIASES are added to the scores."""
    SOURCE = auto()
    """1: over the pages of the row's source, all of them; 0: over its own text."""


def scratch_bytes(group: int, width: int) -> int:
    """What a thread works in, for groups of this many query heads of this width."""
    vectors = -(-max(TILE_VECTORS, group) // TILE_VECTORS) * TILE_VECTORS
    return -(-(vectors * (2 * 4 * width + 64 + 24) + TILE_VECTORS * 256) // 64) * 64 + 64


@inlined
def first_seen(position, window):
    """The first position that a token sees."""
    return max(position - window + 1, 0) if window > 0 else 0


@inlined
def seen_to(position, window, onward, end):
    """The position after the last that a token sees, of those before `end`."""
    return min(end, position + window) if onward != 0 else end


@inlined
def biases_of(head, token, frame):
    """The address of what is added to the score of a token's query head at position 0."""
    position = long_at(field(frame, Field.POSITIONS) + 8 * token)
    return field(frame, Field.BIASES) + head * field(frame, Field.BIASES_STRIDE) - 4 * position


@inlined
def shares_of(frame, step):
    """How many chunks share the pages of a tile."""
    return 1 if field(step, Attend.SOURCE) != 0 else max(field(frame, Field.PARTS), 1)


@inlined
def pages_of(token, frame, step):
    """The address of the addresses of the pages that a token looks at."""
    if field(step, Attend.SOURCE) != 0:
        return long_at(field(frame, Field.SOURCES) + 16 * token)
    return long_at(field(frame, Field.PAGES) + 8 * token)


@inlined
def end_of(token, frame, step):
    """The position after the last that a token sees."""
    if field(step, Attend.SOURCE) != 0:
        return long_at(field(frame, Field.SOURCES) + 16 * token + 8)
    position, end = long_at(field(frame, Field.POSITIONS) + 8 * token), long_at(field(frame, Field.ENDS) + 8 * token)
    return seen_to(position, field(step, Attend.WINDOW), field(step, Attend.ONWARD), end)


@inlined
def tile_of(chunk, frame, step):
    """The address of a chunk's tile."""
    shares = shares_of(frame, step)
    return field(frame, Field.TILES) + chunk // field(step, Attend.KV_HEADS) // shares * 16


@inlined
def first_part(chunk, frame, step):
    """Where in MIXED the part of a chunk's first query begins; those of its other heads and tokens follow."""
    heads, kv_heads, width = field(step, Attend.HEADS), field(step, Attend.KV_HEADS), field(step, Attend.VALUE_DIM)
    shares, head = shares_of(frame, step), chunk % kv_heads * (heads // kv_heads)
    token = long_at(tile_of(chunk, frame, step))
    return ((token * heads + head) * shares + chunk // kv_heads % shares) * (width * 4 + 64)


@inlined
def scratch_of(thread, frame, group, width):
    """Where a thread works (`scratch_bytes`): queries, where they begin and end to see, weights, results, biases.

    With up to 12 queries weights and results begin at multiples of 64: vectors that lie across two lines of the cache
    are slow."""
    most, size = -(-max(group, TILE_VECTORS) // MOST_VECTORS) * MOST_VECTORS, width * 4
    query = field(frame, Field.SCRATCH) + thread * field(frame, Field.SCRATCH_STRIDE)
    begins = query + most * size
    ends = begins + most * 8
    weights = ends + most * 8
    result = weights + TILE_VECTORS * 256
    return query, begins, ends, weights, result, result + most * (size + 64)


@inlined
def query_of(token, head, to, step):
    """A token's query of a head to its place in a block."""
    at, turned = token * field(step, Attend.QKV_STRIDE), field(step, Attend.TURNED)
    width = field(step, Attend.HEAD_DIM)
    first = width if turned == 0 else field(step, Attend.VALUE_DIM)
    put_query(field(step, Attend.QKV) + at + head * first * 4, first, to)
    if turned != 0:
        put_query(turned + at + head * (width - first) * 4, width - first, to + first // 16 * NEXT_16)


@inlined
def attend(chunk, thread, frame, step, mixed):
    """A chunk's queries over its pages, into `mixed`."""
    width, window = field(step, Attend.HEAD_DIM), field(step, Attend.WINDOW)
    heads, kv_heads = field(step, Attend.HEADS), field(step, Attend.KV_HEADS)
    place, positions = field(step, Attend.PLACE) * field(frame, Field.LAYERS_APART), field(frame, Field.POSITIONS)
    value_width = field(step, Attend.VALUE_DIM)
    group, size, shares = heads // kv_heads, value_width * 4 + 64, shares_of(frame, step)
    query, begins_at, ends_at, weights, result, biases_at = scratch_of(thread, frame, group, width)
    cap, biased = float_field(step, Attend.CAP), field(step, Attend.BIASED)
    biases = biases_at if biased != 0 else 0
    head, share, tile = chunk % kv_heads, chunk // kv_heads % shares, tile_of(chunk, frame, step)
    token, count = long_at(tile), long_at(tile + 8)
    first = first_seen(long_at(positions + 8 * token), window) // 64
    end, pages = end_of(token + count - 1, frame, step), pages_of(token, frame, step)
    last = final = (end - 1) // 64
    if shares > 1:
        first += share
        last = min(first, last)
    if first <= last:
        for one in range(count):
            at = token + one
            for member in range(group):
                vector = one * group + member
                query_of(at, head * group + member, query_at(query, vector, width), step)
                put_long(begins_at + 8 * vector, first_seen(long_at(positions + 8 * at), window))
                put_long(ends_at + 8 * vector, end_of(at, frame, step))
                if biased != 0:
                    put_long(biases_at + 8 * vector, biases_of(head * group + member, at, frame))
    here = mixed + first_part(chunk, frame, step)
    for page in range(first, last + 1):
        keys = long_at(pages + page * 8) + place + head * 64 * width * 2
        values = keys + kv_heads * 64 * width * 2
        # Keys that are read next: of the next page, or of the next head, as they lie in memory.
        ahead = keys + 64 * width * 2
        if page < last or (page < final and head == kv_heads - 1):
            next_head = head if page < last else 0
            ahead = long_at(pages + page * 8 + 8) + place + next_head * 64 * width * 2
        seen = min(64, end - page * 64)
        attend_page(
            count * group,
            query,
            width,
            value_width,
            keys,
            values,
            page * 64,
            seen,
            begins_at,
            ends_at,
            biases,
            weights,
            result,
            ahead,
            cap,
        )
        for vector in range(count * group):
            to = here + (vector // group * heads + vector % group) * shares * size
            if page == first:
                copy(result + vector * size, value_width + 16, to)
            else:
                join(to, result + vector * size, value_width)


@compiled
def count(frame, step):
    """Chunks of a step: of each tile, each share of its pages, each key head."""
    return field(frame, Field.TILE_COUNT) * shares_of(frame, step) * field(step, Attend.KV_HEADS)


@compiled
def do(begin, end, thread, outbox, frame, step):
    """Chunks, into the parts where they belong, or into those of a helper."""
    mixed = field(frame, Field.MIXED) + outbox * field(frame, Field.MIXED_STRIDE)
    for chunk in range(begin, end):
        attend(chunk, thread, frame, step, mixed)


@compiled
def take_over(chunk, helper, frame, step):
    """Copy a helper's parts of a chunk to where they belong."""
    heads, kv_heads, width = field(step, Attend.HEADS), field(step, Attend.KV_HEADS), field(step, Attend.VALUE_DIM)
    group, size, shares = heads // kv_heads, width * 4 + 64, shares_of(frame, step)
    here, mixed = first_part(chunk, frame, step), field(frame, Field.MIXED)
    for vector in range(long_at(tile_of(chunk, frame, step) + 8) * group):
        at = here + (vector // group * heads + vector % group) * shares * size
        copy(mixed + helper * field(frame, Field.MIXED_STRIDE) + at, width + 16, mixed + at)


@compiled
def run(thread, threads, frame, step):
    """The chunks that are this thread's share."""
    entry, every = entry_of(frame, step), count(frame, step)
    if shares_of(frame, step) > 1:  # one text: neighbouring pages, as they lie in memory
        begin, end = every * thread // threads, every * (thread + 1) // threads
        call_do(field(entry, Entry.DO), begin, end, thread, 0, frame, step)
    else:  # long and short texts dealt out evenly
        for chunk in range(thread, every, threads):
            call_do(field(entry, Entry.DO), chunk, chunk + 1, thread, 0, frame, step)


ATTEND = Operation(Attend, run, Chunks(count, do, take_over, reads_texts=True))

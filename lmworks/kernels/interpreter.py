"""The interpreter: one operation of a tape after another, each shared among the threads, with a barrier between them.

A new network is a new tape, not a new compilation.
"""

from __future__ import annotations

from lmworks.kernels import activations
from lmworks.kernels.attention import MOST_VECTORS, attend_page, copy, divide, join, put_groups, put_query, query_at
from lmworks.kernels.claims import (
    BITS,
    MASK,
    address_of_step,
    await_attending,
    begin_attending,
    begin_step,
    change_cores,
    end_attending,
    end_run,
    go_alone,
    helper_of,
    mark,
    next_step,
    next_units,
)
from lmworks.kernels.embedding import embed, place
from lmworks.kernels.frame import (
    CORES,
    DONE,
    FRAME,
    LOOKS,
    MAIL_BEGIN,
    OF_VOCABULARY,
    OVER,
    TAKEN,
    THREADS,
    Field,
    Operation,
)
from lmworks.kernels.matrix import matrix
from lmworks.kernels.norms import norm
from lmworks.kernels.positions import place_head
from lmworks.kernels.quantised import quantise
from lmworks.kernels.scalars import (
    as_float,
    atomic_add,
    atomic_load,
    atomic_store,
    compiled,
    field,
    give_way,
    inlined,
    long_at,
    pause,
    put_long,
)
from lmworks.kernels.writing import run_choose, run_follow

# numba freezes global integers, but not the members of a class.
TAPE, STEPS, TOKENS, IDS, POSITIONS, TURNS = (
    int(one) for one in (Field.TAPE, Field.STEPS, Field.TOKENS, Field.IDS, Field.POSITIONS, Field.TURNS)
)
ENDS, PAGES, TILES, TILE_COUNT, PARTS, LAYER_BYTES = (
    int(one) for one in (Field.ENDS, Field.PAGES, Field.TILES, Field.TILE_COUNT, Field.PARTS, Field.LAYER_BYTES)
)
STREAM, VALUES, VALUES_STRIDE, SCALES, SUMS, SCALES_STRIDE = (
    int(one) for one in (Field.STREAM, Field.VALUES, Field.VALUES_STRIDE, Field.SCALES, Field.SUMS, Field.SCALES_STRIDE)
)
MIXED, COSINES, SINES, SCRATCH, SCRATCH_STRIDE, BARRIER = (
    int(one) for one in (Field.MIX, Field.COSINES, Field.SINES, Field.SCRATCH, Field.SCRATCH_STRIDE, Field.BARRIER)
)
ROUNDS, ROUNDS_DONE, STOP, KEPT, KEPT_COUNT = (
    int(one) for one in (Field.ROUNDS, Field.ROUNDS_DONE, Field.STOP, Field.KEPT, Field.KEPT_COUNT)
)
LED, MIX_STRIDE, MAIL_STRIDE, LOOKUP = (
    int(one) for one in (Field.LED, Field.MIX_STRIDE, Field.MAIL_STRIDE, Field.LOOKUP)
)
EMBED, PLACE, NORM, QUANTISE, MATRIX, HEADS, ATTEND, MIX, ACTIVATE, CHOOSE, KEEP, FOLLOW = (
    int(one) for one in Operation
)
STEP_BYTES = 8 * 12
PATIENCE = 2048
"""Looks at a barrier, some 50 microseconds, before the core is offered to others."""


@inlined
def barrier(place, threads):
    """Wait until all threads are here; what they stored before it is seen behind it. Returns how often it looked."""
    looks = 0
    if threads > 1:
        round_ = atomic_load(place + 64)
        if atomic_add(place, 1) == threads - 1:
            atomic_store(place, 0)
            atomic_store(place + TAKEN, 0)  # for the next matrix
            atomic_store(place + 64, round_ + 1)
        else:
            while atomic_load(place + 64) == round_:
                pause()
                looks += 1
                if looks % PATIENCE == 0:  # the other may be waiting for this very core
                    give_way()
    return looks


@inlined
def run_embed(thread, threads, frame, step):
    """The residual stream of every token."""
    tokens, stream, ids = field(frame, TOKENS), field(frame, STREAM), field(frame, IDS)
    table, bits, groups, size, factor = (
        field(step, 1),
        field(step, 2),
        field(step, 3),
        field(step, 4),
        as_float(field(step, 5)),
    )
    for token in range(thread, tokens, threads):
        embed(table, bits, groups, long_at(ids + 8 * token), factor, stream + token * size)


@inlined
def run_place(thread, threads, frame, step):
    """What learned or sinusoidal positions add."""
    tokens, stream, positions = field(frame, TOKENS), field(frame, STREAM), field(frame, POSITIONS)
    table, offset, dim = field(step, 1), field(step, 2), field(step, 3)
    for token in range(thread, tokens, threads):
        place(table, long_at(positions + 8 * token) + offset, dim, stream + token * dim * 4)


@inlined
def run_norm(thread, threads, frame, step):
    """A norm of every token, into the next matrix's values or into float32."""
    weight, bias, dim, eps, centred = (
        field(step, 1),
        field(step, 2),
        field(step, 3),
        as_float(field(step, 4)),
        field(step, 5),
    )
    source, kept, outliers = field(step, 6), field(step, 7), field(step, 8)
    values, scales, sums = field(frame, VALUES), field(frame, SCALES), field(frame, SUMS)
    values_stride, scales_stride = field(frame, VALUES_STRIDE), field(frame, SCALES_STRIDE)
    for token in range(thread, field(frame, TOKENS), threads):
        to = kept + token * dim * 4 if kept != 0 else 0
        of = values + token * values_stride if outliers != 0 else 0
        at = token * scales_stride
        norm(source + token * dim * 4, weight, bias, dim, eps, centred, to, of, scales + at, sums + at, outliers)


@inlined
def run_quantise(thread, threads, frame, step):
    """float32 numbers as they are, into the next matrix's values."""
    source, stride, width, factor = field(step, 1), field(step, 2), field(step, 3), as_float(field(step, 4))
    values, scales, sums = field(frame, VALUES), field(frame, SCALES), field(frame, SUMS)
    for token in range(thread, field(frame, TOKENS), threads):
        at = token * field(frame, SCALES_STRIDE)
        to = values + token * field(frame, VALUES_STRIDE)
        quantise(source + token * stride, width, factor, to, scales + at, sums + at, field(step, 5))


@inlined
def run_heads(thread, threads, frame, step):
    """Queries and keys normed and rotated, keys and values kept."""
    x, stride, heads, kv_heads, width = (field(step, 1), field(step, 2), field(step, 3), field(step, 4), field(step, 5))
    half, query_norm, key_norm, eps, factor = (
        field(step, 6),
        field(step, 7),
        field(step, 8),
        as_float(field(step, 9)),
        as_float(field(step, 10)),
    )
    layer_bytes = field(step, 11) * field(frame, LAYER_BYTES)
    positions, turns, pages = field(frame, POSITIONS), field(frame, TURNS), field(frame, PAGES)
    units = field(frame, TOKENS) * (heads + kv_heads)
    for unit in range(units * thread // threads, units * (thread + 1) // threads):
        token, head = unit // (heads + kv_heads), unit % (heads + kv_heads)
        position, turn = long_at(positions + 8 * token), long_at(turns + 8 * token) * half * 4
        page = long_at(long_at(pages + 8 * token) + position // 64 * 8) + layer_bytes
        place_head(
            x + token * stride,
            head,
            heads,
            kv_heads,
            width,
            field(frame, COSINES) + turn,
            field(frame, SINES) + turn,
            half,
            query_norm,
            key_norm,
            eps,
            factor,
            page,
            position,
        )


@inlined
def first_seen(position, window):
    """The first position that a token sees."""
    return max(position - window + 1, 0) if window > 0 else 0


@inlined
def attention_units(frame, step):
    """Units of attention: of each tile, each share of its pages, each key head."""
    return field(frame, TILE_COUNT) * max(field(frame, PARTS), 1) * field(step, 4)


@inlined
def attend(unit, thread, frame, step, mixed):
    """A unit's queries over its pages, into `mixed`."""
    x, stride, heads, kv_heads, width = (field(step, 1), field(step, 2), field(step, 3), field(step, 4), field(step, 5))
    layer_bytes, window = field(step, 6) * field(frame, LAYER_BYTES), field(step, 7)
    positions, ends, pages, parts = (
        field(frame, POSITIONS),
        field(frame, ENDS),
        field(frame, PAGES),
        field(frame, PARTS),
    )
    group, size, shares = heads // kv_heads, width * 4 + 64, max(parts, 1)
    # Scratch: queries, where they begin and end to see, weights, results.
    most = -(-max(group, 12) // MOST_VECTORS) * MOST_VECTORS
    query = field(frame, SCRATCH) + thread * field(frame, SCRATCH_STRIDE)
    begins_at = query + most * width * 4
    ends_at = begins_at + most * 8
    weights = ends_at + most * 8
    result = weights + 12 * 256
    head, share, tile = (
        unit % kv_heads,
        unit // kv_heads % shares,
        field(frame, TILES) + unit // kv_heads // shares * 16,
    )
    token, count = long_at(tile), long_at(tile + 8)
    first = first_seen(long_at(positions + 8 * token), window) // 64
    end = long_at(ends + 8 * (token + count - 1))
    final = (end - 1) // 64
    last = final
    if parts > 1:
        first += share
        last = min(first, last)
    if first <= last:
        for one in range(count):
            at = token + one
            for member in range(group):
                vector = one * group + member
                put_query(x + at * stride + (head * group + member) * width * 4, width, query_at(query, vector, width))
                put_long(begins_at + 8 * vector, first_seen(long_at(positions + 8 * at), window))
                put_long(ends_at + 8 * vector, long_at(ends + 8 * at))
    here = mixed + first_part(unit, frame, step)
    for page in range(first, last + 1):
        keys = long_at(long_at(pages + 8 * token) + page * 8) + layer_bytes + head * 64 * width * 2
        values = keys + kv_heads * 64 * width * 2
        # Keys that are read next: of the next page, or of the next head, as they lie in memory.
        ahead = keys + 64 * width * 2
        if page < last or (page < final and head == kv_heads - 1):
            next_head = head if page < last else 0
            ahead = long_at(long_at(pages + 8 * token) + page * 8 + 8) + layer_bytes + next_head * 64 * width * 2
        seen = min(64, end - page * 64)
        attend_page(
            count * group, query, width, keys, values, page * 64, seen, begins_at, ends_at, weights, result, ahead
        )
        for vector in range(count * group):
            to = here + (vector // group * heads + vector % group) * shares * size
            if page == first:
                copy(result + vector * size, width + 16, to)
            else:
                join(to, result + vector * size, width)


@inlined
def first_part(unit, frame, step):
    """Where in MIX the part of a unit's first query begins; those of its other heads and tokens lie behind it."""
    heads, kv_heads, width, shares = field(step, 3), field(step, 4), field(step, 5), max(field(frame, PARTS), 1)
    tile, head = field(frame, TILES) + unit // kv_heads // shares * 16, unit % kv_heads * (heads // kv_heads)
    return ((long_at(tile) * heads + head) * shares + unit // kv_heads % shares) * (width * 4 + 64)


@inlined
def take_over_unit(unit, found, frame, step):
    """What a helper found for a unit of attention."""
    heads, kv_heads, width, shares = field(step, 3), field(step, 4), field(step, 5), max(field(frame, PARTS), 1)
    group, size, here = heads // kv_heads, width * 4 + 64, first_part(unit, frame, step)
    tile = field(frame, TILES) + unit // kv_heads // shares * 16
    for vector in range(long_at(tile + 8) * group):
        at = here + (vector // group * heads + vector % group) * shares * size
        copy(found + at, width + 16, field(frame, MIXED) + at)


@compiled
def run_attend(thread, threads, frame, step, epoch):
    """This thread's units of attention. Where a thread leads, `epoch` is the step's number."""
    units, mixed = attention_units(frame, step), field(frame, MIXED)
    begin, end, by, claimed = thread, units, threads, 0  # long and short texts shared out evenly
    if epoch != 0:
        mixed += thread * field(frame, MIX_STRIDE)
    elif field(frame, PARTS) > 1:  # one text: neighbours, as they lie in memory
        begin, end, by = units * thread // threads, units * (thread + 1) // threads, 1
    while True:
        if epoch != 0:
            claimed = next_units(thread, threads, frame, epoch)
            if claimed == 0:
                break
            begin, end, by = abs(claimed) >> BITS, abs(claimed) & MASK, 1
        for unit in range(begin, end, by):
            if claimed < 0:
                found = field(frame, MIXED) + helper_of(threads, frame, unit) * field(frame, MIX_STRIDE)
                take_over_unit(unit, found, frame, step)
            else:
                attend(unit, thread, frame, step, mixed)
            if epoch != 0 and thread != 0 and not mark(thread, threads, frame, epoch, unit):
                break
        if epoch == 0:
            break


@inlined
def run_mix(thread, threads, frame, step):
    """Parts joined and divided, into the next matrix's values: two heads at once where one is no whole group of 32."""
    heads, width, window = field(step, 1), field(step, 2), field(step, 3)
    parts, mixed, size = field(frame, PARTS), field(frame, MIXED), width * 4 + 64
    span = 1 if width % 32 == 0 else 2
    scratch = field(frame, SCRATCH) + thread * field(frame, SCRATCH_STRIDE)
    units = field(frame, TOKENS) * (heads // span)
    for unit in range(units * thread // threads, units * (thread + 1) // threads):
        token, head = unit // (heads // span), unit % (heads // span) * span
        position = long_at(field(frame, POSITIONS) + 8 * token)
        last = (long_at(field(frame, ENDS) + 8 * token) - 1) // 64
        pages = last - first_seen(position, window) // 64 + 1
        for one in range(span):
            part = mixed + (token * heads + head + one) * parts * size
            if parts > 1:
                for share in range(1, pages):
                    join(part, part + share * size, width)
            divide(part, width, scratch + one * width * 4)
        at = token * field(frame, SCALES_STRIDE)
        put_groups(
            scratch,
            head * width // 32,
            span * width // 32,
            field(frame, VALUES) + token * field(frame, VALUES_STRIDE),
            field(frame, SCALES) + at,
            field(frame, SUMS) + at,
        )


@inlined
def run_activate(thread, threads, frame, step):
    """The feed-forward's non-linearity, into the next matrix's values."""
    x, stride, width, kind, gated = (field(step, 1), field(step, 2), field(step, 3), field(step, 4), field(step, 5))
    outliers = field(step, 6)
    groups = width // 32
    units = field(frame, TOKENS) * groups
    for unit in range(units * thread // threads, units * (thread + 1) // threads):
        token, group = unit // groups, unit % groups
        at = x + token * stride
        by = at + width * 4 if gated != 0 else 0
        values = field(frame, VALUES) + token * field(frame, VALUES_STRIDE)
        scales = field(frame, SCALES) + token * field(frame, SCALES_STRIDE)
        sums = field(frame, SUMS) + token * field(frame, SCALES_STRIDE)
        if kind == 0:
            activations.silu(at, by, group, values, scales, sums, outliers)
        elif kind == 1:
            activations.gelu(at, by, group, values, scales, sums, outliers)
        elif kind == 2:
            activations.gelu_tanh(at, by, group, values, scales, sums, outliers)
        elif kind == 3:
            activations.relu(at, by, group, values, scales, sums, outliers)
        elif kind == 4:
            activations.relu_squared(at, by, group, values, scales, sums, outliers)
        elif kind == 5:
            activations.sigmoid(at, by, group, values, scales, sums, outliers)
        else:
            activations.tanh(at, by, group, values, scales, sums, outliers)


@inlined
def run_keep(thread, frame, step):
    """The kept tokens in front, each a tile of its own; the others have left their keys and values and are done."""
    if thread != 0:
        return
    count = field(frame, KEPT_COUNT)
    for number in range(count):
        token = long_at(field(frame, KEPT) + 8 * number)
        for pair in range(3):
            rows, size = field(step, 1 + 2 * pair), field(step, 2 + 2 * pair)
            if rows != 0:
                copy(rows + token * size, size // 4, rows + number * size)
        for place_ in (field(frame, POSITIONS), field(frame, ENDS), field(frame, PAGES)):
            put_long(place_ + 8 * number, long_at(place_ + 8 * token))
        put_long(field(frame, TILES) + 16 * number, number)
        put_long(field(frame, TILES) + 16 * number + 8, 1)
    put_long(frame + 8 * TOKENS, count)
    put_long(frame + 8 * TILE_COUNT, count)


@inlined
def help_(thread, threads, frame, cores):
    """Do what the leader lets be claimed, until it says that the run is over."""
    looks = 0
    while True:
        epoch = next_step(frame)
        if epoch == OVER:
            break
        if epoch <= 0:
            pause()
            looks = looks + 1 if epoch == 0 else 0
            if looks > 0 and looks == field(cores, 0):
                change_cores(thread, frame, cores)
                looks = 0
            continue
        step, looks = address_of_step(frame), 0
        if field(step, 0) == MATRIX:
            matrix(thread, threads, frame, step, epoch)
        else:
            begin_attending(thread, frame)
            run_attend(thread, threads, frame, step, epoch)
            end_attending(thread, frame)


@inlined
def run_tape(thread, threads, frame, cores):  # noqa: PLR0912, PLR0915 (with the choice in a function of its own numba takes 5 s more)
    """This thread's share of every step of the frame's tape, round after round. How often it looked while it waited for others
    stands behind the barrier, 64 bytes for each thread, up to the last wait. Where thread 0 leads, it goes alone, and the others help."""
    tape, place_, looks, epoch = field(frame, TAPE), field(frame, BARRIER), 0, 0
    led, alike, rounds = field(frame, LED) != 0, threads, field(frame, ROUNDS)
    room = field(frame, MAIL_STRIDE) - MAIL_BEGIN
    if led:
        alike = 1
        if thread != 0:
            help_(thread, threads, frame, cores)
            rounds = 0
    for round_ in range(rounds):
        for number in range(field(frame, STEPS)):
            step = tape + number * STEP_BYTES
            operation = field(step, 0)
            if led:
                epoch = 0
                if operation == MATRIX and field(step, 3) * field(frame, TOKENS) * 64 <= room:
                    epoch = begin_step(frame, step, field(step, 3))
                elif operation == ATTEND:
                    epoch = begin_step(frame, step, attention_units(frame, step))
                elif operation == CHOOSE or field(frame, TOKENS) > OF_VOCABULARY:
                    go_alone(frame)
            if operation == EMBED:
                run_embed(thread, alike, frame, step)
            elif operation == PLACE:
                run_place(thread, alike, frame, step)
            elif operation == NORM:
                run_norm(thread, alike, frame, step)
            elif operation == QUANTISE:
                run_quantise(thread, alike, frame, step)
            elif operation == MATRIX:
                matrix(thread, threads if epoch != 0 else alike, frame, step, epoch)
            elif operation == HEADS:
                run_heads(thread, alike, frame, step)
            elif operation == ATTEND:
                run_attend(thread, threads, frame, step, epoch)
            elif operation == MIX:
                run_mix(thread, alike, frame, step)
            elif operation == ACTIVATE:
                run_activate(thread, alike, frame, step)
            elif operation == CHOOSE:
                run_choose(thread, alike, frame, step, round_)
            elif operation == FOLLOW:
                if led and field(frame, LOOKUP) != 0:  # tiles change
                    await_attending(threads, frame)
                run_follow(thread, frame, round_)
            elif operation == KEEP:
                if led:
                    await_attending(threads, frame)
                run_keep(thread, frame, step)
            put_long(place_ + LOOKS + 64 * thread, looks)
            looks += barrier(place_, alike)
        if thread == 0:
            put_long(frame + 8 * ROUNDS_DONE, round_ + 1)
        stops = field(frame, STOP)
        barrier(place_, alike)  # before anybody leaves, whose next run begins with another STOP
        if stops != 0:
            break
    if led and thread == 0:
        end_run(threads, frame, cores)


@compiled
def wait_for(place_, seen, spins):
    """The number at `place_` as soon as it is not `seen`, or `seen` after so many looks."""
    for _ in range(spins):
        now = atomic_load(place_)
        if now != seen:
            return now
        pause()
    return seen


@compiled
def run(thread, jobs, looks):
    """Thread 0: do the job. Another one: the jobs as they come, until none has come for so many looks. Stays in compiled code between
    two jobs, as it would take the interpreter's lock from thread 0, which prepares the next one."""
    own = jobs + 64 * thread
    done = long_at(own + DONE)
    while True:
        job = wait_for(own, done, looks) if thread != 0 else done + 1
        if job == done:
            break
        run_tape(thread, long_at(jobs + THREADS), long_at(jobs + FRAME), long_at(jobs + CORES))
        done = job
        atomic_store(own + DONE, done)
        if thread == 0:
            break


@compiled
def signal(place_, number):
    """Put a number there for a thread that waits."""
    atomic_store(place_, number)

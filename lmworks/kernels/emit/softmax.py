"""The softmax of logits that is not written down, and a token drawn from what filters leave of it.

A vocabulary's probabilities take more room than a core's nearest caches have, and nearly all of them are next to
nothing. Here each logit is read twice, for the largest and for the exponents, and only what reaches an edge is stored.
The filters are defined in `lmworks.generation.filters`; these find their thresholds by halving, not by sorting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from lmworks.kernels.emit.compiler import float32
from lmworks.kernels.emit.scalars import (
    as_float,
    bits_of,
    compiled,
    inlined,
    put_single,
    single_at,
    word_at,
)
from lmworks.kernels.emit.vectors import FLOATS, LONG, SHORT, SINGLE, WORD, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import CHUNK, EDGE, LARGEST, SPARE, TOTALS
from lmworks.kernels.operation import float_bits

BIT = ir.IntType(1)
SMALLEST = float("-inf")
ONE_BITS = float_bits(1.0)
LEAST = 1.5e-38
"""Below the smallest exponent but 0."""
FEW = 16
"""Vectors that are summed in float32."""
ROUNDING = 1e-6
"""Of sums in float32."""


@emitted(Float, Int, Int)
def largest_of(e: Emitter, values: Value, vectors: Value) -> Value:
    """The largest of 16 x `vectors` numbers, at least one vector."""
    seen = e.variable(e.load(FLOATS, values))
    with e.loop(1, vectors) as at:
        e.b.store(e.larger(e.load(FLOATS, values, e.times(at, 64)), e.b.load(seen)), seen)
    return e.largest(e.b.load(seen))


@emitted(Int, Int, Int, Float, Float, Float, Int, Int, Int, Int)
def weigh(
    e: Emitter,
    values: Value,
    first: Value,
    largest: Value,
    factor: Value,
    edge: Value,
    total: Value,
    places: Value,
    weights: Value,
    found: Value,
) -> Value:
    """e^(factor (value - largest)) of CHUNK numbers: their sum to `total`; of those that reach `edge`, the places
    (int32, counted from `first` for the first one) and weights after the `found` ones that are there. Returns how many
    are now."""
    top, by, least = (e.splat(one) for one in (largest, factor, edge))
    count, left, lanes = e.variable(found), e.variable(found), e.memory(1)
    sums = e.constant(0.0, FLOATS)
    for vector in range(CHUNK // 16):
        x = e.b.fmul(e.b.fsub(e.load(FLOATS, values, 64 * vector), top), by)
        # exp clamps at e^-87; what is forbidden (-inf) weighs nothing.
        weight = e.b.select(e.b.fcmp_ordered("<", x, e.constant(-87.0, FLOATS)), e.constant(0.0, FLOATS), e.exp(x))
        sums = e.b.fadd(sums, weight)
        reached = e.b.bitcast(e.b.fcmp_ordered(">=", weight, least), SHORT)
        with e.b.if_then(e.b.icmp_unsigned("!=", reached, e.constant(0, SHORT)), likely=False):
            e.store(weight, lanes)
            e.b.store(e.b.zext(reached, LONG), left)
            begin, more = e.b.load(count), e.call("llvm.ctpop.i64", LONG, e.b.load(left))
            with e.loop(0, more) as number:
                bits, at = e.b.load(left), e.times(e.b.add(begin, number), 4)
                lane = e.call("llvm.cttz.i64", LONG, bits, e.constant(1, BIT))
                e.store(e.b.trunc(e.b.add(e.plus(first, 16 * vector), lane), WORD), places, at, align=4)
                e.store(e.load(SINGLE, lanes, e.times(lane, 4), align=4), weights, at, align=4)
                e.b.store(e.b.and_(bits, e.b.sub(bits, e.constant(1))), left)
            e.b.store(e.b.add(begin, more), count)
    e.store(e.sum(sums), total, align=4)
    return e.b.load(count)


def _sum_above(name: str, part: Callable[[Emitter, Value], Value]) -> Any:
    @emitted(Float, Int, Int, Float)
    def sum_above(e: Emitter, weights: Value, vectors: Value, threshold: Value) -> Value:
        total, least = e.variable(e.constant(0.0, FLOATS)), e.splat(threshold)
        with e.loop(0, vectors) as at:
            weight = e.load(FLOATS, weights, e.times(at, 64))
            taken = e.b.select(e.b.fcmp_ordered(">=", weight, least), part(e, weight), e.constant(0.0, FLOATS))
            e.b.store(e.b.fadd(e.b.load(total), taken), total)
        return e.sum(e.b.load(total))

    sum_above.__name__ = name
    return sum_above


few_above = _sum_above("few_above", lambda e, weight: weight)
"""The sum of the weights of at least `threshold`, of 16 x `vectors`, few enough that float32 loses none beside a 1."""
count_above = _sum_above("count_above", lambda e, weight: e.constant(1.0, FLOATS))
"""How many they are."""


@inlined
def places_of(count, room):
    """The address of the places in a room."""
    return room + TOTALS + 4 * ((count + CHUNK - 1) // CHUNK)


@inlined
def weights_of(count, room):
    """The address of the weights in a room."""
    return places_of(count, room) + 4 * CHUNK * ((count + CHUNK - 1) // CHUNK)


@inlined
def survey(logits, count, factor, edge, room):
    """The exponents e^(factor (logit - largest)) of `count` float32 logits, their sums, and those that reach `edge`,
    into `room` (its layout: frame.py). Returns how many reach it."""
    places, weights, totals = places_of(count, room), weights_of(count, room), room + TOTALS
    whole = count // CHUNK
    begin = whole * CHUNK
    for at in range(CHUNK):
        put_single(room + 4 * at, single_at(logits + 4 * (begin + at)) if begin + at < count else float32(SMALLEST))
    largest = largest_of(room, CHUNK // 16)
    if whole > 0:
        largest = max(largest, largest_of(logits, begin // 16))
    put_single(room + LARGEST, largest)
    found, by, least = 0, float32(factor), float32(edge)
    for chunk in range(whole):
        at = chunk * CHUNK
        found = weigh(logits + 4 * at, at, largest, by, least, totals + 4 * chunk, places, weights, found)
    if begin < count:
        found = weigh(room, begin, largest, by, least, totals + 4 * whole, places, weights, found)
    return found


@inlined
def sum_of(totals, chunks):
    """Of float32 numbers, in float64."""
    total = 0.0
    for chunk in range(chunks):
        total += single_at(totals + 4 * chunk)
    return total


@compiled
def log_total(logits, count, room):
    """log of the sum of e^logit."""
    survey(logits, count, 1.0, math.inf, room)
    return single_at(room + LARGEST) + math.log(sum_of(room + TOTALS, (count + CHUNK - 1) // CHUNK))


@inlined
def mass_above(weights, vectors, threshold):
    """The sum of the weights that are at least `threshold`, of 16 x `vectors`, in float64."""
    total = 0.0
    for first in range(0, vectors, FEW):
        total += few_above(weights + 64 * first, min(FEW, vectors - first), threshold)
    return total


@inlined
def mass_of(weights, found):
    """The sum of the weights that were found; their last vector is filled up with zeros."""
    for place in range(found, (found + 15) // 16 * 16):
        put_single(weights + 4 * place, float32(0.0))
    return mass_above(weights, (found + 15) // 16, float32(LEAST))


@inlined
def threshold_of(weights, vectors, edge, wanted, counted):
    """The largest threshold, not below the edge, that weights worth `wanted` reach together; where `counted`, that
    this many weights reach."""
    # The bits of positive numbers stand in the order of the numbers.
    low, high = bits_of(float32(edge)) - 1, ONE_BITS + 1
    while high - low > 1:
        middle = (low + high) // 2
        least = as_float(middle)
        there = float(count_above(weights, vectors, least)) if counted else mass_above(weights, vectors, least)
        if there >= wanted:
            low = middle
        else:
            high = middle
    return as_float(low)


@inlined
def draw_of_all(logits, count, factor, total, at, room):
    """The token at the share `at` of all."""
    chunk, before, after, left = 0, 0.0, 0.0, at * total
    for number in range((count + CHUNK - 1) // CHUNK):
        weight = single_at(room + TOTALS + 4 * number)
        if weight > 0:
            chunk, before, after = number, after, after + weight
            if after > left:
                break
    begin = chunk * CHUNK
    size = min(CHUNK, count - begin)
    source, weights = logits + 4 * begin if size == CHUNK else room, weights_of(count, room)
    largest, no_edge = single_at(room + LARGEST), float32(0.0)
    weigh(source, begin, largest, float32(factor), no_edge, room + SPARE, places_of(count, room), weights, 0)
    left = min(max((left - before) / single_at(room + TOTALS + 4 * chunk), 0.0), 1.0)
    return begin + place_of(weights, size, no_edge, size, left * sum_of(weights, size))


@inlined
def place_of(weights, count, threshold, equals, at):
    """The first place where the running sum of the weights above the threshold, and of the first `equals` that equal
    it, is above `at`; the last of these where rounding finds none."""
    total, last = 0.0, 0
    for place in range(count):
        weight = single_at(weights + 4 * place)
        if weight < threshold:
            continue
        if weight == threshold:
            if equals == 0:
                continue
            equals -= 1
        if weight > 0:
            last = place
        total += weight
        if total > at:
            break
    return last


@compiled
def choose(logits, count, factor, top_k, top_p, min_p, at, room):
    """A token by its probability e^(factor logit) among those that the filters leave, at the share `at` of them; top_k
    0, top_p 1 and min_p 0 are no filters. Looks at what reaches an edge, and at all where that may not be enough. -1
    where top_p is 1 but for rounding, and where the logits are not finite."""
    filtered = top_k > 0 or top_p < 1 or min_p > 0
    edge = EDGE
    found = survey(logits, count, factor, edge if filtered else math.inf, room)
    total = sum_of(room + TOTALS, (count + CHUNK - 1) // CHUNK)
    if not (math.isfinite(total) and math.isfinite(single_at(room + LARGEST))):
        return -1
    if not filtered:
        return draw_of_all(logits, count, factor, total, at, room)
    weights = weights_of(count, room)
    mass = 0.0 if top_k > 0 or top_p >= 1 else (top_p + ROUNDING) * total
    by_share = top_k == 0 and top_p >= 1
    if found < min(top_k, count) or (by_share and min_p <= EDGE) or mass_of(weights, found) < mass:
        edge = LEAST  # then only what weighs nothing is left out
        found = survey(logits, count, factor, edge, room)
    if mass_of(weights, found) < mass:
        return -1
    vectors = (found + 15) // 16
    threshold, equals = float32(edge), found
    if top_k > 0:
        if top_k < found:
            threshold = threshold_of(weights, vectors, edge, float(top_k), True)
        total = mass_above(weights, vectors, threshold)
    if top_p < 1:
        least = max(threshold, threshold_of(weights, vectors, edge, top_p * total, False))
        above = mass_above(weights, vectors, as_float(bits_of(least) + 1))
        threshold, equals = least, max(math.ceil((top_p * total - above) / least - ROUNDING), 1)
        total = above + equals * least
    if min_p > threshold:
        threshold, equals = float32(min_p), found
        total = mass_above(weights, vectors, threshold)
    return word_at(places_of(count, room) + 4 * place_of(weights, found, threshold, equals, at * total))

"""ROUTE: each token's experts, those with the largest scores, and what their results weigh: these scores, or their
shares of the chosen ones' sum (lmworks/models/experts.py). Scores are the softmax over all experts, or sigmoids; who is
chosen may hang on a bias beside them, and on groups of experts."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.compiler import float32
from lmworks.kernels.emit.scalars import compiled, field, float_field, inlined, put_long, put_single, single_at
from lmworks.kernels.emit.softmax import SMALLEST
from lmworks.kernels.emit.vectors import FLOATS, SINGLE, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation

LARGEST = float("inf")


class Route(Operands):
    """Operands of ROUTE."""

    LOGITS = auto()
    """Address of float32 [tokens, experts], with room for a multiple of 16; they do not stay as they are."""
    LOGITS_STRIDE = auto()
    BIAS = auto()
    """Address of float32 [experts], which is added to the logits, or 0."""
    EXPERTS = auto()
    TOP_K = auto()
    NORMALISED = auto()
    """1: the weights of the chosen sum to 1."""
    SCALE = auto()
    """What the weights are multiplied with."""
    CHOSEN = auto()
    """Address of int64 [tokens, top_k]: experts, preferred ones first."""
    WEIGHTS = auto()
    """Address of float32 [tokens, top_k]."""
    SIGMOIDS = auto()
    """1: scores are sigmoids; 0: the softmax."""
    PREFERENCE = auto()
    """Address of float32 [experts], which is added to the scores where experts are chosen, or 0."""
    GROUPS = auto()
    """Of neighbouring experts, as many in each."""
    TOP_GROUPS = auto()
    """How many of these a token's experts are chosen from: those with the largest sums of two scores; or 0."""


def scratch_bytes(experts: int) -> int:
    """What a thread works in: a score for each expert, and what groups come to."""
    return 8 * -(-experts // 16) * 16


@emitted(Float, Int, Int, Float, Int)
def exponents(e: Emitter, x: Value, count: Value, largest: Value, to: Value) -> Value:
    """e^(number - largest) of `count` numbers, a multiple of 16; returns their sum."""
    total, largest = e.variable(e.constant(0.0, FLOATS)), e.splat(largest)
    with e.loop(0, e.b.sdiv(count, e.constant(16))) as part:
        exponent = e.exp(e.b.fsub(e.load(FLOATS, x, e.times(part, 64)), largest))
        e.store(exponent, to, e.times(part, 64))
        e.b.store(e.b.fadd(e.b.load(total), exponent), total)
    return e.sum(e.b.load(total))


@emitted(Float, Int, Int, Int)
def sigmoids(e: Emitter, x: Value, count: Value, to: Value) -> Value:
    """The sigmoids of `count` numbers, a multiple of 16; returns 1, as they are no shares of a sum."""
    one = e.constant(1.0, FLOATS)
    with e.loop(0, e.b.sdiv(count, e.constant(16))) as part:
        number = e.load(FLOATS, x, e.times(part, 64))
        e.store(e.b.fdiv(one, e.b.fadd(one, e.exp(e.b.fneg(number)))), to, e.times(part, 64))
    return e.constant(1.0, SINGLE)


@emitted(Float, Float)
def fault_of(e: Emitter, x: Value) -> Value:
    """0; NaN of what is not finite."""
    return e.b.fmul(x, e.constant(0.0, SINGLE))


@inlined
def leave_out_groups(scores, experts, groups, top_groups, sums):
    """Minus infinity in the place of the scores of all experts but those of the best groups; `sums` is scratch of as
    many numbers as there are groups."""
    within = experts // groups
    for group in range(groups):
        first, second = float32(SMALLEST), float32(SMALLEST)
        for expert in range(group * within, (group + 1) * within):
            score = single_at(scores + 4 * expert)
            if score > first:
                first, second = score, first
            elif score > second:
                second = score
        put_single(sums + 4 * group, first + second)
    for _ in range(groups - top_groups):
        worst, least = 0, float32(LARGEST)
        for group in range(groups):
            if single_at(sums + 4 * group) < least:
                worst, least = group, single_at(sums + 4 * group)
        put_single(sums + 4 * worst, float32(LARGEST))
        for expert in range(worst * within, (worst + 1) * within):
            put_single(scores + 4 * expert, float32(SMALLEST))


@compiled
def run(thread, threads, frame, step):
    """Choose for the tokens that are this thread's share."""
    experts, top_k, bias = field(step, Route.EXPERTS), field(step, Route.TOP_K), field(step, Route.BIAS)
    preference, groups, top_groups = (
        field(step, Route.PREFERENCE),
        field(step, Route.GROUPS),
        field(step, Route.TOP_GROUPS),
    )
    are_sigmoids = field(step, Route.SIGMOIDS) != 0
    padded = (experts + 15) // 16 * 16
    scores = field(frame, Field.SCRATCH) + thread * field(frame, Field.SCRATCH_STRIDE)
    for token in range(thread, field(frame, Field.TOKENS), threads):
        logits = field(step, Route.LOGITS) + token * field(step, Route.LOGITS_STRIDE)
        chosen = field(step, Route.CHOSEN) + 8 * token * top_k
        weights = field(step, Route.WEIGHTS) + 4 * token * top_k
        largest, fault = float32(SMALLEST), float32(0.0)
        for expert in range(experts):
            if bias != 0:
                put_single(logits + 4 * expert, single_at(logits + 4 * expert) + single_at(bias + 4 * expert))
            logit = single_at(logits + 4 * expert)
            fault += fault_of(logit)
            largest = max(largest, logit)
        for expert in range(experts, padded):
            put_single(logits + 4 * expert, float32(SMALLEST))
        total = sigmoids(logits, padded, scores) if are_sigmoids else exponents(logits, padded, largest, scores)
        if preference != 0 or top_groups != 0:
            for expert in range(experts):
                preferred = single_at(scores + 4 * expert) / total
                if preference != 0:
                    preferred += single_at(preference + 4 * expert)
                fault += fault_of(preferred)
                put_single(logits + 4 * expert, preferred)
        if top_groups != 0:
            leave_out_groups(logits, experts, groups, top_groups, scores + 4 * padded)
        together = float32(0.0)
        for place in range(top_k):
            best, logit = 0, float32(SMALLEST)
            for expert in range(experts):
                if single_at(logits + 4 * expert) > logit:
                    best, logit = expert, single_at(logits + 4 * expert)
            put_single(logits + 4 * best, float32(SMALLEST))
            put_long(chosen + 8 * place, best)
            share = single_at(scores + 4 * best)
            together += share
            put_single(weights + 4 * place, share)
        factor = float_field(step, Route.SCALE) / (together if field(step, Route.NORMALISED) != 0 else total)
        for place in range(top_k):
            put_single(weights + 4 * place, single_at(weights + 4 * place) * factor + fault)


ROUTE = Operation(Route, run)

"""ROUTE: each token's experts, the ones with the largest logits, and what their results weigh: the softmax over all
experts, or over the chosen alone (lmworks/models/experts.py)."""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.compiler import float32
from lmworks.kernels.emit.scalars import compiled, field, float_field, put_long, put_single, single_at
from lmworks.kernels.emit.softmax import SMALLEST
from lmworks.kernels.emit.vectors import FLOATS, SINGLE, WORD, Emitter, Float, Int, Value, emitted
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation


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
    """Address of int64 [tokens, top_k]: experts, those with larger logits first."""
    WEIGHTS = auto()
    """Address of float32 [tokens, top_k]."""


@emitted(Float, Int, Int, Float)
def total_exponent(e: Emitter, x: Value, count: Value, largest: Value) -> Value:
    """The sum of e^(number - largest) over `count` numbers, a multiple of 16."""
    total, largest = e.variable(e.constant(0.0, FLOATS)), e.splat(largest)
    with e.loop(0, e.b.sdiv(count, e.constant(16))) as part:
        number = e.b.fsub(e.load(FLOATS, x, e.times(part, 64)), largest)
        e.b.store(e.b.fadd(e.b.load(total), e.exp(number)), total)
    return e.sum(e.b.load(total))


@emitted(Float, Float)
def exponent(e: Emitter, x: Value) -> Value:
    """e^x"""
    return e.b.extract_element(e.exp(e.splat(x)), e.constant(0, WORD))


@emitted(Float, Float)
def fault_of(e: Emitter, x: Value) -> Value:
    """0; NaN of what is not finite."""
    return e.b.fmul(x, e.constant(0.0, SINGLE))


@compiled
def run(thread, threads, frame, step):
    """Choose for the tokens that are this thread's share."""
    experts, top_k, bias = field(step, Route.EXPERTS), field(step, Route.TOP_K), field(step, Route.BIAS)
    padded = (experts + 15) // 16 * 16
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
        total = total_exponent(logits, padded, largest)
        together = float32(0.0)
        for place in range(top_k):
            best, logit = 0, float32(SMALLEST)
            for expert in range(experts):
                if single_at(logits + 4 * expert) > logit:
                    best, logit = expert, single_at(logits + 4 * expert)
            put_single(logits + 4 * best, float32(SMALLEST))
            put_long(chosen + 8 * place, best)
            share = exponent(logit - largest)
            together += share
            put_single(weights + 4 * place, share)
        factor = float_field(step, Route.SCALE) / (together if field(step, Route.NORMALISED) != 0 else total)
        for place in range(top_k):
            put_single(weights + 4 * place, single_at(weights + 4 * place) * factor + fault)


ROUTE = Operation(Route, run)

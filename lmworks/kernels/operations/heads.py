"""HEADS: queries and keys are normed and rotated by their position; keys and values go into the cache.

A page of the cache holds 64 positions of one row. In it lie, for each layer and key head,

    keys     float16 [64 / 16, head_dim, 16]     16 positions side by side, the lanes of attention's scores
    values   float16 [64, head_dim]

first all keys of a layer, then all its values. With latent attention there is one of each, the values narrower
(operations/latent.py).
"""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, float_field, inlined, long_at
from lmworks.kernels.emit.vectors import FLOATS, FLOATS_8, HALVES, WORD, Emitter, Float, Int, Value, emitted, ir
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.operations.norm import head_norm


class Heads(Operands):
    """Operands of HEADS."""

    QKV = auto()
    """Address of float32 [tokens, heads + 2 kv_heads, head_dim]: queries, keys, values."""
    QKV_STRIDE = auto()
    HEADS = auto()
    KV_HEADS = auto()
    HEAD_DIM = auto()
    HALF = auto()
    """Dimensions that are rotated against as many others; 0 for no rotation."""
    TURN = auto()
    """Where in a row of cosines and sines those of this layer begin, in bytes."""
    QUERY_NORM = auto()
    """Address of float32 [head_dim], the weight of an RMS norm, or 0."""
    KEY_NORM = auto()
    NORMS_LAST = auto()
    """1: the norms come after the rotation."""
    EPS = auto()
    SCALE = auto()
    """Attention's factor of the scores, which queries are multiplied with."""
    PLACE = auto()
    """Where the layer's part of a page begins, in bytes."""


@emitted(None, Int, Int, Int, Int)
def rotate(e: Emitter, x: Value, cosine: Value, sine: Value, half: Value) -> None:
    """Rotate dimension i of a head against i + half, for i below `half`, a multiple of 8."""
    with e.loop(0, e.b.sdiv(half, e.constant(8))) as part:
        place = e.times(part, 32)
        other = e.plus(place, e.times(half, 4))
        first, second = e.load(FLOATS_8, x, place), e.load(FLOATS_8, x, other)
        cos, sin = e.load(FLOATS_8, cosine, place), e.load(FLOATS_8, sine, place)
        e.store(e.b.fsub(e.b.fmul(first, cos), e.b.fmul(second, sin)), x, place)
        e.store(e.b.fadd(e.b.fmul(second, cos), e.b.fmul(first, sin)), x, other)


@emitted(None, Int, Int, Float)
def scale(e: Emitter, x: Value, width: Value, factor: Value) -> None:
    """Multiply a head by a number."""
    factor = e.splat(factor)
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        place = e.times(part, 64)
        e.store(e.b.fmul(e.load(FLOATS, x, place), factor), x, place)


@emitted(None, Int, Int, Int)
def keep_key(e: Emitter, x: Value, width: Value, to: Value) -> None:
    """A key into its lane of a page's keys."""
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        halves = e.b.fptrunc(e.load(FLOATS, x, e.times(part, 64)), HALVES)
        for lane in range(16):
            one = e.b.extract_element(halves, ir.Constant(WORD, lane))
            e.store(one, to, e.plus(e.times(part, 16 * 32), 32 * lane), align=2)


@emitted(None, Int, Int, Int)
def keep_value(e: Emitter, x: Value, width: Value, to: Value) -> None:
    """A value into its place of a page's values."""
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        halves = e.b.fptrunc(e.load(FLOATS, x, e.times(part, 64)), HALVES)
        e.store(halves, to, e.times(part, 32))


@inlined
def place_head(
    x,
    head,
    heads,
    kv_heads,
    width,
    cosine,
    sine,
    half,
    query_norm,
    key_norm,
    norms_last,
    eps,
    factor,
    layer_page,
    position,
):
    """One query or key head of a token at x: norm, rotation; a key goes into the page with its value, a query is
    multiplied by the scale of attention. `layer_page` is where the layer's part of the page begins."""
    at = x + head * width * 4
    if query_norm != 0 and norms_last == 0:
        head_norm(at, query_norm if head < heads else key_norm, width, eps)
    if half != 0:
        rotate(at, cosine, sine, half)
    if query_norm != 0 and norms_last != 0:
        head_norm(at, query_norm if head < heads else key_norm, width, eps)
    if head < heads:
        scale(at, width, factor)
    else:
        key_head, inside = head - heads, position % 64
        to = layer_page + key_head * 64 * width * 2
        keep_key(at, width, to + (inside // 16) * width * 32 + (inside % 16) * 2)
        values = layer_page + (kv_heads + key_head) * 64 * width * 2
        keep_value(at + kv_heads * width * 4, width, values + inside * width * 2)


@compiled
def run(thread, threads, frame, step):
    """The query and key heads, of whatever token, that are this thread's share."""
    x, stride, width = field(step, Heads.QKV), field(step, Heads.QKV_STRIDE), field(step, Heads.HEAD_DIM)
    heads, kv_heads, half = field(step, Heads.HEADS), field(step, Heads.KV_HEADS), field(step, Heads.HALF)
    query_norm, key_norm = field(step, Heads.QUERY_NORM), field(step, Heads.KEY_NORM)
    norms_last, turn_bytes = field(step, Heads.NORMS_LAST), field(frame, Field.TURN_BYTES)
    eps, factor = float_field(step, Heads.EPS), float_field(step, Heads.SCALE)
    place = field(step, Heads.PLACE) * field(frame, Field.LAYERS_APART)
    positions, turns, pages = field(frame, Field.POSITIONS), field(frame, Field.TURNS), field(frame, Field.PAGES)
    cosines, sines = field(frame, Field.COSINES), field(frame, Field.SINES)
    every = field(frame, Field.TOKENS) * (heads + kv_heads)
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, head = number // (heads + kv_heads), number % (heads + kv_heads)
        position = long_at(positions + 8 * token)
        turn = long_at(turns + 8 * token) * turn_bytes + field(step, Heads.TURN)
        page = long_at(long_at(pages + 8 * token) + position // 64 * 8) + place
        place_head(
            x + token * stride,
            head,
            heads,
            kv_heads,
            width,
            cosines + turn,
            sines + turn,
            half,
            query_norm,
            key_norm,
            norms_last,
            eps,
            factor,
            page,
            position,
        )


HEADS = Operation(Heads, run)

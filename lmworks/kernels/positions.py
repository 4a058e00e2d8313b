"""Queries and keys rotated by their position; keys and values into the cache.

A page of the cache holds 64 positions of one row. In it lie, for each layer and key head,

    keys     float16 [64 / 16, head_dim, 16]     16 positions side by side, the lanes of attention's scores
    values   float16 [64, head_dim]

first all keys of a layer, then all its values.
"""

from __future__ import annotations

from lmworks.kernels.norms import head_norm
from lmworks.kernels.scalars import inlined
from lmworks.kernels.vectors import FLOATS, FLOATS_8, HALVES, WORD, Float, Int, Value, Writer, emitted, ir

PAGE = 64
"""Positions of a page; a chunk of attention too."""


@emitted(None, Int, Int, Int, Int)
def rotate(w: Writer, x: Value, cosine: Value, sine: Value, half: Value) -> None:
    """Rotate dimension i of a head against i + half, for i below `half`, a multiple of 8."""
    with w.loop(0, w.b.sdiv(half, w.constant(8))) as part:
        place = w.times(part, 32)
        other = w.plus(place, w.times(half, 4))
        first, second = w.load(FLOATS_8, x, place), w.load(FLOATS_8, x, other)
        cos, sin = w.load(FLOATS_8, cosine, place), w.load(FLOATS_8, sine, place)
        w.store(w.b.fsub(w.b.fmul(first, cos), w.b.fmul(second, sin)), x, place)
        w.store(w.b.fadd(w.b.fmul(second, cos), w.b.fmul(first, sin)), x, other)


@emitted(None, Int, Int, Float)
def scale(w: Writer, x: Value, width: Value, factor: Value) -> None:
    """Multiply a head by a number."""
    factor = w.splat(factor)
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as part:
        place = w.times(part, 64)
        w.store(w.b.fmul(w.load(FLOATS, x, place), factor), x, place)


@emitted(None, Int, Int, Int)
def keep_key(w: Writer, x: Value, width: Value, to: Value) -> None:
    """A key into its lane of a page's keys."""
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as part:
        halves = w.b.fptrunc(w.load(FLOATS, x, w.times(part, 64)), HALVES)
        for lane in range(16):
            one = w.b.extract_element(halves, ir.Constant(WORD, lane))
            w.store(one, to, w.plus(w.times(part, 16 * 32), 32 * lane), align=2)


@emitted(None, Int, Int, Int)
def keep_value(w: Writer, x: Value, width: Value, to: Value) -> None:
    """A value into its place of a page's values."""
    with w.loop(0, w.b.sdiv(width, w.constant(16))) as part:
        halves = w.b.fptrunc(w.load(FLOATS, x, w.times(part, 64)), HALVES)
        w.store(halves, to, w.times(part, 32))


@inlined
def place_head(
    x, head, heads, kv_heads, width, cosine, sine, half, query_norm, key_norm, eps, factor, layer_page, position
):  # fmt: skip
    """One query or key head of a token at x: norm, rotation; a key goes into the page with its value, a query is multiplied
    by the scale of attention. `half` is 0 for no rotation; layer_page is where the layer's part of the page begins."""
    at = x + head * width * 4
    if query_norm != 0:
        head_norm(at, query_norm if head < heads else key_norm, width, eps)
    if half != 0:
        rotate(at, cosine, sine, half)
    if head < heads:
        scale(at, width, factor)
    else:
        key_head, inside = head - heads, position % 64
        to = layer_page + key_head * 64 * width * 2
        keep_key(at, width, to + (inside // 16) * width * 32 + (inside % 16) * 2)
        values = layer_page + (kv_heads + key_head) * 64 * width * 2
        keep_value(at + kv_heads * width * 4, width, values + inside * width * 2)

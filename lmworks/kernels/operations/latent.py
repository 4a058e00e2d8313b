"""LATENT: of each token what a cache keeps with latent attention, and its queries, ready to be taken through what makes
keys: the state is normed, its part of the key and the queries' are rotated, and the queries' others become the values
of the next matrix, which has rows for each head.

In a layer's part of a page (pages.py) lie for 64 positions

    keys     float16 [64 / 16, rank + turned, 16]     the state, then the rotated part; 16 positions side by side
    values   float16 [64, rank]                       the state

Source: DeepSeek-AI 2024 (DeepSeek-V2), https://arxiv.org/abs/2405.04434, section 2.1 and appendix C.
"""

from __future__ import annotations

from enum import auto

from lmworks.kernels.emit.scalars import compiled, field, float_field, inlined, long_at
from lmworks.kernels.emit.vectors import FLOATS, Emitter, Int, Value, emitted
from lmworks.kernels.frame import GROUP, Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.operations.heads import keep_key, keep_value, rotate, scale
from lmworks.kernels.operations.norm import head_norm
from lmworks.kernels.operations.quantise import put_groups


class Latent(Operands):
    """Operands of LATENT."""

    ROW = auto()
    """Address of a token's numbers, one kind after another: float32 [heads, rank], which comes later, [heads, turned]
    for the rotated parts of queries, [rank + turned] the state and the key's part, [heads, head_dim] the queries."""
    STRIDE = auto()
    """Bytes from a token's to the next one's."""
    HEADS = auto()
    HEAD_DIM = auto()
    """Of a query; the rotated part comes first. The others are a multiple of 32."""
    RANK = auto()
    """A multiple of 32."""
    TURNED = auto()
    """Width of the rotated part, a multiple of 16."""
    HALF = auto()
    """Dimensions of it that are rotated against as many others; 0 for no rotation."""
    NORM = auto()
    """Address of float32 [rank], the weight of the state's norm."""
    EPS = auto()
    SCALE = auto()
    """Attention's factor of the scores, which queries are multiplied with."""
    PLACE = auto()
    """Where the layer's part of a page begins, in bytes."""


@emitted(None, Int, Int, Int)
def copy_numbers(e: Emitter, x: Value, width: Value, to: Value) -> None:
    """`width` numbers, a multiple of 16."""
    with e.loop(0, e.b.sdiv(width, e.constant(16))) as part:
        e.store(e.load(FLOATS, x, e.times(part, 64)), to, e.times(part, 64))


@inlined
def place_query(at, turned_to, width, turned, half, cosine, sine, factor, first, values, scales, sums):
    """A head's query at `at`: its rotated part to where those of all heads are, the others in 8 bits, to the groups
    from `first` on."""
    if half != 0:
        rotate(at, cosine, sine, half)
    scale(at, width, factor)
    copy_numbers(at, turned, turned_to)
    put_groups(at + turned * 4, first, (width - turned) // GROUP, values, scales, sums, 0)


@inlined
def keep_state(state, rank, turned, half, cosine, sine, norm, eps, layer_page, position):
    """A token's state into the page where the layer's part begins at `layer_page`."""
    width, inside = rank + turned, position % 64
    head_norm(state, norm, rank, eps)
    if half != 0:
        rotate(state + rank * 4, cosine, sine, half)
    keep_key(state, width, layer_page + (inside // 16) * width * 32 + (inside % 16) * 2)
    keep_value(state, rank, layer_page + 64 * width * 2 + inside * rank * 2)


@compiled
def run(thread, threads, frame, step):
    """The queries and states, of whatever token, that are this thread's share."""
    row, stride, heads = field(step, Latent.ROW), field(step, Latent.STRIDE), field(step, Latent.HEADS)
    width, rank, turned = field(step, Latent.HEAD_DIM), field(step, Latent.RANK), field(step, Latent.TURNED)
    half, eps, factor = field(step, Latent.HALF), float_field(step, Latent.EPS), float_field(step, Latent.SCALE)
    place = field(step, Latent.PLACE) * field(frame, Field.LAYERS_APART)
    positions, pages = field(frame, Field.POSITIONS), field(frame, Field.PAGES)
    every, groups = field(frame, Field.TOKENS) * (heads + 1), (width - turned) // GROUP
    for number in range(every * thread // threads, every * (thread + 1) // threads):
        token, head = number // (heads + 1), number % (heads + 1)
        turn = long_at(field(frame, Field.TURNS) + 8 * token) * field(frame, Field.TURN_BYTES)
        cosine, sine = field(frame, Field.COSINES) + turn, field(frame, Field.SINES) + turn
        turns_to = row + token * stride + heads * rank * 4
        state = turns_to + heads * turned * 4
        if head < heads:
            at, of_token = state + (rank + turned + head * width) * 4, token * field(frame, Field.SCALES_STRIDE)
            values = field(frame, Field.VALUES) + token * field(frame, Field.VALUES_STRIDE)
            scales, sums = field(frame, Field.SCALES) + of_token, field(frame, Field.SUMS) + 2 * of_token
            to = turns_to + head * turned * 4
            place_query(at, to, width, turned, half, cosine, sine, factor, head * groups, values, scales, sums)
        else:
            position = long_at(positions + 8 * token)
            page = long_at(long_at(pages + 8 * token) + position // 64 * 8) + place
            keep_state(state, rank, turned, half, cosine, sine, field(step, Latent.NORM), eps, page, position)


LATENT = Operation(Latent, run)

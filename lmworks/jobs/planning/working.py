"""Memory that comes and goes within a block's backward, and what all blocks of a pass share.

Followed operation by operation on networks that run (tests/planning compares the peaks): what is alive at the worst
moment of a block, beside what its forward kept and the gradients that stay.
"""

from __future__ import annotations

from lmworks.jobs.planning.activations import SINGLE, BatchShape, after_attention
from lmworks.kernels.between import LANES, planned
from lmworks.models.feed_forward import BY_RESULT
from lmworks.training.by_hand.tiled_attention import tile_of


def backward_working(shape: BatchShape) -> float:
    """The most that a block's backward holds beside what was kept."""
    return _fused(shape) if shape.fused else _plain(shape)


def shared_by_blocks(shape: BatchShape) -> float:
    """Rotation and masks that stay alive until the last block has gone back."""
    config = shape.config
    if not (shape.fused or shape.recomputes):
        return 0.0
    mask = float(shape.tokens * shape.seq)
    turn = shape.of(config.head_dim) if config.rotates else 0.0
    if not shape.fused:
        return mask + turn
    return mask + 2 * turn + shape.of((shape.seq + (tile_of(shape.seq) or 0)) / 2)  # a mask of numbers for each tile


def _plain(shape: BatchShape) -> float:
    """Autograd frees what was kept on its way, so the worst is near the block's end, where it begins going back."""
    config = shape.config
    stream, inner = shape.of(config.dim), shape.of(config.hidden_dim)
    feed_forward = stream + (2 * inner if config.gated else inner)
    if not config.gated:
        feed_forward += inner if config.activation in (*BY_RESULT, "relu_squared") else 0  # a result still needed
    if shape.lora is not None:  # an adapter's update is a tensor of its own
        feed_forward += inner
    freed = 3 * inner if config.gated else inner
    norm = 2 * stream + 4 * SINGLE * shape.tokens * config.dim - freed if config.norm == "rms" else 0.0
    return max(feed_forward, norm, stream + _patterns(shape, freed))


def _patterns(shape: BatchShape, freed: float) -> float:
    """What patterns add to what is kept, when attention goes back; `freed` is what the feed-forward has given back."""
    if shape.explicit:  # the softmax: its gradient and that of the scores, both in float32
        return 2.0 * SINGLE * shape.patterns - shape.rounded_patterns - after_attention(shape)
    return (SINGLE * shape.patterns if shape.config.dropout else 0.0) - freed


def _fused(shape: BatchShape) -> float:
    """The feed-forward goes back first, then attention; what is made again lives as long as its half."""
    config, dim = shape.config, shape.config.dim
    hidden = config.hidden_dim
    query, joint = shape.query_width, shape.query_width + 2 * shape.key_width
    again = shape.up_width if shape.recompute else 0
    plain = 4 if config.activation in ("relu_squared", "sigmoid", "tanh") else 3  # made again for the derivative
    in_one = config.activation == "silu" and planned(hidden, shape.tokens * 2 * hidden)
    inner = shape.of(2 * dim + again + ((3 if in_one else 6) if config.gated else plain) * hidden)
    numbers = (2 if shape.value != SINGLE else 0) + config.norm_weight + 1
    norm = shape.of(2 * dim + again) + numbers * SINGLE * shape.tokens * dim
    if shape.lora is not None and not config.norm_unit_offset and planned(dim, shape.tokens * dim):
        norm = shape.of(3 * dim + again)
    made = joint * (2 if config.qk_norm else 1) if shape.recompute else 0
    held = 3 * dim + query + made  # two gradients of the stream, normed states, the gradient of the mixed values
    tile = tile_of(shape.seq) or shape.seq
    spans = (shape.seq // tile + 1) * shape.key_width  # what each tile gives to keys and values
    patterns = shape.of(held + 2 * query + spans + 3 * config.heads * tile)
    turned = 0 if _turns_in_one(shape) else 2 * query + shape.key_width
    joined = shape.of(held + query + 2 * shape.key_width + turned + joint)
    return max(inner, norm, patterns, joined, shape.of(held + query + spans + 2 * shape.key_width))


def _turns_in_one(shape: BatchShape) -> bool:
    """Are queries and keys turned back in one pass, straight into the joined gradient?"""
    config = shape.config
    whole = config.rotates and config.head_dim % (2 * LANES) == 0
    return whole and planned(config.head_dim, shape.tokens * shape.query_width)

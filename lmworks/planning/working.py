"""Memory that comes and goes within a block's backward, and what all blocks of a pass share.

Followed operation by operation on networks that run (tests/planning compares the peaks): what is alive at the worst
moment of a block, beside what its forward kept and the gradients that stay.
"""

from __future__ import annotations

from lmworks.models.tiled_attention import tile_of
from lmworks.planning.activations import SINGLE, Shape


def backward_working(shape: Shape) -> float:
    """The most that a block's backward holds beside what was kept."""
    return _fused(shape) if shape.fused else _plain(shape)


def shared_by_blocks(shape: Shape) -> float:
    """Rotation and masks that stay alive until the last block has gone back."""
    config = shape.config
    if not (shape.fused or shape.recomputes):
        return 0.0
    mask = float(shape.tokens * shape.seq)
    turn = shape.of(config.head_dim) if config.positions == "rope" else 0.0
    if not shape.fused:
        return mask + turn
    return mask + 2 * turn + shape.of((shape.seq + (tile_of(shape.seq) or 0)) / 2)  # a mask of numbers for each tile


def _plain(shape: Shape) -> float:
    """Autograd frees what was kept on its way, so the worst is near the block's end, where it begins going back."""
    config = shape.config
    stream, inner = shape.of(config.dim), shape.of(config.hidden_dim)
    feed_forward = stream + (2 * inner if config.gated else inner)
    if not config.gated:
        feed_forward += inner if config.activation.startswith("relu") else 0  # relu's result is still needed
    if shape.lora is not None:  # an adapter's update is a tensor of its own
        feed_forward += inner
    freed = 3 * inner if config.gated else inner
    norm = 2 * stream + 4 * SINGLE * shape.tokens * config.dim - freed if config.norm == "rms" else 0.0
    pattern = SINGLE * shape.tokens * shape.seq * config.heads if config.dropout else 0.0
    return max(feed_forward, norm, stream + pattern - freed)


def _fused(shape: Shape) -> float:
    """The fused backward lets nothing go before its end."""
    config = shape.config
    stream, query, joint = config.dim, shape.query_width, shape.query_width + 2 * shape.key_width
    held = 2 * config.hidden_dim + 2 * stream  # activated, its gradient; the stream and its normed states
    if shape.recompute:
        held += 2 * config.hidden_dim + 2 * joint
    patterns = 2 * config.heads * (tile_of(shape.seq) or 0)  # the weights of one tile and their gradient
    attention = shape.of(held, query, 2 * query + joint, joint) + patterns * shape.rows * shape.seq * shape.value
    norm = shape.of(held, query, joint, stream) + 3 * SINGLE * shape.tokens * stream
    gate = shape.of(config.hidden_dim) + shape.of(held)
    return max(attention, norm, gate)

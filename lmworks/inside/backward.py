"""One pre-norm block with its backward pass written out: backpropagation to read, each line the chain rule once.

    span = blocks_at(network, tokens, 3)                              # a block at a text
    made = block_forward(span.blocks[0], span.x, span.shared)         # made.output is the stream after it
    to_x, to_weights = block_backward(span.blocks[0], made, gradient) # from d loss / d output

`to_y` is everywhere d loss / d y, in the shape of y. Where z = f(y), to_y = (d z / d y)^T to_z; where y is used twice,
what comes back both ways is added. That is all of backpropagation; the rest of this file is what (d z / d y)^T is for
each part of a transformer. Equal to autograd's gradients: tests/models. Training takes fused_block.py, the same made
fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.inside.jacobians import Span
from lmworks.models.attention import Attention, Pass, attention_pattern, attention_scores, mix
from lmworks.models.block import Block
from lmworks.models.feed_forward import ACTIVATIONS, FeedForward
from lmworks.models.linear import Linear
from lmworks.models.norm import RMSNorm
from lmworks.models.rotation import Rotation, rotate, rotate_back
from lmworks.models.stack import Hidden

Gradients = dict[str, Tensor]
"""By the weight's name within its module, in its shape."""


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    root = math.sqrt(2 / math.pi)
    bent = torch.tanh(root * (x + 0.044715 * x**3))
    return (1 + bent) / 2 + x / 2 * (1 - bent**2) * root * (1 + 3 * 0.044715 * x**2)


SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: (x > 0).to(x.dtype),
    "relu_squared": lambda x: 2 * x.clamp(min=0),
    "sigmoid": lambda x: x.sigmoid() * (1 - x.sigmoid()),
    "tanh": lambda x: 1 - x.tanh() ** 2,
    "silu": lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid())),
    "gelu": lambda x: (1 + torch.erf(x / math.sqrt(2))) / 2 + x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    "gelu_tanh": _gelu_tanh_slope,
    "quick_gelu": lambda x: (1.702 * x).sigmoid() * (1 + 1.702 * x * (1 - (1.702 * x).sigmoid())),
}
"""The derivative of each activation, as a formula."""


@dataclass(frozen=True)
class Made:
    """What a block's forward made and its backward needs."""

    x: Hidden
    normed: Hidden
    """attention_norm(x): what attention reads."""
    joint: Float[Tensor, "batch seq joint"]
    """Query, key and value side by side, before norms and rotation."""
    query: Float[Tensor, "batch heads seq head_dim"]
    key: Float[Tensor, "batch kv_heads seq head_dim"]
    value: Float[Tensor, "batch kv_heads seq head_dim"]
    pattern: Float[Tensor, "batch heads seq seq"]
    mixed: Float[Tensor, "batch seq heads_dim"]
    """Values averaged by the pattern, heads side by side."""
    middle: Hidden
    """The stream between attention and feed-forward."""
    normed_middle: Hidden
    """feed_forward_norm(middle): what the feed-forward reads."""
    inner: Float[Tensor, "batch seq inner"]
    """up(normed_middle): gate and up side by side where gated."""
    active: Float[Tensor, "batch seq hidden_dim"]
    """What the last product of the feed-forward reads."""
    output: Hidden
    """The stream after the block."""
    rotation: Rotation | None


def block_forward(block: Block, x: Hidden, shared: Pass) -> Made:
    """A block's forward, all that its backward needs kept; no dropout. ConfigError for a kind of block that is not
    written out: post-norm, parallel, attention to a source, adapters, experts."""
    _check(block)
    attention, feed_forward = block.attention, block.dense
    normed = block.attention_norm(x)
    joint = attention.qkv(normed)
    query, key, value = _heads(attention, joint)
    if attention.query_norm is not None and attention.key_norm is not None:
        query, key = attention.query_norm(query), attention.key_norm(key)
    rotation = attention.rotation_in(shared)
    query, key = (_turn(attention, part, rotation, rotate) for part in (query, key))
    pattern = attention_pattern(attention_scores(query, key, shared.sees[attention.window], attention.scale))
    mixed = mix(pattern, value).transpose(1, 2).flatten(2)
    middle = attention.output(mixed) + (x if block.residual else 0)
    normed_middle = block.feed_forward_norm(middle)
    inner = feed_forward.up(normed_middle)
    if feed_forward.gated:
        gate, up = inner.chunk(2, dim=-1)
        active = feed_forward.activation(gate) * up
    else:
        active = feed_forward.activation(inner)
    output = feed_forward.down(active) + (middle if block.residual else 0)
    return Made(
        *(x, normed, joint, query, key, value, pattern, mixed, middle, normed_middle, inner, active, output),
        rotation=rotation,
    )


def block_backward(block: Block, made: Made, to_output: Hidden) -> tuple[Hidden, Gradients]:
    """From d loss / d output to d loss / d x, and to that of every weight, named as by `block.named_parameters()`."""
    found: Gradients = {}
    # output = middle + feed_forward(norm(middle)): middle is used twice, so two gradients meet
    to_normed, of_part = feed_forward_backward(block.dense, made, to_output)
    through_part, of_norm = norm_backward(block.feed_forward_norm, made.middle, to_normed)
    to_middle = to_output + through_part if block.residual else through_part
    found |= _under("feed_forward", of_part) | _under("feed_forward_norm", of_norm)
    # middle = x + attention(norm(x)): the same again
    to_normed, of_part = attention_backward(block.attention, made, to_middle)
    through_part, of_norm = norm_backward(block.attention_norm, made.x, to_normed)
    to_x = to_middle + through_part if block.residual else through_part
    found |= _under("attention", of_part) | _under("attention_norm", of_norm)
    return to_x, found


def span_backward(span: Span, to_output: Hidden) -> tuple[Hidden, list[Gradients]]:
    """Through several blocks: forward, each block's input being the output of the one before, and back, the last block
    first. The gradients of each block's weights, in the order of the blocks."""
    made: list[Made] = []
    for block in span.blocks:
        made.append(block_forward(block, made[-1].output if made else span.x, span.shared))
    found: list[Gradients] = []
    gradient = to_output
    for block, one in zip(reversed(span.blocks), reversed(made), strict=True):
        gradient, of_block = block_backward(block, one, gradient)
        found.insert(0, of_block)
    return gradient, found


def feed_forward_backward(feed_forward: FeedForward, made: Made, to_output: Hidden) -> tuple[Hidden, Gradients]:
    """Back through down(activation(gate) * up) or down(activation(inner)), to the normed stream."""
    slope = SLOPES[next(name for name, one in ACTIVATIONS.items() if one is feed_forward.activation)]
    to_active, of_down = linear_backward(feed_forward.down, made.active, to_output)
    if feed_forward.gated:
        gate, up = made.inner.chunk(2, dim=-1)
        to_up = to_active * feed_forward.activation(gate)  # a product passes each factor times the other
        to_gate = to_active * up * slope(gate)
        to_inner = torch.cat([to_gate, to_up], dim=-1)
    else:
        to_inner = to_active * slope(made.inner)
    to_normed, of_up = linear_backward(feed_forward.up, made.normed_middle, to_inner)
    return to_normed, _under("up", of_up) | _under("down", of_down)


def attention_backward(attention: Attention, made: Made, to_output: Hidden) -> tuple[Hidden, Gradients]:
    """Back through output(softmax(query key^T scale) value), to the normed stream."""
    scale = attention.scale or attention.head_dim**-0.5
    group = attention.heads // attention.kv_heads
    key, value = (part.repeat_interleave(group, dim=1) for part in (made.key, made.value))
    to_mixed, of_output = linear_backward(attention.output, made.mixed, to_output)
    to_mixed = to_mixed.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    # mixed = pattern value
    to_pattern = to_mixed @ value.mT
    to_value = made.pattern.mT @ to_mixed
    # pattern = softmax(scores): weights sum to one, so a gradient that is the same for all of a row changes nothing
    to_scores = made.pattern * (to_pattern - (to_pattern * made.pattern).sum(dim=-1, keepdim=True))
    # scores = query key^T scale
    to_query = scale * to_scores @ key
    to_key = scale * to_scores.mT @ made.query
    # heads of a group share key and value: what comes back from each is added
    to_key, to_value = (part.unflatten(1, (-1, group)).sum(dim=2) for part in (to_key, to_value))
    # a rotation's transpose is the rotation back
    to_query, to_key = (_turn(attention, part, made.rotation, rotate_back) for part in (to_query, to_key))
    found = _under("output", of_output)
    if attention.query_norm is not None and attention.key_norm is not None:
        query, key, _ = _heads(attention, made.joint)
        to_query, of_query_norm = norm_backward(attention.query_norm, query, to_query)
        to_key, of_key_norm = norm_backward(attention.key_norm, key, to_key)
        found |= _under("query_norm", of_query_norm) | _under("key_norm", of_key_norm)
    to_joint = torch.cat([to_query, to_key, to_value], dim=1).transpose(1, 2).flatten(2)
    to_normed, of_qkv = linear_backward(attention.qkv, made.normed, to_joint)
    return to_normed, found | _under("qkv", of_qkv)


def linear_backward(linear: nn.Linear, x: Tensor, to_y: Tensor) -> tuple[Tensor, Gradients]:
    """y = x W^T + b, so to_x = to_y W, to_W = to_y^T x and to_b = to_y, summed over all tokens that the weights
    served."""
    rows, to_rows = x.flatten(0, -2), to_y.flatten(0, -2)
    found = {"weight": to_rows.mT @ rows}
    if linear.bias is not None:
        found["bias"] = to_rows.sum(dim=0)
    return to_y @ linear.weight, found


def norm_backward(norm: nn.Module, x: Tensor, to_y: Tensor) -> tuple[Tensor, Gradients]:
    """y = weight * x / size(x), of a layer norm with the mean taken off x first, and a bias.

    With n = x / size(x), made of d numbers: to_x = (to_n - n (n . to_n) / d) / size. To lengthen x changes nothing of
    n, so the part of the gradient along n is taken off; of a layer norm also the mean, as to shift x changes nothing.
    """
    if isinstance(norm, nn.Identity):
        return to_y, {}
    centred = isinstance(norm, nn.LayerNorm)
    off = x - x.mean(dim=-1, keepdim=True) if centred else x
    size = (off.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()  # type: ignore[operator]
    unit = off / size
    found: Gradients = {}
    to_unit = to_y
    if norm.weight is not None:
        found["weight"] = (to_y * unit).flatten(0, -2).sum(dim=0)
        weight: Any = norm.weight
        to_unit = to_y * (1 + weight if getattr(norm, "unit_offset", False) else weight)
    if centred:
        found["bias"] = to_y.flatten(0, -2).sum(dim=0)
        to_unit = to_unit - to_unit.mean(dim=-1, keepdim=True)
    return (to_unit - unit * (unit * to_unit).mean(dim=-1, keepdim=True)) / size, found


def _heads(attention: Attention, joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of the joined projection, each [batch, its heads, seq, head_dim]."""
    parts = joint.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    query, key, value = parts.split([attention.heads, attention.kv_heads, attention.kv_heads], dim=1)
    return query, key, value


def _turn(attention: Attention, x: Tensor, by: Rotation | None, way: Callable[[Tensor, Rotation], Tensor]) -> Tensor:
    """Rotate, or rotate back, the dimensions of each head that know the place."""
    if by is None:
        return x
    turned = attention.rotary_dim or attention.head_dim
    return torch.cat([way(x[..., :turned], by), x[..., turned:]], dim=-1)


def _under(name: str, gradients: Gradients) -> Gradients:
    return {f"{name}.{rest}": gradient for rest, gradient in gradients.items()}


def _check(block: Block) -> None:
    layers = [layer for part in (block.attention, block.feed_forward) for layer in part.children()]
    norms = (block.attention_norm, block.feed_forward_norm)
    against = {
        "its norms come after its parts": block.place != "before",
        "its parts run side by side": block.parallel,
        "its parts are scaled": block.residual_scale is not None,
        "its activation learns": isinstance(getattr(block.feed_forward, "activation", None), nn.Module),
        "its attention is of another kind": type(block.attention) is not Attention,
        "its attention is capped": block.attention.cap is not None,
        "its heads have sinks": block.attention.sinks is not None,
        "it norms queries and keys in another way": (
            type(block.attention) is Attention and (block.attention.norm_over != "head" or block.attention.norm_after)
        ),
        "it attends to a source": block.cross_attention is not None,
        "its feed-forward is of another kind": type(block.feed_forward) is not FeedForward,
        "its gate is cut off or shifted": (
            isinstance(block.feed_forward, FeedForward)
            and (block.feed_forward.gate_limit is not None or block.feed_forward.gate_shift)
        ),
        "adapters sit on it": any(type(layer) not in (Linear, RMSNorm) for layer in layers),
        "its norm is of another kind": any(not isinstance(one, RMSNorm | nn.LayerNorm | nn.Identity) for one in norms),
    }
    if reason := next((reason for reason, holds in against.items() if holds), None):
        raise ConfigError(f"the written-out block is one of a plain pre-norm network, and {reason}; use autograd")

"""A block with forward and backward written by hand: the fast way to train on a CPU, whether all weights or adapters.

Autograd keeps every step between the products, makes gradients that nobody asked for, and on a CPU spends a third of a
step in attention and norms. Here the block is one function: it keeps little (the stream, query, key, value and
the feed-forward's inner states), attends in tiles, and makes norms, patterns and activations again going back.
The layers bring their own parts (`forward_by_hand`, `backward_by_hand`), so adapters bring theirs. The network's own
Block stays the definition: gradients are compared with autograd's in tests/models. Covered is what `covered` says;
in all other cases the plain block runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.attention import Attention, Pass
from lmworks.models.block import Block, run_plainly, run_recomputing
from lmworks.models.config import ModelConfig
from lmworks.models.hooks import hook_points
from lmworks.models.network import Network
from lmworks.models.norm import RMSNorm
from lmworks.training.by_hand.between import activate, activate_back, norm_back, norm_forward
from lmworks.training.by_hand.tiled_attention import TiledAttention, tile_of

Stream = Float[Tensor, "rows dim"]
Way = Literal["fused", "recomputing", "plain"]


def choose_blocks(network: Network, recompute: bool = False) -> Way:
    """Let the network's blocks train in the fastest way that covers them; which one it is.

    `recompute` keeps less and computes parts of each block again going back (activation checkpointing).
    """
    if use_fused_blocks(network, recompute):
        return "fused"
    network.run_block = run_recomputing if recompute else run_plainly
    return "recomputing" if recompute else "plain"


def use_fused_blocks(network: Network, recompute: bool = False) -> bool:
    """Let training steps run through this file; False (and the network unchanged) where it is not covered.

    `recompute` keeps still less and multiplies the qkv and gate-up matrices twice.
    """
    if covered(network.config, network.device):
        network.run_block = FusedBlocks(network, recompute)
        return True
    return False


def covered(config: ModelConfig, device: torch.device) -> bool:
    """Is there a hand-written backward for this kind of block? On a CPU, for decoders with RMS
    norms before each part and without dropout."""
    return config.is_classic_decoder and config.norm == "rms" and not config.dropout and device.type == "cpu"


class FusedBlocks:
    """A block runner that takes the hand-written way where nothing stands against it."""

    def __init__(self, network: Network, recompute: bool) -> None:
        self.network, self.recompute, self.by_shape = network, recompute, False
        self.forward: Callable[..., tuple[Stream, Kept]] = block_forward
        self.backward: Callable[..., tuple[Stream | None, list[Tensor]]] = block_backward
        self.points = list(hook_points(network).values())

    def compile(self) -> None:
        """Let torch.compile join what lies between the products; 10 to 20 s at the first use for each shape of
        batch."""
        self.by_shape = True
        self.forward = torch.compile(block_forward, dynamic=False)
        self.backward = torch.compile(block_backward, dynamic=False)

    def __call__(self, block: Block, x: Float[Tensor, "batch seq dim"], shared: Pass) -> Float[Tensor, "batch seq dim"]:
        """The residual stream after a block."""
        if self.against(block, x, shared):
            return (run_recomputing if self.recompute else run_plainly)(block, x, shared)
        tiles = self._tiles(block, shared, x)
        parameters = [parameter for layer in _layers(block) for parameter in layer.trained()]
        return _FusedBlock.apply(x.flatten(0, 1), block, tiles, self, *parameters).view(x.shape)

    def against(self, block: Block, x: Float[Tensor, "batch seq dim"], shared: Pass) -> str | None:
        """Why a pass runs plainly; None where it does not."""
        reasons = {
            "no gradient is wanted": not torch.is_grad_enabled(),
            "no tile of a useful size divides the row": tile_of(x.shape[1]) is None,
            "a cache, padding or another kernel": shared.cache is not None or shared.padded or shared.kernel != "fused",
            "a prefix that is seen from both sides": shared.prefixed,
            "a hook": any(point.functions for point in self.points) or any(map(_is_hooked, block.modules())),
            "adapters that are merged": not all(layer.by_hand for layer in _layers(block)),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _tiles(self, block: Block, shared: Pass, x: Tensor) -> TiledAttention:
        """The tiles for blocks of this window and rotation, made by the first of them in a pass."""
        window, rotation = block.attention.window, block.attention.rotation_in(shared)
        kind = (window, rotation is not None)
        if kind not in shared.tiles:
            shared.tiles[kind] = TiledAttention(
                self.network.config, shared.positions, window, rotation, x.dtype, self.by_shape
            )
        return shared.tiles[kind]


def _is_hooked(module: nn.Module) -> bool:
    """Whether somebody waits for PyTorch to call this module: sharded weights and per-sample gradients do."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _layers(block: Block) -> tuple[Any, ...]:
    """The layers with parameters, in the order of the gradients that the backward returns."""
    attention, feed_forward = block.attention, block.feed_forward
    norms = [norm for norm in (attention.query_norm, attention.key_norm) if norm is not None]
    return (
        *(block.attention_norm, attention.qkv, *norms, attention.output),
        *(block.feed_forward_norm, feed_forward.up, feed_forward.down),
    )


def _heads(attention: Attention, joint: Tensor) -> list[tuple[Any, Tensor]]:
    """The norm of queries and that of keys, each with its view [rows, heads, head_dim] of the joined projection."""
    sizes = [attention.heads, attention.kv_heads, attention.kv_heads]
    views = joint.unflatten(-1, (-1, attention.head_dim)).split(sizes, dim=1)
    return [(attention.query_norm, views[0]), (attention.key_norm, views[1])]


def _norm_heads(attention: Attention, joint: Tensor) -> Tensor:
    """The joined projection with normed queries and keys, where the network norms them."""
    if attention.query_norm is None:
        return joint
    normed = joint.clone()
    for norm, view in _heads(attention, normed):
        view.copy_(norm(view))
    return normed


def _norm_heads_back(attention: Attention, gradient: Tensor, joint: Tensor) -> list[Tensor]:
    """Take the gradient of the joined projection through the norms of queries and keys, in place; the weights'
    gradients."""
    if attention.query_norm is None:
        return []
    gradients = []
    for (norm, to_heads), (_, heads) in zip(_heads(attention, gradient), _heads(attention, joint), strict=True):
        to_joint, to_weight = norm.backward_by_hand(to_heads, heads)
        to_heads.copy_(to_joint)
        gradients += to_weight
    return gradients


def _norm(one: Any) -> RMSNorm:
    assert isinstance(one, RMSNorm)  # as `covered` says
    return one


Kept = list[Any]


def block_forward(block: Block, tiles: TiledAttention, recompute: bool, x: Stream) -> tuple[Stream, Kept]:
    """The residual stream after the block, and what the backward needs."""
    attention, feed_forward = block.attention, block.dense
    joint, qkv_kept = attention.qkv.forward_by_hand(norm_forward(_norm(block.attention_norm), x))
    query, key, value = tiles.split(_norm_heads(attention, joint))
    mixed = tiles.forward(query, key, value)
    middle, output_kept = attention.output.forward_by_hand(mixed)
    middle = middle.add_(x)
    inner, up_kept = feed_forward.up.forward_by_hand(norm_forward(_norm(block.feed_forward_norm), middle))
    result, down_kept = feed_forward.down.forward_by_hand(activate(feed_forward, inner))
    result = result.add_(middle)
    unnormed = None if attention.query_norm is None else joint
    kept = [None] * 7 if recompute else [qkv_kept, unnormed, query, key, value, up_kept, inner]
    return result, [x, middle, mixed, output_kept, down_kept, *kept]


def block_backward(
    block: Block, tiles: TiledAttention, recompute: bool, further: bool, gradient: Stream, kept: Kept
) -> tuple[Stream | None, list[Tensor]]:
    """The gradient of the stream before the block, None unless `further`, and those of the parameters."""
    x, middle, mixed, output_kept, down_kept, qkv_kept, joint, query, key, value, up_kept, inner = kept
    stream, of_feed_forward = _feed_forward_back(
        block, gradient, middle, None if recompute else (inner, up_kept), down_kept
    )
    split = None if recompute else (joint, qkv_kept, query, key, value)
    to_x, of_attention = _attention_back(block, tiles, further, stream, (x, mixed, output_kept), split)
    return to_x, [*of_attention, *of_feed_forward]


def _feed_forward_back(
    block: Block, gradient: Stream, middle: Stream, inside: tuple[Any, Any] | None, down_kept: Any
) -> tuple[Stream, list[Tensor]]:
    """The gradient of the stream before the feed-forward, and those of its parameters; made again without `inside`."""
    feed_forward = block.dense
    norm = _norm(block.feed_forward_norm)
    normed = norm_forward(norm, middle)
    inner, up_kept = inside or feed_forward.up.forward_by_hand(normed)
    activated = activate(feed_forward, inner)
    to_activated, of_down = feed_forward.down.backward_by_hand(gradient, activated, down_kept)
    del activated
    to_inner = activate_back(feed_forward, to_activated, inner)
    del to_activated
    to_normed, of_up = feed_forward.up.backward_by_hand(to_inner, normed, up_kept)
    del to_inner, normed
    to_middle, of_norm = norm_back(norm, to_normed, middle, gradient)
    return to_middle, [*of_norm, *of_up, *of_down]


def _attention_back(
    block: Block,
    tiles: TiledAttention,
    further: bool,
    stream: Stream,
    outside: tuple[Any, Any, Any],
    split: tuple[Any, Any, Any, Any, Any] | None,
) -> tuple[Stream | None, list[Tensor]]:
    """The same for attention, from the gradient of the stream after it; `split` is made again where it is None."""
    attention, (x, mixed, output_kept) = block.attention, outside
    norm = _norm(block.attention_norm)
    to_mixed, of_output = attention.output.backward_by_hand(stream, mixed, output_kept)
    normed = norm_forward(norm, x)
    if split is None:
        joint, qkv_kept = attention.qkv.forward_by_hand(normed)
        query, key, value = tiles.split(_norm_heads(attention, joint))
    else:
        joint, qkv_kept, query, key, value = split
    to_joint = tiles.backward(to_mixed, query, key, value)
    del to_mixed, query, key, value
    of_heads = _norm_heads_back(attention, to_joint, joint)
    to_normed, of_qkv = attention.qkv.backward_by_hand(to_joint, normed, qkv_kept, further)
    of_attention = [*of_qkv, *of_heads, *of_output]
    if not further:
        return None, of_attention
    del to_joint, normed
    to_x, of_norm = norm_back(norm, to_normed, x, stream)
    return to_x, [*of_norm, *of_attention]


class _FusedBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Stream, block: Block, tiles: TiledAttention, run: FusedBlocks, *parameters: Tensor
    ) -> Stream:
        result, kept = run.forward(block, tiles, run.recompute, x)
        context.block, context.tiles, context.run = block, tiles, run
        context.save_for_backward(*kept)
        return result

    @staticmethod
    def backward(context: Any, gradient: Stream) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        block, run = context.block, context.run
        # The stream needs no gradient where nothing before this block is trained.
        further = context.needs_input_grad[0] or bool(block.attention_norm.trained())
        kept = list(context.saved_tensors)
        to_x, gradients = run.backward(block, context.tiles, run.recompute, further, gradient, kept)
        return (to_x, None, None, None, *gradients)

"""A block with LoRA adapters, forward and backward written by hand: the fast way to train adapters on a CPU.

The frozen matrices need no gradient, so a backward that knows this keeps little (the stream, query, key, value,
gate and up), makes norms, attention patterns and activations again, and never leaves the product kernels for long.
The network's own Block stays the definition: gradients are compared with autograd's in tests/reference.
Covered: RMS norm, gated SiLU, rotary positions, no biases, QK norm, dropout or hooks; else the plain block runs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.adaptation.lora import LoRALinear, lora_layers
from lmworks.models.attention import Pass
from lmworks.models.hooks import hook_points
from lmworks.models.network import Block, Network
from lmworks.models.tiled_attention import TiledAttention, tile_of

Stream = Float[Tensor, "rows dim"]


def use_fused_blocks(network: Network, recompute: bool = False) -> bool:
    """Let training steps run through this file; False (and the network unchanged) where it is not covered.

    `recompute` keeps still less and multiplies the qkv and gate-up matrices twice (activation checkpointing).
    """
    config = network.config
    adapters = {id(parameter) for layer in lora_layers(network).values() for parameter in _adapters(layer)}
    covered = (
        config.is_classic_decoder
        and config.norm == "rms"
        and config.activation == "silu"
        and config.gated
        and config.positions == "rope"
        and config.norm_weight
        and config.attention_scale is None
        and not (config.norm_unit_offset or config.qk_norm or config.dropout)
        and not (config.qkv_bias or config.output_bias or config.feed_forward_bias)
        and network.device.type == "cpu"
        and all(id(parameter) in adapters for parameter in network.parameters() if parameter.requires_grad)
    )
    if covered:
        points = hook_points(network).values()

        def run(block: Block, x: Float[Tensor, "batch seq dim"], shared: Pass) -> Float[Tensor, "batch seq dim"]:
            tile = tile_of(x.shape[1])
            if (
                tile is None
                or not torch.is_grad_enabled()
                or shared.cache is not None
                or shared.padded
                or any(point.functions for point in points)
                or not _in_use(block)
            ):
                return block(x, shared)
            attention = _tiles(network, block, shared, tile)
            parameters = [parameter for layer in _projections(block) for parameter in _adapters(layer)]
            return _FusedBlock.apply(x.flatten(0, 1), block, attention, recompute, *parameters).view(x.shape)

        network.run_block = run
    return covered


def _tiles(network: Network, block: Block, shared: Pass, tile: int) -> TiledAttention:
    """The pass's tiles for this block's window, made by its first layer."""
    window = block.attention.window
    if window not in shared.tiles:
        assert shared.rotation is not None
        shared.tiles[window] = TiledAttention(network.config, shared.positions, window, shared.rotation, tile)
    return shared.tiles[window]


def _projections(block: Block) -> tuple[nn.Module, ...]:
    return block.attention.qkv, block.attention.output, block.feed_forward.up, block.feed_forward.down


def _in_use(block: Block) -> bool:
    """Whether every adapter of a block counts: none is switched off or merged into its weight."""
    return all(layer.enabled and not layer.merged for layer in _projections(block) if isinstance(layer, LoRALinear))


def _adapters(layer: nn.Module) -> list[nn.Parameter]:
    return [layer.down, *layer.up] if isinstance(layer, LoRALinear) else []


def _project(layer: Any, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows outputs"], Tensor | None]:
    """The product, and the bottleneck A x that its backward needs (None without adapters)."""
    if not isinstance(layer, LoRALinear):
        return torch.mm(x, layer.weight.T), None
    down, up = layer.copies()
    bottleneck = torch.mm(x, down.T)
    return torch.mm(x, layer.base.weight.T).addmm_(bottleneck, up.T), bottleneck


def _project_back(
    layer: Any,
    gradient: Float[Tensor, "rows outputs"],
    x: Float[Tensor, "rows inputs"],
    bottleneck: Tensor | None,
    to_x: bool = True,
) -> tuple[Any, list[Tensor]]:
    """The gradient of x (None unless wanted) and those of the layer's adapters, in the order of `_adapters`."""
    if not isinstance(layer, LoRALinear) or bottleneck is None:
        return (torch.mm(gradient, layer.weight) if to_x else None), []
    down, up = layer.copies()
    joint = torch.mm(bottleneck.T, gradient).T  # [outputs, parts x rank]; each part's block is its own gradient
    ups = [
        joint[part.rows, index * layer.rank : (index + 1) * layer.rank].to(layer.down.dtype).mul_(layer.scale)
        for index, part in enumerate(layer.parts)
    ]
    through = torch.mm(gradient, up)
    to_down = torch.mm(through.T, x).to(layer.down.dtype)
    to_inputs = torch.mm(gradient, layer.base.weight).addmm_(through, down) if to_x else None
    return to_inputs, [to_down, *ups]


def _normalise(norm: Any, x: Stream) -> Stream:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.eps)


def _normalise_back(norm: Any, gradient: Stream, x: Stream, stream: Stream) -> Stream:
    """Add the gradient that reaches x through the norm to that of the residual stream, in place."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    inverse = size.square_().div_(x.shape[-1]).add_(norm.eps).rsqrt_()
    # Summed in float32 and rounded once: in bfloat16 the gradients' error was 2.0 % and not 1.6 % (docs/log.md).
    weighted, normed = gradient.to(inverse.dtype) * norm.weight, x.to(inverse.dtype) * inverse
    along = (weighted * normed).mean(-1, keepdim=True)
    return stream.add_(weighted.addcmul_(normed, along, value=-1).mul_(inverse))


def _gate_back(gate_up: Float[Tensor, "rows two_hidden"], activated: Tensor, gradient: Tensor) -> Tensor:
    """Overwrite gate and up by their gradients; `activated` is silu(gate), which the caller has at hand."""
    gate, up = gate_up.chunk(2, dim=-1)
    through = gradient * up
    torch.mul(gradient, activated, out=up)
    torch.ops.aten.silu_backward.grad_input(through, gate, grad_input=gate)
    return gate_up


class _FusedBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Stream, block: Block, attention: TiledAttention, recompute: bool, *adapters: Tensor
    ) -> Stream:
        qkv, output, up, down = _projections(block)
        joint, joint_bottleneck = _project(qkv, _normalise(block.attention_norm, x))
        query, key, value = attention.split(joint)
        del joint
        mixed = attention.forward(query, key, value)
        middle, output_bottleneck = _project(output, mixed)
        middle.add_(x)
        gate_up, up_bottleneck = _project(up, _normalise(block.feed_forward_norm, middle))
        gate, linear = gate_up.chunk(2, dim=-1)
        result, down_bottleneck = _project(down, F.silu(gate).mul_(linear))
        result.add_(middle)
        context.block, context.attention, context.recompute = block, attention, recompute
        kept = (None,) * 6 if recompute else (joint_bottleneck, query, key, value, up_bottleneck, gate_up)
        context.save_for_backward(x, middle, mixed, output_bottleneck, down_bottleneck, *kept)
        return result

    @staticmethod
    def backward(context: Any, gradient: Stream) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        block, attention = context.block, context.attention
        qkv, output, up, down = _projections(block)
        x, middle, mixed, output_bottleneck, down_bottleneck, *kept = context.saved_tensors
        joint_bottleneck, query, key, value, up_bottleneck, gate_up = kept

        normed = _normalise(block.feed_forward_norm, middle)
        if context.recompute:
            gate_up, up_bottleneck = _project(up, normed)
        gate, linear = gate_up.chunk(2, dim=-1)
        activated = F.silu(gate)
        to_inner, down_gradients = _project_back(down, gradient, activated * linear, down_bottleneck)
        # gate_up becomes its own gradient in place: a second backward through the same graph is not possible.
        to_gate_up = _gate_back(gate_up, activated, to_inner)
        to_normed, up_gradients = _project_back(up, to_gate_up, normed, up_bottleneck)
        stream = _normalise_back(block.feed_forward_norm, to_normed, middle, gradient.clone())

        to_mixed, output_gradients = _project_back(output, stream, mixed, output_bottleneck)
        normed = _normalise(block.attention_norm, x)
        if context.recompute:
            joint, joint_bottleneck = _project(qkv, normed)
            query, key, value = attention.split(joint)
        to_joint = attention.backward(to_mixed, query, key, value)
        to_x = context.needs_input_grad[0]
        to_normed, qkv_gradients = _project_back(qkv, to_joint, normed, joint_bottleneck, to_x)
        if to_x:
            _normalise_back(block.attention_norm, to_normed, x, stream)
        return (
            stream if to_x else None,
            None,
            None,
            None,
            *qkv_gradients,
            *output_gradients,
            *up_gradients,
            *down_gradients,
        )

"""Norms and activations of a block whose backward pass is written by hand: compiled where possible, else PyTorch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.kernels.between import LANES, Kernels, kernels_for
from lmworks.models.feed_forward import FeedForward
from lmworks.models.norm import RMSNorm

Stream = Float[Tensor, "rows dim"]


def norm_forward(norm: RMSNorm, x: Stream) -> Stream:
    """The normed states."""
    if norm.weight is None or (kernels := _kernels_for(norm, x)) is None:
        return norm(x)  # type: ignore[no-any-return]
    return kernels.norm(x, norm.weight, norm.eps)


def norm_back(norm: RMSNorm, gradient: Stream, x: Stream, stream: Stream) -> tuple[Stream, list[Tensor]]:
    """The gradient of x: through the norm, plus `stream`, which reached x by the residual stream; and the gradients of
    the norm's own weights, where they are trained."""
    kernels = None if norm.weight is None or norm.trained() else _kernels_for(norm, x, gradient, stream)
    if norm.weight is not None and kernels is not None:
        return kernels.norm_back(gradient, x, norm.weight, stream, norm.eps), []
    to_x, of_norm = norm.backward_by_hand(gradient, x)
    return to_x.add_(stream).to(x.dtype), of_norm


def activate(feed_forward: FeedForward, inner: Float[Tensor, "rows inner"]) -> Float[Tensor, "rows hidden_dim"]:
    """The input of the feed-forward's last product."""
    if (kernels := _kernels_of_gate(feed_forward, inner)) is not None:
        return kernels.gate(inner)
    if not feed_forward.gated:
        return feed_forward.activation(inner)
    gate, up = inner.chunk(2, dim=-1)
    return feed_forward.activation(gate) * up


def activate_back(
    feed_forward: FeedForward, gradient: Float[Tensor, "rows hidden_dim"], inner: Float[Tensor, "rows inner"]
) -> Float[Tensor, "rows inner"]:
    """The gradient of the inner states."""
    if (kernels := _kernels_of_gate(feed_forward, inner)) is not None and gradient.is_contiguous():
        return kernels.gate_back(gradient, inner)
    if not feed_forward.gated:
        return feed_forward.derivative(gradient, inner)
    gate, up = inner.chunk(2, dim=-1)
    to_gate = feed_forward.derivative(gradient * up, gate)
    return torch.cat([to_gate, gradient * feed_forward.activation(gate)], dim=-1)


def _kernels_for(norm: RMSNorm, *states: Stream) -> Kernels | None:
    """The kernels for a norm of these states; None where its weight has another dtype or is an offset from 1."""
    assert norm.weight is not None
    plain = not norm.unit_offset and all(_is_plain(one, norm.weight.dtype) for one in states)
    return kernels_for(states[0]) if plain and norm.weight.is_contiguous() else None


def _kernels_of_gate(feed_forward: FeedForward, inner: Any) -> Kernels | None:
    """The kernels for a gate with silu; None for any other activation."""
    whole = feed_forward.gated and feed_forward.silu and inner.shape[1] % (2 * LANES) == 0
    return kernels_for(inner) if whole and inner.is_contiguous() else None


def _is_plain(states: Tensor, dtype: torch.dtype) -> bool:
    return states.is_contiguous() and states.dtype == dtype

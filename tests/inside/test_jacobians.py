"""Jacobians of blocks against autograd, finite differences and the chain rule, in every arrangement."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.inside.jacobians import Span, blocks_at
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.training.by_hand.fused_block import use_fused_blocks

BOTH: dict[str, Any] = {"family": "lmworks", "arrangement": "encoder-decoder", "encoder_layers": 3}
KINDS: dict[str, dict[str, Any]] = {
    "decoder": {},
    "our own": tiny.OWN,
    "window, layer norm": {"window": 3, "norm": "layer", "qkv_bias": True},
    "experts": {"family": "lmworks", "experts": {"count": 4, "top_k": 2, "shared_dim": 8}},
    "parallel, partly rotary": {"family": "lmworks", "parallel": True, "rotary_dim": 4},
    "without norm and residual": {"family": "lmworks", "norm": "none", "residual": False},
    "encoder, post-norm": {
        "family": "lmworks",
        "arrangement": "encoder",
        "positions": "relative",
        "norm": "layer",
        "norm_place": "after",
        "activation": "gelu",
        "gated": False,
    },
    "encoder-decoder": BOTH | {"positions": "alibi"},
    "encoder of an encoder-decoder": BOTH | {"positions": "sinusoidal", "dropout": 0.3},
}
each_kind = pytest.mark.parametrize("kind", KINDS)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
SEQ = 5


def network(kind: str) -> Network:
    made = tiny.network(dim=12, heads=2, kv_heads=1, hidden_dim=16, **KINDS[kind]).double()
    if not made.config.residual:  # little would be left after two blocks
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(2)
    return made


def span(network: Network, kind: str, first: int = 0, stop: int | None = None) -> Span:
    tokens = tiny.text(2, SEQ)
    if kind == "encoder of an encoder-decoder":
        return blocks_at(network, tokens, first, stop, encoder=True)
    memory = network.encode(tiny.text(2, 4, seed=1)) if kind == "encoder-decoder" else None
    return blocks_at(network, tokens, first, stop, memory=memory)


def directions(one: Span) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, *one.x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return first, second


@each_kind
def test_a_change_goes_where_finite_differences_say(kind: str):
    one = span(network(kind).eval(), kind, 0, 2)
    change, _ = directions(one)
    step = 1e-6
    with torch.no_grad():
        differences = (one(one.x + step * change) - one(one.x - step * change)) / (2 * step)
    torch.testing.assert_close(one.jvp(change), differences, rtol=1e-6, atol=1e-8)
    assert differences.abs().max() > 1e-3


@each_kind
def test_a_gradient_comes_back_as_autograd_brings_it(kind: str):
    one = span(network(kind).eval(), kind, 0, 2)
    change, gradient = directions(one)
    x = one.x.clone().requires_grad_()
    torch.testing.assert_close(one.vjp(gradient), torch.autograd.grad(one(x), x, gradient)[0], **EXACT)
    torch.testing.assert_close((one.jvp(change) * gradient).sum(), (change * one.vjp(gradient)).sum(), **EXACT)


@each_kind
def test_the_blocks_jacobians_multiplied_are_those_of_the_stack(kind: str):
    made = network(kind)
    layers = 3 if kind == "encoder of an encoder-decoder" else 2
    parts = [span(made, kind, layer) for layer in range(layers)]
    size = SEQ * 12
    product = torch.eye(size, dtype=torch.float64).expand(2, size, size)
    for part in parts:
        product = part.jacobian().reshape(2, size, size) @ product
    whole = span(made, kind, 0, layers)
    torch.testing.assert_close(whole.jacobian().reshape(2, size, size), product, **EXACT)
    change, gradient = directions(whole)
    torch.testing.assert_close(whole.jvp(change).flatten(1), (product @ change.flatten(1)[..., None])[..., 0], **EXACT)
    torch.testing.assert_close(whole.vjp(gradient).flatten(1), (gradient.flatten(1)[:, None] @ product)[:, 0], **EXACT)


@each_kind
def test_the_jacobian_of_two_tokens_is_their_part_of_the_whole(kind: str):
    one = span(network(kind), kind, 1)
    whole = one.jacobian()
    assert whole.shape == (2, SEQ, 12, SEQ, 12)
    for of, by in ((3, 1), (2, None), (-1, 0), (1, 3)):
        torch.testing.assert_close(one.token_jacobian(of, by), whole[:, of, :, of if by is None else by], **EXACT)
    causal = not kind.startswith("encoder") or kind == "encoder-decoder"
    assert (whole[:, 1, :, 3].abs().max() == 0) == causal


def test_the_stream_of_a_span_is_the_networks_own():
    made = network("decoder")
    _, seen = made.run_with_cache(tiny.text(2, SEQ))
    one = span(made, "decoder", 1)
    torch.testing.assert_close(one.x, seen["blocks.1.residual_in"], **EXACT)
    torch.testing.assert_close(one(one.x), seen["blocks.1.residual_out"], **EXACT)


def test_padding_and_packed_documents_are_seen_as_the_network_sees_them():
    made, tokens = network("decoder"), tiny.text(1, 6)
    packed = blocks_at(made, tokens, 0, 2, documents=torch.tensor([[0, 0, 0, 1, 1, 1]])).jacobian()
    assert packed[0, 3:, :, :3].abs().max() == 0
    torch.testing.assert_close(packed[:, :3, :, :3], blocks_at(made, tokens[:, :3], 0, 2).jacobian(), **EXACT)
    prefix = torch.tensor([[1, 1, 1, 0, 0, 0]]).bool()
    seen = blocks_at(made, tokens, 0, 2, prefix=prefix).jacobian()
    assert seen[0, 0, :, 2].abs().max() > 0 and seen[0, 2, :, 3:].abs().max() == 0
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    padded = blocks_at(made, tokens, 0, 2, mask=mask).jacobian()
    torch.testing.assert_close(padded[:, 2:, :, 2:], blocks_at(made, tokens[:, 2:], 0, 2).jacobian(), **EXACT)


def test_looking_leaves_the_network_as_it_was():
    made = network("encoder of an encoder-decoder").train()
    use_fused_blocks(made)
    runners = made.run_block, made.encoder.run_block
    seen: list[Tensor] = []
    with hooked(made, {"encoder.blocks.1.residual_in": seen.append}), torch.inference_mode():
        one = span(made, "encoder of an encoder-decoder", 1)
        first, second = one.token_jacobian(0), one.token_jacobian(0)
    torch.testing.assert_close(first, second, rtol=0, atol=0)  # no dropout, though the network is in training
    assert not seen and made.training and made.encoder.blocks[0].training
    assert (made.run_block, made.encoder.run_block) == runners and made.attention_kernel == "fused"
    assert all(weight.grad is None for weight in made.parameters())
    assert not any(point.functions for point in hook_points(made).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_networks_have_jacobians_too(dtype: torch.dtype):
    made = network("decoder").to(dtype).requires_grad_(False)
    one, exact = span(made, "decoder"), span(network("decoder"), "decoder")
    change, _ = directions(exact)
    bound = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(one.jvp(change.to(dtype)).double(), exact.jvp(change), rtol=bound, atol=bound)
    torch.testing.assert_close(one.jacobian().double(), exact.jacobian(), rtol=bound, atol=bound)


def test_mistakes_are_named():
    made = network("decoder")
    with pytest.raises(ConfigError, match=r"blocks 1 to 2 are asked for, and there are blocks 0 to 1"):
        span(made, "decoder", 1, 3)
    with pytest.raises(ConfigError, match=r"blocks 1 to 0 are asked for"):
        span(made, "decoder", 1, 1)
    with pytest.raises(ConfigError, match="has no encoder beside its decoder"):
        blocks_at(made, tiny.text(1, 4), 0, encoder=True)
    one = span(made, "decoder")
    with pytest.raises(ConfigError, match=r"change has the shape \[2, 12\] and the stream \[2, 5, 12\]"):
        one.jvp(one.x[:, 0])
    with pytest.raises(ConfigError, match=r"by is 5, and the text has 5 tokens"):
        one.token_jacobian(0, 5)

"""The backward pass written out against autograd through the network's own block, for every weight and the input."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch

from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.basics.errors import ConfigError
from lmworks.inside.backward import SLOPES, block_backward, block_forward, span_backward
from lmworks.inside.jacobians import blocks_at
from lmworks.models.feed_forward import ACTIVATIONS, DERIVATIVES

OWN = {"family": "lmworks"}
BIASES = {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True}
KINDS: dict[str, dict[str, Any]] = {
    "RMS norm, gated": {},
    "RMS norm, plain": OWN | {"gated": False, "activation": "gelu_tanh"},
    "layer norm, gated": OWN | {"norm": "layer", "activation": "gelu"},
    "layer norm, plain, biases": OWN | BIASES | {"norm": "layer", "gated": False, "activation": "relu"},
    "1 + weight": {"family": "gemma", "norm_unit_offset": True, "activation": "gelu_tanh"},
    "normed heads, weightless norms": tiny.OWN,
    "a window on some": {"window": 3, "window_layers": (1,)},
    "partly rotary": OWN | {"rotary_dim": 4, "activation": "sigmoid"},
    "an encoder with distances": OWN | {"arrangement": "encoder", "positions": "relative", "activation": "tanh"},
    "no norm": OWN | {"norm": "none"},
    "no residual": OWN | {"residual": False},
}


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["double", "single"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_is_autograds(kind: str, dtype: torch.dtype, bound: float):
    network = tiny.network(**KINDS[kind]).to(dtype)
    span = blocks_at(network, tiny.text(2, 9), 1)
    [block], x = span.blocks, span.x.clone().requires_grad_()
    output = block(x, span.shared)
    to_output = torch.randn(x.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    named = dict(block.named_parameters())
    to_x, *to_weights = torch.autograd.grad(output, [x, *named.values()], to_output)
    with torch.no_grad():
        made = block_forward(block, span.x, span.shared)
        found, by_name = block_backward(block, made, to_output)
    assert set(by_name) == set(named)
    expected = dict(zip(named, to_weights, strict=True)) | {"output": output.detach(), "x": to_x}
    for name, gradient in (by_name | {"output": made.output, "x": found}).items():
        largest = expected[name].abs().max()
        assert largest > 0, name
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=bound * float(largest), msg=name)


def test_through_a_stack_each_block_hands_its_gradient_to_the_one_before():
    network = tiny.network(layers=3).double()
    span = blocks_at(network, tiny.text(2, 9), 0, 3)
    x = span.x.clone().requires_grad_()
    to_output = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    named = [dict(block.named_parameters()) for block in span.blocks]
    weights = [weight for block in named for weight in block.values()]
    to_x, *to_weights = torch.autograd.grad(span(x), [x, *weights], to_output)
    with torch.no_grad():
        gradient, found = span_backward(span, to_output)
    torch.testing.assert_close(gradient, to_x, rtol=1e-10, atol=1e-10)
    ours = [by_name[name] for by_name, block in zip(found, named, strict=True) for name in block]
    torch.testing.assert_close(ours, to_weights, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_autograds_and_the_kernels(name: str):
    x = torch.linspace(-4, 4, 64, dtype=torch.float64, requires_grad=True)  # not at 0, where relu has none
    [slope] = torch.autograd.grad(ACTIVATIONS[name](x).sum(), x)
    torch.testing.assert_close(SLOPES[name](x.detach()), slope, rtol=1e-12, atol=1e-12)
    gradient = torch.linspace(1, 2, 64, dtype=torch.float64)
    torch.testing.assert_close(DERIVATIVES[name](gradient, x.detach()), gradient * slope, rtol=1e-12, atol=1e-12)
    assert set(SLOPES) == set(ACTIVATIONS) == set(DERIVATIVES)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"norm_place": "after"}, "its norms come after its parts"),
        ({"parallel": True}, "its parts run side by side"),
        ({"arrangement": "encoder-decoder"}, "it attends to a source"),
        ({"experts": {"count": 2, "top_k": 1}}, "its feed-forward is of another kind"),
    ],
    ids=str,
)
def test_blocks_that_are_not_written_out_are_named(settings: dict[str, Any], words: str):
    network = tiny.network(**OWN, **settings)
    memory = None if network.encoder is None else network.encode(tiny.text(1, 4))
    span = blocks_at(network, tiny.text(1, 4), 0, memory=memory)
    with pytest.raises(ConfigError, match=words):
        block_forward(span.blocks[0], span.x, span.shared)


def test_adapters_are_not_forgotten_in_silence():
    network = add_lora(tiny.network(), LoRAConfig(rank=2))
    span = blocks_at(network, tiny.text(1, 4), 0)
    with pytest.raises(ConfigError, match="adapters sit on it"):
        block_forward(span.blocks[0], span.x, span.shared)

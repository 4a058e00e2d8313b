"""Gradients that are looked at are those of training, by layer, part and hook point, and leave no trace."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F

from lmworks.basics.errors import ConfigError
from lmworks.inside.jacobians import blocks_at
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.objectives import CausalLM, Loss, Objective
from lmworks.objectives.gradients import activation_gradients, gradients_by_layer
from lmworks.tokens.batch import Batch
from lmworks.training.by_hand.fused_block import use_fused_blocks

CLOSE = {"rtol": 1e-4, "atol": 1e-7}


def batch(rows: int = 2, seq: int = 32) -> Batch:
    tokens = tiny.text(rows, seq)
    return Batch(tokens, tokens.roll(-1, 1), torch.arange(seq).expand(rows, seq), torch.zeros_like(tokens))


@pytest.mark.parametrize("fused", [False, True])
def test_lengths_are_those_of_the_gradients_that_training_takes(fused: bool):
    network = tiny.network(tied=False).train()
    if fused:
        use_fused_blocks(network)
    layers = {layer.name: layer for layer in gradients_by_layer(network, CausalLM(), batch())}
    assert all(weight.grad is None for weight in network.parameters())
    assert list(layers) == ["embedding", "blocks.0", "blocks.1", "norm", "head"]
    assert list(layers["blocks.1"].parts) == ["attention_norm", "attention", "feed_forward_norm", "feed_forward"]
    CausalLM()(network, batch()).mean.backward()
    for name, layer in layers.items():
        module = network.get_submodule(name)
        own = [weight.grad for weight in module.parameters()]
        norm = float(torch.cat([gradient.flatten() for gradient in own]).norm())
        assert layer.norm == pytest.approx(norm, rel=1e-5) and norm > 0
        assert layer.weights == sum(gradient.numel() for gradient in own)
        assert layer.size == pytest.approx(norm / math.sqrt(layer.weights), rel=1e-5)
    attention = network.blocks[0].attention
    norms = [float(weight.grad.norm()) for weight in attention.parameters()]
    assert layers["blocks.0"].parts["attention"] == pytest.approx(math.hypot(*norms), rel=1e-5)


def test_every_hook_point_of_a_frozen_network_has_a_gradient():
    network = tiny.network().requires_grad_(False)
    found = activation_gradients(network, CausalLM(), batch())
    _, seen = network.run_with_cache(batch().tokens)
    assert set(found) == set(hook_points(network))
    for path, gradient in found.items():
        assert gradient.shape == seen[path].shape and gradient.isfinite().all() and gradient.abs().max() > 0
    assert not any(point.functions for point in hook_points(network).values())


@pytest.mark.parametrize("path", ["blocks.0.residual_in", "blocks.0.attention.pattern", "blocks.1.feed_forward.inner"])
def test_a_step_along_an_activations_gradient_changes_the_loss_as_it_says(path: str):
    network, given = tiny.network(), batch()
    gradient = activation_gradients(network, CausalLM(), given, [path])[path]

    def loss(by: float) -> float:
        with hooked(network, {path: lambda activation: activation + by * gradient}), torch.no_grad():
            return float(CausalLM()(network, given).mean)

    step = 0.01 / float(gradient.norm())
    assert (loss(step) - loss(-step)) / (2 * step) == pytest.approx(float(gradient.square().sum()), rel=0.02)


def test_the_gradient_before_a_block_is_that_after_it_through_the_blocks_jacobian():
    network, given = tiny.network(), batch()
    found = activation_gradients(network, CausalLM(), given, ["blocks.1.residual_in", "blocks.1.residual_out"])
    span = blocks_at(network, given.tokens, 1)
    torch.testing.assert_close(span.vjp(found["blocks.1.residual_out"]), found["blocks.1.residual_in"], **CLOSE)


class Translate(Objective):
    """Each target token from the source and those before it."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        logits = network(batch.tokens, memory=network.encode(batch.source))
        return Loss(F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum"), batch.supervised)


SIDES = [*(f"encoder.blocks.{layer}" for layer in range(3)), "encoder.norm"]


def test_an_encoder_decoders_layers_are_told_apart_by_their_side():
    network = tiny.network(family="lmworks", arrangement="encoder-decoder", encoder_layers=3)
    given = replace(batch(), source=tiny.text(2, 7, seed=3))
    layers = {layer.name: layer for layer in gradients_by_layer(network, Translate(), given)}
    assert sorted(layers) == sorted(["embedding", "blocks.0", "blocks.1", "norm", *SIDES])
    assert all(layer.norm > 0 for layer in layers.values())
    assert "cross_attention" in layers["blocks.0"].parts and "cross_attention" not in layers["encoder.blocks.0"].parts
    found = activation_gradients(network, Translate(), given)
    assert set(found) == set(hook_points(network))
    [source] = activation_gradients(network, Translate(), given, ["encoder.final"]).values()
    assert source.shape == (2, 7, 32)


def test_a_recurrent_network_has_layers_too():
    network = RecurrentNetwork(RecurrentConfig(vocab_size=96, dim=16, layers=2, context=32)).initialise(0)
    layers = {layer.name: layer for layer in gradients_by_layer(network, CausalLM(), batch())}
    assert list(layers) == ["embedding", "decoder.layers.0", "decoder.layers.1"]
    assert set(activation_gradients(network, CausalLM(), batch())) == set(hook_points(network))


def test_mistakes_are_named():
    network = tiny.network().requires_grad_(False)
    with pytest.raises(ConfigError, match="no weight requires a gradient"):
        gradients_by_layer(network, CausalLM(), batch())
    with pytest.raises(ConfigError, match=r"blocks\.7\.residual_in is not a hook point"):
        activation_gradients(network, CausalLM(), batch(), ["blocks.7.residual_in"])
    with pytest.raises(ConfigError, match="passed more than once by this objective"):
        activation_gradients(network, CausalLM() + CausalLM(), batch(), ["embedding"])
    assert activation_gradients(network, CausalLM(), batch(), []) == {}

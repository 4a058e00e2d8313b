"""Fresh weights: what each scheme promises."""

from __future__ import annotations

import math

import pytest
import tiny
import torch

from lmworks.models.config import ModelConfig
from lmworks.models.feed_forward import ACTIVATIONS
from lmworks.models.initialisation import activation_gain
from lmworks.models.network import Network

DEEP = {"vocab_size": 96, "dim": 256, "layers": 10, "heads": 4, "context": 64, "tied": False}


def size(network: Network) -> float:
    """The root mean square of the last state."""
    return float(network.hidden(tiny.text(1, 64)).detach().square().mean().sqrt())


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_by_width_a_signal_keeps_its_size_through_ten_blocks_without_norm_and_residual(activation: str):
    alone = {"norm": "none", "residual": False, "window": 1}  # a pattern averages, and so makes signals smaller
    network = Network(ModelConfig(**DEEP, **alone, activation=activation, gated=False))
    assert 0.4 < size(network.initialise(0, "width")) < 2.5
    assert size(network.initialise(0, "normal")) < 1e-3


@pytest.mark.parametrize("gated", [False, True])
def test_by_width_all_parts_together_add_to_a_stream_about_what_it_began_with(gated: bool):
    network = Network(ModelConfig(**DEEP, gated=gated)).initialise(0, "width")
    _, seen = network.run_with_cache(tiny.text(1, 64))
    start, end = (float(seen[f"blocks.{at}"].square().mean()) for at in ("0.residual_in", "9.residual_out"))
    assert 1 < end / start < 4


def test_gains_are_those_of_the_paper_and_logits_begin_about_as_large_as_one():
    assert activation_gain("relu") == pytest.approx(math.sqrt(2), rel=1e-3)
    assert all(1 < activation_gain(name) < 3 for name in ACTIVATIONS if name != "relu_squared")
    for tied in (False, True):
        network = Network(ModelConfig(**(DEEP | {"tied": tied}))).initialise(0, "width")
        assert 0.5 < float(network(tiny.text(1, 64)).detach().std()) < 2
        assert torch.equal(network.embedding.weight, network.initialise(0, "width").embedding.weight)

"""Heads read and taken away, against the network's own parts."""

from __future__ import annotations

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.inside.heads import attention_patterns, without_heads
from lmworks.models.hooks import hooked
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig

ARRANGEMENTS = [{}, {"family": "lmworks", "arrangement": "encoder", "positions": "alibi"}]


@pytest.mark.parametrize("settings", ARRANGEMENTS, ids=["decoder", "encoder"])
def test_patterns_are_those_of_the_hook_points_and_sum_to_one(settings: dict):
    network, tokens = tiny.network(**settings), tiny.text(2, 7)
    patterns = attention_patterns(network, tokens)
    _, seen = network.run_with_cache(tokens)
    assert patterns.shape == (2, 2, 4, 7, 7)
    for layer in range(2):
        assert torch.equal(patterns[layer], seen[f"blocks.{layer}.attention.pattern"])
    torch.testing.assert_close(patterns.sum(dim=-1), torch.ones(2, 2, 4, 7))
    assert bool((patterns[..., 0, 1:] == 0).all()) == network.config.causal


def test_padding_has_no_weight():
    network, mask = tiny.network(**ARRANGEMENTS[1]), torch.tensor([[True] * 5 + [False] * 2])
    patterns = attention_patterns(network, tiny.text(1, 7), mask)
    assert not patterns[..., :5, 5:].any()


@pytest.mark.parametrize("settings", ARRANGEMENTS, ids=["decoder", "encoder"])
def test_without_heads_is_without_their_columns_of_the_projection(settings: dict):
    network, tokens = tiny.network(**settings), tiny.text(2, 7)
    gone = [(0, 1), (1, 0), (1, 3)]
    plain = network(tokens)
    with hooked(network, without_heads(network, gone)):
        silenced = network(tokens)
    assert torch.equal(network(tokens), plain)
    size = network.config.head_dim
    with torch.no_grad():
        for layer, head in gone:
            network.blocks[layer].attention.output.weight[:, head * size : (head + 1) * size] = 0
    torch.testing.assert_close(silenced, network(tokens), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(silenced, plain, atol=1e-3)


@pytest.mark.parametrize("head", [(2, 0), (0, 4), (-1, 0)])
def test_a_head_that_is_not_there_is_named(head: tuple[int, int]):
    with pytest.raises(
        ConfigError, match=rf"no head {head[1]} in layer {head[0]}: the network has 2 layers of 4 heads"
    ):
        without_heads(tiny.network(), [head])


def test_a_recurrent_network_has_none():
    network = RecurrentNetwork(RecurrentConfig(vocab_size=96, dim=16, layers=2, context=64)).initialise(0)
    with pytest.raises(ConfigError, match="is recurrent and has no attention heads"):
        without_heads(network, [(0, 0)])
    with pytest.raises(ConfigError, match="is recurrent and has no attention heads"):
        attention_patterns(network, tiny.text(1, 4))

"""Bottlenecks: what they compute, what is trained and saved, and that they are never merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from adaptation.adapted import GPT2, packed, randomise_adapters
from safetensors.torch import load_file, save_file
from training.test_fused_block import assert_equal_to_plain

from lmworks.adaptation.adapter_files import CONFIG, WEIGHTS
from lmworks.adaptation.bottleneck import add_bottlenecks, bottleneck_tensors, write_bottlenecks
from lmworks.adaptation.bottleneck_config import BottleneckConfig
from lmworks.adaptation.lora import adapters_off, merge_adapters, remove_adapters
from lmworks.adaptation.nf4 import freeze_in_nf4
from lmworks.adaptation.reading import put_adapter, tensors_on
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.kernels.coverage import uncovered
from lmworks.models.adapted import adapted_layers
from lmworks.models.network import Network
from lmworks.training.optimiser import trainable

ENCODER = {"arrangement": "encoder", "family": "lmworks"}


def narrowed(between: Any = "gelu", style: Any = "houlsby", **settings: Any) -> Network:
    """Bottlenecks as after some training."""
    config = BottleneckConfig(size=6, style=style, activation=between)
    return randomise_adapters(add_bottlenecks(tiny.network(**settings), config))


def test_fresh_ones_change_nothing_and_are_all_that_is_trained():
    tokens = tiny.text(2, 20)
    network = add_bottlenecks(tiny.network(), BottleneckConfig(size=6), seed=3)
    assert torch.equal(network(tokens), tiny.network()(tokens))
    paths = [f"blocks.{layer}.{part}" for layer in (0, 1) for part in ("attention.output", "feed_forward.down")]
    assert list(adapted_layers(network)) == paths
    names = ("narrow.weight", "narrow.bias", "widen.weight", "widen.bias")
    assert set(trainable(network)) == {f"{path}.{name}" for path in paths for name in names}
    again, other = (add_bottlenecks(tiny.network(), BottleneckConfig(size=6), seed=seed) for seed in (3, 4))
    for name, tensor in bottleneck_tensors(network).items():
        assert torch.equal(tensor, bottleneck_tensors(again)[name])
        assert tensor.any() == ("narrow.weight" in name)
        assert "narrow.weight" not in name or not torch.equal(tensor, bottleneck_tensors(other)[name])


def test_a_layer_adds_what_widens_the_activation_of_what_narrows_its_result():
    layer = adapted_layers(narrowed("tanh"))["blocks.1.feed_forward.down"]
    x = torch.randn(5, layer.base.in_features)
    y = F.linear(x, layer.base.weight)
    narrow, narrow_bias, widen, widen_bias = layer.own()
    wanted = y + torch.tanh(y @ narrow.T + narrow_bias) @ widen.T + widen_bias
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


def test_pfeiffers_stand_after_the_feed_forward_alone():
    assert {path.rpartition(".")[2] for path in adapted_layers(narrowed(style="pfeiffer"))} == {"down"}


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("style", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "tanh"])
def test_gradients_by_hand_equal_autograds(activation: str, style: str, recompute: bool):
    assert_equal_to_plain(narrowed(activation, style), packed((33, 20), (50,)), recompute, 1e-4)


@pytest.mark.parametrize("settings", [{}, GPT2, ENCODER], ids=["llama", "gpt2", "encoder"])
def test_a_saved_one_is_read_whole_and_off_it_is_the_base_to_the_bit(settings: dict, tmp_path: Path):
    network, tokens = narrowed(**settings), tiny.text(2, 20)
    write_bottlenecks(tmp_path, network, "base")
    read = put_adapter(tmp_path, tiny.network(**settings))
    assert torch.equal(read.hidden(tokens), network.hidden(tokens))
    base = tiny.network(**settings).hidden(tokens)
    assert (read.hidden(tokens) - base).abs().max() > 0.1
    with adapters_off(read):
        assert torch.equal(read.hidden(tokens), base)
    assert tensors_on(read).keys() == load_file(tmp_path / WEIGHTS).keys()
    assert torch.equal(remove_adapters(read).hidden(tokens), base) and not adapted_layers(read)


def test_it_is_never_merged_and_the_network_stays_as_it_was():
    network, tokens = narrowed(), tiny.text(2, 20)
    before = network(tokens)
    with pytest.raises(ConfigError, match=r"goes through an activation.* cannot be merged; use the adapter beside"):
        merge_adapters(network)
    assert torch.equal(network(tokens), before) and len(adapted_layers(network)) == 4


def test_the_compiled_path_runs_it_beside_plain_matrices():
    shape = {"dim": 64, "heads": 4, "hidden_dim": 64}
    assert uncovered(narrowed(**shape).requires_grad_(False)) is None
    in_few_bits = narrowed(**shape)
    freeze_in_nf4(remove_adapters(in_few_bits))
    add_bottlenecks(in_few_bits, BottleneckConfig(size=6)).requires_grad_(False)
    assert "knows plain linear layers" in str(uncovered(in_few_bits))


FIRST = "blocks.0.attention.output.narrow.weight"


@pytest.mark.parametrize(
    "settings, tensors, words",
    [
        ({}, {FIRST: None}, f"lacks {FIRST} (1 missing, 0 unexpected)"),
        ({}, {FIRST.replace("0", "7"): torch.ones(6, 32)}, "holds blocks.7.attention.output.narrow.weight, which this"),
        ({}, {FIRST: torch.ones(6, 33)}, f"{FIRST} has the shape [6, 33], and this model needs [6, 32]"),
        ({}, {FIRST: torch.full((6, 32), torch.nan)}, f"{FIRST} holds values that are not finite"),
        ({"size": 10**9}, {}, f"{FIRST} has 6 rows, and adapter_config.json says size = 1000000000"),
        ({"style": "pfeiffer"}, {}, "unexpected); the adapter was made for another model"),
        ({"style": "between"}, {}, "style is 'between'"),
        ({"peft_type": "IA3"}, {}, "adapters of type 'IA3' are not known; LMWORKS_BOTTLENECK, "),
    ],
)
def test_a_spoilt_one_is_one_sentence_and_the_network_stays(settings: dict, tensors: dict, words: str, tmp_path: Path):
    write_bottlenecks(tmp_path, narrowed(), "base")
    (tmp_path / CONFIG).write_text(json.dumps(json.loads((tmp_path / CONFIG).read_text()) | settings))
    changed = load_file(tmp_path / WEIGHTS) | tensors
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, tmp_path / WEIGHTS)
    network, tokens = tiny.network(), tiny.text(1, 9)
    before = network(tokens)
    with pytest.raises(ModelError) as caught:
        put_adapter(tmp_path, network)
    assert words in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert torch.equal(network(tokens), before) and not adapted_layers(network)


@pytest.mark.parametrize("size", [32, 100_000])
def test_what_does_not_narrow_is_refused_and_the_network_stays(size: int):
    network = tiny.network()
    with pytest.raises(ConfigError, match=rf"size is {size:,}, and a bottleneck is narrower than .* 32 wide here; tak"):
        add_bottlenecks(network, BottleneckConfig(size=size))
    assert not adapted_layers(network) and all(one.requires_grad for one in network.parameters())
    assert adapted_layers(add_bottlenecks(network, BottleneckConfig(size=31)))


def test_experts_and_a_second_set_are_refused():
    with pytest.raises(ConfigError, match=r"style: .* this network has no linear layer blocks.0.feed_forward.down"):
        add_bottlenecks(tiny.network(family="mixtral", experts={"count": 4}), BottleneckConfig())
    with pytest.raises(ConfigError, match="has adapters already"):
        add_bottlenecks(narrowed(), BottleneckConfig())

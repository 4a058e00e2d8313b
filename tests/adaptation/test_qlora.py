"""Adapters beside a base in 4 bits: what is computed, what is saved, what it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from adaptation.adapted import adapter_folder, packed, randomise_adapters
from training.test_fused_block import assert_equal_to_plain

from lmworks.adaptation.adapter_files import CONFIG
from lmworks.adaptation.declaration import Setup
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.frozen import FrozenLinear, bytes_in_few_bits, thaw
from lmworks.adaptation.lora import LoRALinear, adaptable, adapters_off, lora_layers, merge_adapters, remove_adapters
from lmworks.adaptation.methods.qlora import QLORA, QLoRAConfig
from lmworks.adaptation.nf4 import NF4, VALUES, round_to_nf4
from lmworks.adaptation.peft_format import read_adapter
from lmworks.adaptation.rounding_error import inputs_of
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, Row, stack

SHAPE = {"dim": 64, "hidden_dim": 128}
SOME = ("q_proj", "down_proj")


def quantised(targets="all", **settings) -> Network:
    """As the method prepares it, with adapters that do something."""
    network = tiny.network(**SHAPE, **settings)
    QLORA.prepare(Setup(network, CausalLM(), []), QLoRAConfig(rank=4, alpha=8, targets=targets))
    return randomise_adapters(network)


def rounded(**settings) -> Network:
    network = tiny.network(**SHAPE, **settings)
    round_to_nf4(network)
    return network


@pytest.mark.parametrize("targets", ["all", SOME], ids=["everywhere", "on some"])
def test_every_matrix_is_kept_in_four_bits_and_only_adapters_are_trained(targets):
    network = quantised(targets)
    matrices = [module for module in network.modules() if isinstance(module, FrozenLinear)]
    values = sum(one.in_features * one.out_features for one in matrices)
    assert len(matrices) == 4 * len(network.blocks)
    assert bytes_in_few_bits(network) < 0.55 * values
    names = {name for name, one in network.named_parameters() if one.requires_grad}
    assert names and all(".down" in name or ".up." in name for name in names)


@pytest.mark.parametrize("bias", [{}, {"family": "qwen2", "qkv_bias": True}], ids=["plain", "biases"])
def test_the_base_has_the_values_of_nf4(bias):
    network, tokens = quantised(**bias), tiny.text(2, 20)
    with adapters_off(network), torch.no_grad():
        assert torch.equal(network(tokens), rounded(**bias)(tokens))
    plain = tiny.network(**SHAPE, **bias)
    for path, parts in adaptable(plain).items():  # query, key and value of one matrix, each by itself
        weight, values = (one.get_submodule(path).weight for one in (plain, rounded(**bias)))
        for part in parts:
            assert torch.equal(values[part.rows], NF4.of(weight[part.rows]).weights(weight.dtype)), part.module


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("targets", ["all", SOME], ids=["everywhere", "on some"])
def test_gradients_equal_autograds(targets, recompute):
    assert_equal_to_plain(quantised(targets), packed((33, 20), (50,)), recompute, 1e-4)


def test_settled_the_network_says_the_same_and_an_update_is_merged_into_plain_matrices_alone():
    network, tokens = quantised(), tiny.text(2, 20)
    before = network(tokens).detach()
    with pytest.raises(ConfigError, match="does not fit into a weight of few bits"):
        merge_adapters(network)
    QLORA.settle(network)
    assert not any(isinstance(module, FrozenLinear) for module in network.modules())
    assert torch.equal(network(tokens).detach(), before)
    torch.testing.assert_close(merge_adapters(network)(tokens), before, rtol=1e-4, atol=1e-4)


def test_a_saved_adapter_is_read_onto_the_values_that_it_was_trained_on(tmp_path: Path):
    network, tokens = quantised(), tiny.text(2, 20)
    thaw(network)
    assert QLORA.adapter is not None
    QLORA.adapter.write(tmp_path, network, "base")
    read = read_adapter(tmp_path, tiny.network(**SHAPE))
    assert all(type(layer) is LoRALinear for layer in lora_layers(read).values())
    assert torch.equal(read(tokens), network(tokens))
    assert torch.equal(remove_adapters(read)(tokens), rounded()(tokens))


@pytest.mark.parametrize(
    "values, said",
    [("fp3", "lmworks_base_values = 'fp3' is not supported"), ("nf4", "no longer made .*; train it again")],
    ids=["unknown", "of joined matrices"],
)
def test_other_values_of_the_base_are_refused(tmp_path: Path, values: str, said: str):
    network = quantised()
    assert QLORA.adapter is not None
    QLORA.adapter.write(tmp_path, network, "base")
    settings = json.loads((tmp_path / CONFIG).read_text())
    assert settings["lmworks_base_values"] == "nf4 of each matrix"
    (tmp_path / CONFIG).write_text(json.dumps(settings | {"lmworks_base_values": values}))
    with pytest.raises(ModelError, match=said):
        read_adapter(tmp_path, tiny.network(**SHAPE))


def test_a_matrix_without_whole_blocks_is_refused():
    network = tiny.network(dim=40, heads=4, kv_heads=2, hidden_dim=30)
    with pytest.raises(ConfigError, match="no whole blocks of 64 values"):
        QLORA.prepare(Setup(network, CausalLM(), []), QLoRAConfig(rank=2))


def some_rows(*lengths: tuple[int, ...]) -> list[Row]:
    """Rows of documents of random tokens, as long as this."""
    generator = torch.Generator().manual_seed(2)

    def example(length: int) -> Example:
        return Example(torch.randint(0, 96, (length,), generator=generator).tolist(), [True] * length, "random")

    return [tuple(map(example, row)) for row in lengths]


def heard(rows: list[Row], **settings: Any) -> Network:
    """As the method prepares it where it may look at rows."""
    network = tiny.network(**SHAPE)
    QLORA.prepare(Setup(network, CausalLM(), rows, calibration=rows), QLoRAConfig(rank=8, alpha=4, **settings))
    return network


def logits_lost(network: Network, tokens: torch.Tensor) -> float:
    """How far what it says is from what the network of full weights says, in their mean square."""
    with torch.no_grad():
        return float((network(tokens) - tiny.network(**SHAPE)(tokens)).square().mean())


def test_adapters_begin_at_what_rounding_took():
    rows = some_rows((60, 60), (50, 70))
    tokens = tiny.text(4, 60, seed=9)
    begun = heard(rows)
    layers = lora_layers(begun)
    assert all(bool(up.abs().sum() > 0) for layer in layers.values() for up in layer.up)
    assert logits_lost(begun, tokens) < 0.8 * logits_lost(heard(rows, start="zero"), tokens)
    with adapters_off(begun), torch.no_grad():
        assert torch.equal(begun(tokens), rounded()(tokens))
    assert_nearest_to_what_is_lost(tiny.network(**SHAPE), begun, rows)


def assert_nearest_to_what_is_lost(plain: Network, begun: Network, rows: list[Row]) -> None:
    """Query, key and value of the first block, beside the exact singular values of what rounding took from each."""
    path, layer = next(iter(lora_layers(begun).items()))
    assert len(layer.parts) == 3
    lost = plain.get_submodule(path).weight.detach() - layer.base.weight
    inputs = inputs_of(plain, CausalLM(), rows)[path]
    for part, (_, down, up) in zip(layer.parts, layer.updates(), strict=True):
        weighted = lost[part.rows] * inputs.sqrt()
        u, sizes, v = torch.linalg.svd(weighted)
        best = (u[:, :8] * sizes[:8]) @ v[:8]
        left = weighted - (up @ down).detach() * inputs.sqrt()
        assert float(left.norm()) < 1.02 * float((weighted - best).norm())


def test_each_part_of_a_joined_matrix_begins_at_what_rounding_took_from_it_alone():
    """Its neighbours' scales, here 50 times as large, are not among its own."""
    rows, networks = some_rows((60, 60), (50, 70)), [tiny.network(**SHAPE) for _ in range(2)]
    for network in networks:
        with torch.no_grad():
            network.blocks[0].attention.qkv.weight[:64] *= 50
    plain, begun = networks
    QLORA.prepare(Setup(begun, CausalLM(), rows, calibration=rows), QLoRAConfig(rank=8, alpha=4))
    assert_nearest_to_what_is_lost(plain, begun, rows)


def test_rows_that_may_not_be_looked_at_and_a_start_at_zero_leave_adapters_as_in_lora():
    rows, tokens = some_rows((60, 60)), tiny.text(2, 20)
    private = tiny.network(**SHAPE)
    QLORA.prepare(Setup(private, CausalLM(), rows), QLoRAConfig(rank=8, alpha=4))
    with torch.no_grad():
        assert torch.equal(private(tokens), rounded()(tokens))
        assert torch.equal(heard(rows, start="zero")(tokens), rounded()(tokens))


def test_the_same_rows_begin_the_same_adapters_and_leave_random_numbers_alone():
    rows, network = some_rows((60, 60)), tiny.network(**SHAPE)
    torch.manual_seed(3)
    QLORA.prepare(Setup(network, CausalLM(), rows, calibration=rows), QLoRAConfig(rank=8, alpha=4))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    for a, b in zip(lora_layers(network).values(), lora_layers(heard(rows)).values(), strict=True):
        assert torch.equal(a.down, b.down)


def test_a_rank_above_the_rows_of_a_part_begins_with_what_there_is():
    rows, network = some_rows((60, 60)), tiny.network(**SHAPE)
    QLORA.prepare(Setup(network, CausalLM(), rows, calibration=rows), QLoRAConfig(rank=48, alpha=4))
    layer = lora_layers(network)["blocks.0.attention.qkv"]
    narrow = min(len(up) for up in layer.up)
    assert narrow < 48 and all(bool(up[:, :narrow].any()) for up in layer.up)
    assert all(not up[:, narrow:].any() for up in layer.up if len(up) == narrow)
    assert bool((layer.down.abs().sum(1) > 0).all())


def test_an_adapter_of_a_matrix_that_loses_nothing_can_learn():
    rows, network = some_rows((60, 60)), tiny.network(**SHAPE)
    path = "blocks.0.feed_forward.down"
    with torch.no_grad():
        network.get_submodule(path).weight.zero_()
    QLORA.prepare(Setup(network, CausalLM(), rows, calibration=rows), QLoRAConfig(rank=4, alpha=4))
    CausalLM()(network, stack(rows)).total.backward()
    (up,) = lora_layers(network)[path].up
    assert not up.any() and up.grad is not None and bool(up.grad.any())


def test_numbers_that_are_not_finite_leave_adapters_as_in_lora():
    rows, network = some_rows((60, 60)), tiny.network(**SHAPE)
    with torch.no_grad():
        network.blocks[1].attention_norm.weight.fill_(torch.nan)
    QLORA.prepare(Setup(network, CausalLM(), rows, calibration=rows), QLoRAConfig(rank=4, alpha=4))
    layers = lora_layers(network)
    assert not any(up.any() for up in layers["blocks.1.attention.qkv"].up)
    assert all(bool(up.any()) for up in layers["blocks.0.attention.qkv"].up)


def test_dora_beside_nf4_has_the_lengths_of_rounded_rows(tmp_path: Path):
    """A row of W + s B A is as long as what was trained, W being the rounded one."""
    folder = adapter_folder(tmp_path / "dora", tiny.network(**SHAPE), kind=DoRALinear, lmworks_base_values=VALUES)
    layers = lora_layers(read_adapter(folder, tiny.network(**SHAPE)))
    fresh = lora_layers(read_adapter(folder, rounded()))
    for path, layer in layers.items():
        assert isinstance(layer, DoRALinear)
        assert torch.equal(layer.base.weight, fresh[path].base.weight)
        lengths = (layer.base.weight + layer.delta()).norm(dim=1)
        torch.testing.assert_close(lengths, torch.cat([*layer.magnitude]).detach().abs(), rtol=1e-5, atol=1e-5)

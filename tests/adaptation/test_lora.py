"""Adapters: where they sit, what is refused, how they are taken off again."""

from __future__ import annotations

import pytest
import tiny
import torch
from adaptation.adapted import GPT2, adapted

from lmworks.adaptation.lora import LoRAConfig, adaptable, adapters_off, add_lora, lora_layers, remove_adapters
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.files.directory import write_network


def test_fresh_adapters_change_nothing_and_depend_on_the_seed_alone():
    tokens = tiny.text(2, 20)
    first, again, other = (add_lora(tiny.network(), LoRAConfig(), seed) for seed in (0, 0, 1))
    assert torch.equal(first(tokens), tiny.network()(tokens))
    for path, layer in lora_layers(first).items():
        assert torch.equal(layer.down, lora_layers(again)[path].down) and layer.down.abs().sum() > 0
        assert not torch.equal(layer.down, lora_layers(other)[path].down)


def test_every_projection_has_an_adapter_of_its_own():
    names = [
        part.module.removeprefix("model.layers.0.")
        for path, parts in adaptable(tiny.network(tied=False)).items()
        for part in parts
        if path.startswith("blocks.0.")
    ]
    assert names == [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ]
    gpt2 = [part.module for parts in adaptable(tiny.network(**GPT2)).values() for part in parts]
    assert sorted(gpt2)[:4] == [
        f"transformer.h.0.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    assert len(gpt2) == 8


def test_an_update_is_scaled_b_a_on_its_own_rows():
    network = adapted(("k_proj",), rank=4)
    layer = lora_layers(network)["blocks.0.attention.qkv"]
    delta = layer.delta()
    assert delta[:32].abs().sum() == 0 and delta[48:].abs().sum() == 0
    torch.testing.assert_close(delta[32:48], 8 / 4 * layer.up[0] @ layer.down)


def test_the_way_for_training_and_the_way_for_answering_agree():
    network, tokens = adapted(), tiny.text(2, 20)
    training = network(tokens)
    with torch.no_grad():
        torch.testing.assert_close(network(tokens), training, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_an_answer_after_a_step_uses_the_new_adapters(mode: str):
    network, tokens = adapted().train(mode == "training"), tiny.text(2, 20)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.1, fused=mode == "training")
    with torch.no_grad():
        before = network(tokens)
    network(tokens).logsumexp(-1).sum().backward()
    optimiser.step()
    with torch.no_grad():
        after = network(tokens)
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(after, network(tokens), rtol=1e-4, atol=1e-4)


def test_adapters_off_is_the_base_to_the_bit_and_they_come_back_as_they_were():
    network, tokens = adapted(), tiny.text(2, 20)
    base, with_adapters = tiny.network()(tokens), network(tokens)
    assert (base - with_adapters).abs().max() > 0.1
    with adapters_off(network):
        assert torch.equal(network(tokens), base)
        with adapters_off(network):
            pass
        assert torch.equal(network(tokens), base)  # the inner block does not switch them on for the outer
        with torch.no_grad():
            assert torch.equal(network(tokens), base)
    assert torch.equal(network(tokens), with_adapters)
    with pytest.raises(ZeroDivisionError), adapters_off(network):
        raise ZeroDivisionError
    assert torch.equal(network(tokens), with_adapters)


def test_taking_adapters_off_gives_back_the_base_to_the_bit():
    network, tokens = adapted(), tiny.text(2, 20)
    next(iter(lora_layers(network).values())).merge()
    assert torch.equal(remove_adapters(network)(tokens), tiny.network()(tokens))
    assert not lora_layers(network) and add_lora(network, LoRAConfig()) is network


def test_unknown_projections_are_named_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"^targets: this model has no projection query; it has down_proj, gate_proj"):
        add_lora(tiny.network(), LoRAConfig(targets=("q_proj", "query")))


def test_a_second_set_of_adapters_is_refused():
    with pytest.raises(ConfigError, match="has adapters already"):
        add_lora(adapted(), LoRAConfig())


def test_a_network_with_adapters_is_not_saved_as_if_it_had_none(tmp_path):
    with pytest.raises(ModelError, match=r"has adapters on.*merge them first"):
        write_network(tmp_path, adapted())
    assert not list(tmp_path.iterdir())


def test_experts_get_no_adapters_and_a_target_that_names_them_is_refused():
    network = add_lora(tiny.network(family="mixtral", experts={"count": 4}), LoRAConfig(rank=2))
    assert {path.rpartition(".")[2] for path in lora_layers(network)} == {"qkv", "output"}
    assert not network.blocks[0].feed_forward.router.weight.requires_grad
    with pytest.raises(ConfigError, match=r"has no projection w1; it has .*; experts get no adapters"):
        add_lora(tiny.network(family="mixtral", experts={"count": 4}), LoRAConfig(targets=("w1",)))

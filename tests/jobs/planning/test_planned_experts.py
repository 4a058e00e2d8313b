"""Plans of networks with experts: what is counted is what a network has, and what one token uses of it."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.planning.test_counts import SHAPE, counted_flops
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.jobs.planning.devices import find_device
from lmworks.jobs.planning.flops import forward_flops, training_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.plan import make_plan
from lmworks.jobs.planning.reading import read_subject
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.training.optimiser import trainable

MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"family": "mixtral", "experts": {"count": 6}},
    "some layers, a shared one": {
        "family": "qwen2_moe",
        "qkv_bias": True,
        "experts": {"count": 6, "top_k": 3, "hidden_dim": 40, "shared_dim": 64, "shared_gate": True, "layers": (1, 3)},
    },
}
each = pytest.mark.parametrize("name", MIXTURES)


@each
def test_all_parameters_and_those_of_one_token(name: str):
    config = ModelConfig(**SHAPE | MIXTURES[name])
    network = Network(config).eval()
    counted = count_parameters(config)
    assert counted.base == sum(one.numel() for one in network.parameters())
    network(tiny.text(1, 1, 4000)).sum().backward()
    used = sum(one.numel() for one in network.parameters() if one.grad is not None)
    assert counted.active == used < counted.base
    assert counted.by_part()["used by one token"] == used


@each
def test_operations_are_those_that_torch_counts(name: str):
    config = ModelConfig(**SHAPE | MIXTURES[name])
    network, parameters = Network(config).initialise().train(), count_parameters(config)
    planned = training_flops(config, parameters, 64)
    assert counted_flops(network, backward=True) == pytest.approx(2 * (planned.matrices + planned.head), rel=1e-6)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(tiny.text(1, 1, 4000))
    weighing = sum(2 * config.experts.top_k * config.dim for layer in range(5) if config.has_experts(layer))
    assert counter.get_total_flops() == forward_flops(config, parameters, 1).all + weighing


def test_adapters_are_those_that_lora_puts_on():
    config = ModelConfig(**SHAPE | MIXTURES["some layers, a shared one"])
    lora = LoRAConfig(rank=3)
    with torch.device("meta"):
        network = Network(config)
    add_lora(network, lora)
    assert count_parameters(config, lora).adapters == sum(one.numel() for one in trainable(network).values())


def test_mixtral_has_the_parameters_that_its_paper_says():
    """Jiang et al. 2024, https://arxiv.org/abs/2401.04088: 47 billion, of which a token uses 13."""
    config = ModelConfig(
        **{"vocab_size": 32_000, "dim": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "hidden_dim": 14_336},
        context=32_768,
        tied=False,
        family="mixtral",
        experts={"count": 8},
    )
    counted = count_parameters(config)
    assert counted.base == 46_702_792_704 and round(counted.active / 1e9) == 13


def test_a_recipe_with_experts_is_planned(tmp_path):
    file = tmp_path / "mixture.toml"
    file.write_text('depth = 2\n[model]\nfamily = "mixtral"\nexperts = { count = 8 }\n')
    plan = make_plan(read_subject(str(file)), find_device("H100"))
    assert plan.parameters.active < plan.parameters.base
    assert any("experts that a token is sent to" in note for note in plan.besides)
    assert plan.to_json()["parameters"]["used by one token"] == plan.parameters.active + plan.parameters.adapters

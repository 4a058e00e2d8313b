"""Upcycling: the network answers as it did before, whatever it is, and training pulls its experts apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from training.runs import CONFIG, rows

from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ExpertSettings
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.upcycling import upcycle
from lmworks.objectives import CausalLM
from lmworks.training.loop import train

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
DENSE: dict[str, dict[str, Any]] = {
    "mixtral": {},
    "mixtral ": {"family": "mistral", "window": 7},
    "qwen3_moe": {"family": "qwen3", "qk_norm": True},
    "lmworks": tiny.OWN,
    "lmworks ": {"family": "qwen2", "qkv_bias": True},  # Qwen2-MoE has a gated shared expert
    "lmworks  ": {"family": "llama", "feed_forward_bias": True, "tied": False},
}


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize(
    "chosen",
    [{}, {"top_k": 1}, {"scores": "sigmoid", "shared_dim": 20, "bias_rate": 0.01}, {"layers": (1,)}],
    ids=["two of five", "one", "sigmoid, a shared one, a bias", "one layer"],
)
def test_an_upcycled_network_answers_as_the_dense_one(family: str, chosen: dict[str, Any], tmp_path: Path):
    dense, tokens = tiny.network(**DENSE[family]), tiny.text(2, 24)
    made = upcycle(dense, ExpertSettings(**({"count": 5} | chosen)))
    assert made.config.family == (family.strip() if set(chosen) <= {"top_k"} else made.config.family)
    write_network(tmp_path, made)
    with torch.no_grad():
        for network in (made, read_network(tmp_path)):
            torch.testing.assert_close(network(tokens), dense(tokens), **CLOSE)


def test_a_gated_shared_expert_makes_it_a_qwen2_moe_model():
    dense = tiny.network(**DENSE["lmworks "])
    made = upcycle(dense, ExpertSettings(count=4, shared_dim=16, shared_gate=True))
    assert made.config.family == "qwen2_moe"
    with torch.no_grad():
        torch.testing.assert_close(made(tiny.text(1, 9)), dense(tiny.text(1, 9)), **CLOSE)


def test_training_pulls_the_copies_apart(tmp_path: Path):
    made = upcycle(tiny.network(), ExpertSettings(count=4))
    first, second, *_ = made.blocks[0].feed_forward.experts
    assert torch.equal(first.up.weight, second.up.weight) and first.up.weight.data_ptr() != second.up.weight.data_ptr()
    train(made, CausalLM(), rows(), CONFIG.but(steps=3), tmp_path)
    assert not torch.equal(first.up.weight, second.up.weight)


@pytest.mark.parametrize(
    "chosen, sentence",
    [
        ({"hidden_dim": 24}, "hidden_dim is 24, and each expert begins as the dense feed-forward, which is 48 wide"),
        ({"normalised": False}, "must sum to 1 to give what the dense network computed"),
        ({"scale": 2.0}, "must sum to 1 to give what the dense network computed"),
    ],
)
def test_experts_that_could_not_answer_as_the_dense_network_are_refused(chosen: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        upcycle(tiny.network(), ExpertSettings(**({"count": 4} | chosen)))


def test_experts_and_adapters_are_no_dense_network():
    with pytest.raises(ConfigError, match="has experts already"):
        upcycle(tiny.network(experts={"count": 4}), ExpertSettings(count=4))
    with pytest.raises(ConfigError, match="merge or remove adapters first"):
        upcycle(add_lora(tiny.network(), LoRAConfig(rank=2)), ExpertSettings(count=4))

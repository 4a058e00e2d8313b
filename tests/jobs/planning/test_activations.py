"""Bytes that autograd keeps, against a network that runs: equal to the byte, every switch on once."""

from __future__ import annotations

import pytest
import tiny
import torch

from jobs.planning.live import kept
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.jobs.planning.activations import BatchShape, kept_by_block, kept_once
from lmworks.models.attention import SHORT
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch
from lmworks.training.by_hand.fused_block import choose_blocks

ROWS, SEQ = 2, 48
GPT2 = {
    "family": "gpt2",
    "positions": "learned",
    "norm": "layer",
    "gated": False,
    "kv_heads": 4,
    "activation": "gelu_tanh",
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
}
NETWORKS = {
    "llama": {},
    "untied": {"tied": False},
    "gpt2": GPT2,
    "qwen3": {"family": "qwen3", "qk_norm": True, "head_dim": 16},
    "gemma": {"family": "gemma", "norm_unit_offset": True, "scale_embedding": True, "activation": "gelu_tanh"},
    "window": {"window": 8, "window_layers": (1,)},
    "relu": {"activation": "relu"},
    "gpt2 with relu": GPT2 | {"activation": "relu"},
    "sigmoid": {"activation": "sigmoid"},
    "gpt2 with tanh": GPT2 | {"activation": "tanh"},
    "no positions": {"positions": "none"},
    "turned, with layer norms": {"norm": "layer"},
}
TRAINED_WHOLE = {
    "dropout": {"dropout": 0.1},
    "gpt2 with dropout": GPT2 | {"dropout": 0.1},
    "our own": {
        "family": "lmworks",
        "norm_weight": False,
        "qk_norm": True,
        "gated": False,
        "activation": "relu_squared",
        "embedding_norm": "rms",
        "ngrams": (50, 60),
    },
    "our own, gated": {"family": "lmworks", "activation": "relu_squared"},
}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def batch(rows: int = ROWS, seq: int = SEQ) -> Batch:
    """Rows of two documents each, every token supervised."""
    tokens = tiny.text(rows, seq)
    documents = (torch.arange(seq) // (seq // 2)).expand(rows, seq)
    return Batch(tokens, tokens.clone(), torch.arange(seq).expand(rows, seq), documents)


def prepared(network: Network, lora: LoRAConfig | None, recompute: bool) -> Network:
    """As training has it: adapters on where asked for, blocks run as `build` and `train` run them."""
    network.requires_grad_(lora is None)
    if lora is not None:
        add_lora(network, lora)
    choose_blocks(network, recompute)
    return network.train()


def assert_equal(settings: dict, dtype: str, lora: LoRAConfig | None, recompute: bool, seq: int = SEQ) -> None:
    network = prepared(tiny.network(**settings).to(TYPES[dtype]), lora, recompute)
    shape = BatchShape(network.config, ROWS, seq, TYPES[dtype].itemsize, lora, recompute)
    predicted = network.config.layers * kept_by_block(shape) + kept_once(shape)
    counted = kept(lambda: CausalLM()(network, batch(seq=seq)).total, network.parameters())
    assert counted == predicted, f"{counted - predicted:+,.0f} bytes of {counted:,}"


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputing"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", [*NETWORKS, *TRAINED_WHOLE])
def test_what_training_keeps_is_what_is_planned(name: str, dtype: str, recompute: bool):
    assert_equal((NETWORKS | TRAINED_WHOLE)[name], dtype, None, recompute)


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputing"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_training_adapters_keeps_is_what_is_planned(name: str, dtype: str, recompute: bool):
    assert_equal(NETWORKS[name], dtype, LoRAConfig(rank=4), recompute)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("targets", [1, 2, 3])
def test_so_it_is_with_adapters_on_some_projections_only(name: str, dtype: str, targets: int):
    known = ("c_attn", "c_fc", "c_proj") if name == "gpt2" else ("q_proj", "v_proj", "up_proj")
    assert_equal(NETWORKS[name], dtype, LoRAConfig(rank=4, targets=known[:targets]), False)


@pytest.mark.parametrize("more", [0, 2])
@pytest.mark.parametrize("name", ["gpt2", "dropout", "turned, with layer norms"])
def test_rows_at_the_length_where_attention_takes_another_way(name: str, more: int):
    settings = (NETWORKS | TRAINED_WHOLE)[name] | {"context": SHORT + more}
    assert_equal(settings, "bfloat16", None, False, SHORT + more)

"""Parameters and operations: counted for one block and multiplied, against whole networks."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.planning.test_activations import GPT2, NETWORKS, TRAINED_WHOLE, prepared
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning.flops import decoding_flops, forward_flops, training_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network, run_plainly
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch
from lmworks.training.optimiser import trainable

SHAPE = {"vocab_size": 4000, "dim": 96, "layers": 5, "heads": 4, "kv_heads": 2, "hidden_dim": 200, "context": 64}
ADAPTIVE = {"adaptive_cutoffs": (1000, 3000), "adaptive_divisor": 2, "tied": False, "family": "lmworks"}


@pytest.mark.parametrize("name", [*NETWORKS, *TRAINED_WHOLE, "adaptive"])
def test_the_parts_are_those_of_a_real_network(name: str):
    config = ModelConfig(**SHAPE | (NETWORKS | TRAINED_WHOLE | {"adaptive": ADAPTIVE})[name])
    with torch.device("meta"):
        network = Network(config)
    counted = count_parameters(config)
    assert counted.base == sum(one.numel() for one in network.parameters())
    assert counted.head == (0 if network.head is None else sum(one.numel() for one in network.head.parameters()))
    blocks = sum(one.numel() for one in network.blocks.parameters())
    assert counted.by_part()["all"] == counted.base and abs(counted.block * config.layers - blocks) <= 3 * config.dim


UNLIKE = {
    "convolutions": {"convolution": {"layers": (0, 1, 4), "width": 4, "bias": True}},
    "convolutions and experts": {
        "convolution": {"layers": (0, 1, 3)},
        "experts": {"count": 3, "layers": (1, 2, 4), "shared_dim": 24},
    },
    "layers without rotation": {"rope_layers": (0, 1, 2, 4)},
    "one narrow state": {"latent": {"rank": 20, "value_dim": 8}, "rotary_dim": 8, "kv_heads": 4},
}


@pytest.mark.parametrize("name", UNLIKE)
def test_layers_that_are_unlike_are_counted_each(name: str):
    config = ModelConfig(**SHAPE | UNLIKE[name])
    with torch.device("meta"):
        network = Network(config)
    counted = count_parameters(config)
    assert counted.base == sum(one.numel() for one in network.parameters())
    within = (one.numel() for name, one in network.named_parameters() if "attention." in name and "norm" not in name)
    assert counted.attention == sum(within)


@pytest.mark.parametrize("targets", ["all", "some"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gpt2"])
def test_adapters_are_those_that_lora_puts_on(family: str, targets: str):
    settings = SHAPE | (GPT2 if family == "gpt2" else {"family": family, "qk_norm": family == "qwen3"})
    config = ModelConfig(**settings | ({"kv_heads": 4} if family == "gpt2" else {}))
    some = ("c_attn",) if family == "gpt2" else ("q_proj", "down_proj")
    lora = LoRAConfig(rank=3, targets="all" if targets == "all" else some)
    with torch.device("meta"):
        network = Network(config)
    add_lora(network, lora)
    assert count_parameters(config, lora).adapters == sum(one.numel() for one in trainable(network).values())


def test_published_models_have_the_parameters_that_their_files_have():
    """GPT-2 and Llama 2 as on the hub, SmolLM2-135M as in its file: counts of their tensors."""
    gpt2 = ModelConfig(
        **GPT2 | {"vocab_size": 50257, "dim": 768, "layers": 12, "heads": 12, "kv_heads": 12, "context": 1024}
    )
    smollm2 = ModelConfig(
        vocab_size=49152, dim=576, layers=30, heads=9, kv_heads=3, hidden_dim=1536, context=8192, tied=True
    )
    llama = ModelConfig(vocab_size=32000, dim=4096, layers=32, heads=32, hidden_dim=11008, context=4096, tied=False)
    assert [count_parameters(one).base for one in (gpt2, smollm2, llama)] == [124_439_808, 134_515_008, 6_738_415_616]


def test_a_network_of_ten_thousand_layers_is_counted_at_once():
    assert count_parameters(ModelConfig(**SHAPE | {"layers": 10_000})).layers == 10_000


def test_an_adapter_on_a_projection_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="has no projection nothing"):
        count_parameters(ModelConfig(**SHAPE), LoRAConfig(targets=("nothing",)))


def counted_flops(network: Network, backward: bool) -> int:
    tokens = tiny.text(2, 64, network.config.vocab_size)
    batch = Batch(tokens, tokens.clone(), torch.arange(64).expand(2, 64), torch.zeros_like(tokens))
    with FlopCounterMode(display=False) as counter:
        loss = CausalLM()(network, batch).total if backward else network(tokens).sum()
        if backward:
            loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "untied", "relu"])
def test_operations_are_those_that_torch_counts(name: str, adapters: bool):
    """Two sequences. Attention is left out: torch counts its CPU kernel not at all, and it is tested by hand below."""
    config = ModelConfig(**SHAPE | NETWORKS[name] | ({"kv_heads": 4} if name == "gpt2" else {}))
    lora = LoRAConfig(rank=4) if adapters else None
    network = prepared(Network(config).initialise(), lora, False)
    network.run_block = run_plainly
    planned = training_flops(config, count_parameters(config, lora), 64, frozen=adapters)
    # The first block's input needs no gradient where nothing before it is trained: that saves a product, and the
    # adapter's on the way to it.
    width = (config.heads + 2 * config.kv_heads) * config.head_dim
    parts = 1 if name == "gpt2" else 3
    saved = 2.0 * 64 * config.dim * (width + parts * 4) if adapters else 0
    assert counted_flops(network, backward=True) == 2 * (planned.matrices + planned.head - saved)


def test_a_window_leaves_out_what_it_does_not_see():
    plain = ModelConfig(**SHAPE)
    window = plain.but(window=16)
    parameters = count_parameters(plain)
    pairs = sum(min(at, 16) for at in range(1, 65))
    assert forward_flops(plain, parameters, 64).attention == 4 * 5 * 96 * (64 * 65 / 2)
    assert forward_flops(window, parameters, 64).attention == 4 * 5 * 96 * pairs
    assert decoding_flops(window, parameters, 60).attention == 4 * 5 * 96 * 16
    tokens = [decoding_flops(plain, parameters, keys).all for keys in range(1, 65)]
    assert sum(tokens) == forward_flops(plain, parameters, 64).all


def test_recomputing_costs_the_blocks_once_more():
    config = ModelConfig(**SHAPE)
    parameters = count_parameters(config)
    once, plain = forward_flops(config, parameters, 64), training_flops(config, parameters, 64)
    again = training_flops(config, parameters, 64, recompute=True)
    assert again.all - plain.all == once.all - once.head and plain.all == 3 * once.all

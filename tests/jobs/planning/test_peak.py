"""The peak of a training step: planned against what is alive, watched operation by operation."""

from __future__ import annotations

import pytest
import torch

from jobs.planning.live import LiveBytes
from jobs.planning.test_activations import GPT2, TYPES, batch, prepared
from lmworks.adaptation.lora import LoRAConfig
from lmworks.jobs.planning.memory import Formats, training_memory
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.training.optimiser import make_optimiser, trainable
from lmworks.training.settings import TrainingConfig

NETWORKS = {
    "wide": {"vocab_size": 400, "dim": 128, "layers": 4, "heads": 4, "kv_heads": 2, "hidden_dim": 384},
    "characters": {"vocab_size": 65, "dim": 64, "layers": 6, "heads": 4, "hidden_dim": 256},
    "gpt2": GPT2 | {"vocab_size": 400, "dim": 96, "layers": 4, "heads": 4, "hidden_dim": 384},
    "dropout": {"vocab_size": 200, "dim": 64, "layers": 4, "heads": 4, "dropout": 0.2},
    "words": {"vocab_size": 6000, "dim": 64, "layers": 2, "heads": 4, "tied": False},
    "relu": GPT2 | {"vocab_size": 200, "dim": 64, "layers": 4, "heads": 4, "activation": "relu"},
    "qwen3": {"family": "qwen3", "vocab_size": 200, "dim": 64, "layers": 4, "heads": 4, "kv_heads": 2, "qk_norm": True},
}
SHAPES = {"2 x 64": (2, 64)}
LARGER = {"8 x 128": (8, 128)}


def live_peak(network: Network, rows: int, seq: int) -> int:
    """Bytes alive at the peak of a training step that is not the first."""
    parameters = trainable(network)
    optimiser, objective, given = make_optimiser(network, TrainingConfig()), CausalLM(), batch(rows, seq)
    for ids in (given.tokens, given.labels):
        ids.remainder_(network.config.vocab_size)

    def step() -> None:
        (objective(network, given).total / given.supervised).backward()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    step()
    states = [value for state in optimiser.state.values() for value in state.values()]
    with LiveBytes([*network.parameters(), *states]) as live:
        step()
    return live.peak


def check(name: str, size: str, dtype: str, adapters: bool, recompute: bool) -> None:
    rows, seq = (SHAPES | LARGER)[size]
    config = ModelConfig(**({"context": 128} | NETWORKS[name]))
    lora = LoRAConfig(rank=4) if adapters else None
    network = prepared(Network(config).initialise().to(TYPES[dtype]), lora, recompute)
    formats = Formats.of(dtype, adapters=adapters)
    planned = training_memory(config, TrainingConfig(context=seq, rows=rows, recompute=recompute), formats, lora=lora)
    live = live_peak(network, rows, seq)
    print(f"{planned.peak / live - 1:+.1%} planned {planned.peak:,.0f} live {live:,} {planned.moment}")
    assert planned.peak == pytest.approx(live, rel=0.05)


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputing"])
@pytest.mark.parametrize("adapters", [False, True], ids=["whole", "adapters"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_is_the_planned_one(name: str, size: str, dtype: str, adapters: bool, recompute: bool):
    check(name, size, dtype, adapters, recompute)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputing"])
@pytest.mark.parametrize("adapters", [False, True], ids=["whole", "adapters"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", LARGER)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_of_larger_batches_is_the_planned_one(
    name: str, size: str, dtype: str, adapters: bool, recompute: bool
):
    check(name, size, dtype, adapters, recompute)

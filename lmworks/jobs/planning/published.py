"""What papers say about large runs, beside what this planner says: the check that small runs on a CPU cannot give.

Each line recomputes one published figure from the shape that the paper gives; the difference is shown, and a note
says what is known about it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmworks.adaptation.lora import LoRAConfig
from lmworks.jobs.planning.devices import KNOWN
from lmworks.jobs.planning.flops import training_flops
from lmworks.jobs.planning.memory import Formats, training_memory
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.models.config import ModelConfig
from lmworks.training.settings import TrainingConfig


@dataclass(frozen=True)
class Published:
    """One figure of a paper, and ours."""

    what: str
    unit: str
    published: float
    ours: float
    source: str
    note: str = ""

    @property
    def difference(self) -> float:
        """Ours against the paper's, as a share of the paper's."""
        return self.ours / self.published - 1


GPT3 = ModelConfig(
    family="gpt2",
    vocab_size=50257,
    dim=12288,
    layers=96,
    heads=96,
    context=2048,
    positions="learned",
    norm="layer",
    gated=False,
    activation="gelu_tanh",
    qkv_bias=True,
    output_bias=True,
    feed_forward_bias=True,
)
CHINCHILLA = ModelConfig(
    vocab_size=32000, dim=8192, layers=80, heads=64, head_dim=128, context=2048, gated=False, activation="gelu"
)


def llama(dim: int, layers: int, heads: int, hidden_dim: int, **changes: Any) -> ModelConfig:
    """A Llama of the first two generations."""
    shape: dict[str, Any] = {
        "vocab_size": 32000,
        "dim": dim,
        "layers": layers,
        "heads": heads,
        "hidden_dim": hidden_dim,
    }
    return ModelConfig(**{**shape, "context": 2048, "tied": False, **changes})


LLAMA_7B, LLAMA_13B = llama(4096, 32, 32, 11008), llama(5120, 40, 40, 13824)
LLAMA_33B, LLAMA_65B = llama(6656, 60, 52, 17920), llama(8192, 80, 64, 22016)
LLAMA_2_70B = llama(8192, 80, 64, 28672, kv_heads=8, context=4096)
LLAMA_3_405B = llama(16384, 126, 128, 53248, kv_heads=8, vocab_size=128256, context=8192)

QLORA = Formats(weights=2, quantised=True, adapters=2, gradients=2, moments=1)
"""Dettmers et al. 2023: NF4 with double quantisation, adapters in bfloat16, moments paged (here: 8-bit, none paged)."""
ONE_OF_512 = TrainingConfig(context=512, rows=1, recompute=True)


def published() -> list[Published]:
    """Every line; a second or so, most of it counting."""
    return [line() for line in LINES]


def _parameters(name: str, config: ModelConfig, billions: float, source: str, note: str = "") -> Published:
    return Published(f"{name}: parameters", "10^9", billions, count_parameters(config).base / 1e9, source, note)


def _compute(name: str, config: ModelConfig, tokens: float, flops: float, source: str, note: str) -> Published:
    spent = training_flops(config, count_parameters(config), config.context).all * tokens / config.context
    return Published(f"{name}: FLOPs for {tokens / 1e9:,.0f} x 10^9 tokens", "FLOPs", flops, spent, source, note)


def _qlora(name: str, config: ModelConfig, gigabytes: float, source: str, note: str) -> Published:
    needed = training_memory(config, ONE_OF_512, QLORA, lora=LoRAConfig(rank=64), cuda=True)
    return Published(f"{name}: memory for QLoRA, 1 x 512 tokens", "GB", gigabytes, needed.peak / 1e9, source, note)


def _full_65b() -> Published:
    parameters = count_parameters(LLAMA_65B)
    states = Formats(weights=2, gradients=2, moments=4).trained(parameters.base)
    return Published(
        "LLaMA 65B: states of full fine-tuning in 16 bits",
        "GB",
        780,
        states / 1e9,
        "Dettmers et al. 2023, abstract",
        "the paper says more than 780; 2 + 2 + 8 bytes a parameter, activations not counted",
    )


def _llama_hours() -> Published:
    device = KNOWN["A100"]
    spent = training_flops(LLAMA_65B, count_parameters(LLAMA_65B), 2048).all * 1.4e12 / 2048
    return Published(
        "LLaMA 65B: hours of one A100 for 1,400 x 10^9 tokens",
        "hours",
        1_022_362,
        spent / (device.flops * device.utilisation) / 3600,
        "Touvron et al. 2023, table 15",
        f"at the {device.utilisation:.0%} of the peak that is assumed here; theirs reached about half of it",
    )


ATTENTION = "6 N D leaves the products of attention out; ours counts them"
LINES: tuple[Callable[[], Published], ...] = (
    functools.partial(_parameters, "GPT-3", GPT3, 175.0, "Brown et al. 2020, table 2.1"),
    functools.partial(_parameters, "LLaMA 7B", LLAMA_7B, 6.7, "Touvron et al. 2023, table 2"),
    functools.partial(_parameters, "LLaMA 13B", LLAMA_13B, 13.0, "Touvron et al. 2023, table 2"),
    functools.partial(_parameters, "LLaMA 33B", LLAMA_33B, 32.5, "Touvron et al. 2023, table 2"),
    functools.partial(_parameters, "LLaMA 65B", LLAMA_65B, 65.2, "Touvron et al. 2023, table 2"),
    functools.partial(
        _parameters,
        "Chinchilla",
        CHINCHILLA,
        70.0,
        "Hoffmann et al. 2022, table 4",
        "its relative positions have a matrix of dim x dim a layer (5.4 in all) that this network has not",
    ),
    functools.partial(_parameters, "Llama 3.1 405B", LLAMA_3_405B, 405.0, "Grattafiori et al. 2024, table 3"),
    functools.partial(
        _compute, "GPT-3", GPT3, 300e9, 3.14e23, "Brown et al. 2020, table D.1", f"{ATTENTION}, all of it dense"
    ),
    functools.partial(
        _compute,
        "Chinchilla",
        CHINCHILLA,
        1.4e12,
        5.76e23,
        "Hoffmann et al. 2022, table 3 and section 4",
        "the paper's budget is Gopher's; without the matrices of relative positions",
    ),
    functools.partial(
        _compute, "Llama 3.1 405B", LLAMA_3_405B, 15.6e12, 3.8e25, "Grattafiori et al. 2024, section 1", ATTENTION
    ),
    _llama_hours,
    _full_65b,
    functools.partial(
        _qlora, "LLaMA 65B", LLAMA_65B, 48.0, "Dettmers et al. 2023, abstract", "the paper says that it fits in 48 GB"
    ),
    functools.partial(
        _qlora,
        "Llama 2 70B",
        LLAMA_2_70B,
        48.0,
        "the same claim for the successor",
        "no figure of its own is published",
    ),
)

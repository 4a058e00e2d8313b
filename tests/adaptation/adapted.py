"""Small networks with adapters whose update is not zero, and batches for them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import tiny
import torch

from lmworks.adaptation.adapter_files import CONFIG
from lmworks.adaptation.bottleneck import add_bottlenecks, write_bottlenecks
from lmworks.adaptation.bottleneck_config import BottleneckConfig
from lmworks.adaptation.lora import LoRALinear, add_lora
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.peft_format import write_adapter
from lmworks.adaptation.prompt_config import PromptConfig
from lmworks.adaptation.prompt_tuning import add_prompt, write_prompt
from lmworks.models.adapted import adapted_layers
from lmworks.models.network import Network
from lmworks.tokens.batch import Batch, Example, stack

GPT2 = {
    "family": "gpt2",
    "positions": "learned",
    "norm": "layer",
    "activation": "gelu_tanh",
    "gated": False,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "kv_heads": 4,
}


@torch.no_grad()
def randomise_adapters(network: Network, seed: int = 1, size: float = 0.2) -> Network:
    """Adapters as after some training: B is not zero, no two are alike."""
    generator = torch.Generator().manual_seed(seed)
    for layer in adapted_layers(network).values():
        for parameter in layer.own():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return network


def adapted(
    targets: Any = "all", rank: int = 4, seed: int = 0, kind: type[LoRALinear] = LoRALinear, **settings: Any
) -> Network:
    """A network with random weights and adapters."""
    network = tiny.network(seed, **settings)
    return randomise_adapters(add_lora(network, LoRAConfig(rank=rank, alpha=8, targets=targets), kind=kind))


def adapter_folder(
    folder: Path,
    network: Network,
    base: str = "base",
    targets: Any = "all",
    rank: int = 4,
    seed: int = 1,
    kind: type[LoRALinear] = LoRALinear,
    **more: Any,
) -> Path:
    """A folder with an adapter for the network, which stays as it is; `more` goes into its settings."""
    copied = add_lora(copy.deepcopy(network), LoRAConfig(rank=rank, alpha=8, targets=targets), kind=kind)
    folder.mkdir(parents=True)
    write_adapter(folder, randomise_adapters(copied, seed), base)
    if more:
        settings = json.loads((folder / CONFIG).read_text("utf-8"))
        (folder / CONFIG).write_text(json.dumps(settings | more), "utf-8")
    return folder


def bottleneck_folder(
    folder: Path, network: Network, style: str, size: int = 6, seed: int = 1, base: str = "base", **more: Any
) -> Path:
    """The same of a bottleneck; `more` are other settings of it."""
    copied = add_bottlenecks(copy.deepcopy(network), BottleneckConfig(style=style, size=size, **more))
    folder.mkdir(parents=True)
    write_bottlenecks(folder, randomise_adapters(copied, seed), base)
    return folder


def prompt_folder(folder: Path, network: Network, length: int = 5, seed: int = 1, base: str = "base") -> Path:
    """The same of a trained prompt."""
    copied = add_prompt(copy.deepcopy(network), PromptConfig(length=length))
    assert copied.prompt is not None
    with torch.no_grad():
        copied.prompt.vectors.normal_(generator=torch.Generator().manual_seed(seed))
    folder.mkdir(parents=True)
    write_prompt(folder, copied, base)
    return folder


def packed(*lengths: tuple[int, ...], seed: int = 0) -> Batch:
    """A batch with one row a tuple, a document of random tokens for each of its lengths."""
    generator = torch.Generator().manual_seed(seed)

    def example(length: int) -> Example:
        tokens = torch.randint(0, 96, (length,), generator=generator).tolist()
        return Example(tokens, [False] + [True] * (length - 1), "random")

    return stack([tuple(example(length) for length in row) for row in lengths])

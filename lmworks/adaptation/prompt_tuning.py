"""Prompt tuning: vectors before every text are trained, and nothing else; in PEFT's format, read and written.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691; they start as the embeddings of tokens drawn from the
vocabulary, as is best there where no words are at hand. models/prompt.py puts them before the texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.adaptation.adapter_files import CONFIG, WEIGHTS, fill, write_files
from lmworks.adaptation.lora import must_be_bare, remove_adapters
from lmworks.adaptation.prompt_config import PromptConfig
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.files.directory import read_safetensors
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network
from lmworks.models.prompt import TrainedPrompt
from lmworks.models.unread import peeked, read_for_now

TYPE = "PROMPT_TUNING"
VECTORS = "prompt_embeddings"
"""The name of PEFT's only tensor."""


def add_prompt(network: Network, config: PromptConfig, seed: int = 0) -> Network:
    """Freeze the network and put a prompt before its texts, in place; from here on only that can be trained.

    ConfigError for a network that is no transformer decoder, for a prompt that leaves no room for a text, and for a
    network that has adapters already.
    """
    must_be_bare(network)
    shape = network.config
    if not isinstance(shape, ModelConfig) or shape.arrangement != "decoder" or shape.ngrams:
        kind = "a recurrent one" if not isinstance(shape, ModelConfig) else f"an {shape.arrangement}"
        kind = "one with embeddings of n-grams" if isinstance(shape, ModelConfig) and shape.ngrams else kind
        raise ConfigError(
            f"{{at}}length: a trained prompt stands before a decoder's text, and this is {kind}; take lora"
        )
    if config.length >= shape.context:
        raise ConfigError(
            f"{{at}}length is {config.length:,}, and the network reads {shape.context:,} tokens; leave room for a text"
        )
    for parameter in peeked(network).values():  # none of them is read for that
        parameter.requires_grad_(False)
    with torch.device(network.device):
        prompt = TrainedPrompt(config.length, shape.embedding_width)
    if not prompt.vectors.is_meta:
        drawn = torch.randint(shape.vocab_size, (config.length,), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad(), read_for_now(network.embedding):
            table = network.embedding.weight
            prompt.vectors.copy_(table[drawn] * (shape.dim**0.5 if shape.scale_embedding else 1))
    network.prompt = prompt.train(network.training)
    return network


def prompt_tensors(network: Network) -> dict[str, Tensor]:
    """The vectors by PEFT's name, a view; nothing for a network without a prompt."""
    return {} if network.prompt is None else {VECTORS: network.prompt.vectors.detach()}


def write_prompt(folder: Path, network: Network, base: str) -> None:
    """Write the prompt into an existing folder; `base` says which model it belongs to."""
    if network.prompt is None:
        raise ConfigError("the network has no trained prompt to save")
    length, width = network.prompt.vectors.shape
    settings = {
        "num_virtual_tokens": length,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "num_attention_heads": network.config.heads,
        "num_layers": network.config.layers,
        "prompt_tuning_init": "SAMPLE_VOCAB",
    }
    write_files(folder, TYPE, base, settings, prompt_tensors(network))


def read_prompt(folder: Path, network: Network) -> Network:
    """Put the prompt of a folder before a network's texts, in place. ModelError where the files do not fit it."""
    settings = read_json(folder / CONFIG)
    tensors = read_safetensors(folder / WEIGHTS)
    _check_supported(folder, settings)
    try:
        config = PromptConfig(length=settings.get("num_virtual_tokens", 0))
        found = tensors.get(VECTORS)
        if found is not None and len(found) != config.length:
            raise ModelError(
                f"{folder / WEIGHTS}: {VECTORS} has {len(found)} rows, and {CONFIG} says num_virtual_tokens = "
                f"{config.length}; the two files do not belong together"
            )
        add_prompt(network, config)
    except ConfigError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from None
    try:
        fill(folder, prompt_tensors(network), tensors)
    except ModelError:
        remove_adapters(network)
        raise
    return network


def _check_supported(folder: Path, settings: dict[str, Any]) -> None:
    for key, harmless in {"num_transformer_submodules": (None, 1), "modules_to_save": (None, [])}.items():
        if settings.get(key) not in harmless:
            raise ModelError(
                f"{folder / CONFIG}: {key} = {settings[key]!r} is not supported, and without it the answers would "
                "differ"
            )

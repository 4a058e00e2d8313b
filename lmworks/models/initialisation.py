"""Fresh weights, by seed."""

from __future__ import annotations

import torch
from torch import nn

from lmworks.models.config import ModelConfig
from lmworks.models.feed_forward import activation_of
from lmworks.models.ngram_embedding import NGramEmbedding
from lmworks.models.scheme import Scheme


@torch.no_grad()
def initialise(network: nn.Module, config: ModelConfig, seed: int, scheme: Scheme = "normal") -> None:
    """Give every matrix and embedding fresh weights; biases become zero, norms stay."""
    generator = torch.Generator().manual_seed(seed)
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding | NGramEmbedding):
            module.weight.normal_(0.0, _deviation(scheme, path, module, config), generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()


def _deviation(scheme: Scheme, path: str, module: nn.Module, config: ModelConfig) -> float:
    if scheme == "normal":
        return _normal(path, config)
    return _zero_output(path, module, config) if scheme == "zero-output" else _width(path, module, config)


def _normal(path: str, config: ModelConfig) -> float:
    return 0.02 / (2 * config.layers) ** 0.5 if _writes(path) else 0.02


def _zero_output(path: str, module: nn.Module, config: ModelConfig) -> float:
    if isinstance(module, NGramEmbedding):
        return 0.3
    if isinstance(module, nn.Embedding):
        return 0.02 if config.tied else 1.0
    assert isinstance(module, nn.Linear)
    silent = _writes(path) or path.endswith(("head", "head.shortlist")) or _is_tail(path)
    return 0.0 if silent else 0.7 * module.in_features**-0.5


def _width(path: str, module: nn.Module, config: ModelConfig) -> float:
    if isinstance(module, nn.Embedding | NGramEmbedding):
        return config.dim**-0.5 if config.tied else 1.0
    assert isinstance(module, nn.Linear)
    deviation: float = module.in_features**-0.5
    if _writes(path) and path.endswith(".down"):
        deviation *= activation_gain(config.activation)
    return deviation / (2 * config.layers) ** 0.5 if config.residual and _writes(path) else deviation


def activation_gain(activation: str) -> float:
    """What an activation's output has to be multiplied by to be as large as its input, which is taken as normal: the
    root of 2 for relu."""
    normal = torch.special.ndtri((torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000)
    return float(activation_of(activation)(normal).square().mean() ** -0.5)


def _writes(path: str) -> bool:
    """Does it write into the residual stream, as attention, a feed-forward or an expert?"""
    return "blocks." in path and path.endswith(("attention.output", ".down"))


def _is_tail(path: str) -> bool:
    """Does it make the logits of an adaptive softmax's cluster?"""
    return path.startswith("head.clusters.") and path.endswith(".up")

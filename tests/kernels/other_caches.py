"""Small compiled networks whose caches keep something else than keys and values of heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import tiny

from lmworks.kernels import CompiledRunner
from lmworks.language_model import LanguageModel
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.latent_settings import LatentSettings

CONVOLUTIONS: dict[str, Any] = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 256}
CONVOLUTIONS |= {"layers": 3, "qk_norm": True, "convolution": ConvolutionSettings(layers=(0, 2), width=5)}

LATENT: dict[str, Any] = {"dim": 64, "heads": 4, "kv_heads": 4, "head_dim": 48, "rotary_dim": 16, "hidden_dim": 96}
LATENT |= {"context": 256, "latent": LatentSettings(rank=64, query_rank=96, value_dim=32)}


def running(shape: dict[str, Any], **others: object) -> CompiledRunner:
    """A network's runner."""
    return CompiledRunner(tiny.network(**(shape | others)).requires_grad_(False), 8)


def model_of(shape: dict[str, Any], **others: object) -> LanguageModel:
    """A model that reads bytes, compiled."""
    model = tiny.language_model(seed=4, **(shape | others))
    model.runner = CompiledRunner(model.network.requires_grad_(False), 8)
    return model


def alone(runner: CompiledRunner, text: list[int]) -> np.ndarray:
    """The logits after a text by itself."""
    return runner.next_logits(np.array([text]), runner.new_cache(1))[0]

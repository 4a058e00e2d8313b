"""What GGUF files say of experts, and of latent attention (DeepSeek-V2 and V3, GLM-4.5), on the way out.

Source: llama.cpp's conversion/deepseek.py and glm.py, and what src/models/deepseek2.cpp and glm4-moe.cpp ask for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from lmworks.models.config import ModelConfig
from lmworks.models.families.deepseek import all_dims_multiplier
from lmworks.models.families.gguf import (
    EXPAND,
    EXPANDS_TO,
    MIXTURES,
    OF_EXPERTS,
    SIGMOIDS,
    SOFTMAX,
    WITH_ROUTES,
    YARN_MULTIPLIER,
    as_written,
    known_of_experts,
    scale_of_scores,
)

LITE = (26, 27)
"""Layers of networks whose queries come from no narrow state (V2-Lite): llama.cpp knows them by that."""


def entries_of_experts(config: ModelConfig, architecture: str) -> dict[str, Any]:
    """What a file says of them, after the architecture; nothing where there are none."""
    if (experts := config.experts) is None:
        return {}
    sizes = experts.but(hidden_dim=experts.hidden_dim or config.hidden_dim)
    said = {name: value for key, name in OF_EXPERTS.items() if (value := getattr(sizes, key)) > 0}
    if architecture not in WITH_ROUTES:
        return said
    said.pop(OF_EXPERTS["shared_dim"], None)
    groups = {"expert_group_count": experts.groups, "expert_group_used_count": experts.top_groups}
    return said | {
        "leading_dense_block_count": 0 if experts.layers is None else min(experts.layers),
        "expert_shared_count": experts.shared_dim // config.expert_dim,
        "expert_weights_scale": experts.scale,
        "expert_weights_norm": experts.normalised,
        "expert_gating_func": SIGMOIDS if experts.scores == "sigmoid" else SOFTMAX,
        **(groups if experts.groups > 1 else {}),
    }


def problems_of_experts(config: ModelConfig, architecture: str) -> dict[str, bool]:
    """What a file cannot say of experts."""
    experts = config.experts
    if experts is None:
        return {"no experts": config.family in MIXTURES or architecture in ("gpt-oss", *WITH_ROUTES)}
    if architecture in WITH_ROUTES:
        return {
            "a choice within all its groups of experts": experts.groups > 1 and experts.groups == experts.top_groups
        }
    found = {"layers without experts": experts.layers is not None}
    for name, known in known_of_experts(architecture).items():
        value = getattr(experts, name)
        found[f"experts.{name} = {value}, where llama.cpp knows {known} of this family"] = value != known and (
            name != "shared_gate" or experts.shared_dim > 0
        )
    return found


def as_read_back(config: ModelConfig) -> ModelConfig:
    """With the experts and the scale of scores that a file gives back: a width that is the feed-forward's is not said,
    nor that all layers have experts, and numbers are float32."""
    experts = config.experts
    if experts is not None:
        width = None if experts.hidden_dim == config.hidden_dim else experts.hidden_dim
        layers = None if experts.layers == tuple(range(config.layers)) else experts.layers
        config = config.but(experts=experts.but(hidden_dim=width, layers=layers, scale=as_written(experts.scale)))
    if config.latent is not None and config.attention_scale is not None and config.rope_scaling is not None:
        said = np.float32(0.1 * (all_dims_multiplier(config) or 0.0)), np.float32(config.rope_scaling.factor)
        config = config.but(attention_scale=as_written(scale_of_scores(config.head_dim, *map(float, said))))
    return config


def entries_of_latent(config: ModelConfig) -> dict[str, Any]:
    """What a file says of latent attention, after the architecture: one head of keys that are the state and what is
    rotated, whose values are the state; and what is made of them for each head."""
    latent = config.latent
    if latent is None or config.rotary_dim is None:
        return {}
    said: dict[str, Any] = {
        "attention.head_count_kv": 1,
        "attention.key_length": latent.rank + config.rotary_dim,
        "attention.value_length": latent.rank,
        "attention.key_length_mla": config.head_dim,
        "attention.value_length_mla": latent.value_dim,
        "attention.kv_lora_rank": latent.rank,
    }
    if latent.query_rank is not None:
        said["attention.q_lora_rank"] = latent.query_rank
    if (multiplier := all_dims_multiplier(config)) is not None:
        said[YARN_MULTIPLIER] = 0.1 * multiplier
    return said


def problems_of_latent(config: ModelConfig) -> dict[str, bool]:
    """What a file cannot say of latent attention, or llama.cpp reads in another way."""
    if (latent := config.latent) is None:
        return {}
    layers, scaling = config.layers, config.rope_scaling
    return {
        f"{layers} layers and no rank of queries, which llama.cpp knows of {LITE[0]} or {LITE[1]} layers alone": (
            latent.query_rank is None and layers not in LITE
        ),
        f"{layers} layers and a rank of queries, which llama.cpp does not look for in so many": (
            latent.query_rank is not None and layers in LITE
        ),
        "yarn that does not multiply its scores": scaling is not None and config.attention_scale is None,
    }


def apart(name: str, weight: Tensor, config: ModelConfig) -> dict[str, tuple[Tensor, ...]]:
    """What makes each head's keys and values of its state, as newer files hold it: in two tensors, each of as many
    matrices as there are heads, the first turned about."""
    assert config.latent is not None and config.rotary_dim is not None
    plain = config.head_dim - config.rotary_dim
    keys, values = weight.unflatten(0, (config.heads, -1)).split([plain, config.latent.value_dim], dim=1)
    parts = keys.mT, values
    return {name.replace(EXPAND, one): tuple(part) for one, part in zip(EXPANDS_TO, parts, strict=True)}

"""GLM-4 (Team GLM 2024, https://arxiv.org/abs/2406.12793) and GLM-4-0414 (`glm4`, with norms before and after each
part): half of each head is turned, neighbour against neighbour, and gate and up are one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.cohere import turning_neighbours
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS
from lmworks.models.families.spellings import NO_IDS, rotary_dim_from, rotary_dim_to
from lmworks.models.families.tables import Family

GLM_TENSORS = turning_neighbours(TENSORS) | {
    "blocks.{i}.feed_forward.up.weight": "model.layers.{i}.mlp.gate_up_proj.weight"
}
DEFAULTS = {
    "rms_norm_eps": 1.5625e-7,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "head_dim": 128,
    "num_key_value_heads": 2,
    "attention_bias": True,
    "max_position_embeddings": 131_072,
}


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return rotary_dim_from(theirs, usual=0.5)


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | rotary_dim_to(config)


GLM = Family(
    name="glm",
    architecture="GlmForCausalLM",
    examples=("THUDM/glm-4-9b-chat-hf",),
    settings=SETTINGS | {"qkv_bias": "attention_bias"},
    tensors=GLM_TENSORS,
    ignored=IGNORED,
    defaults=DEFAULTS,
    more_from=_more_from,
    more_to=_more_to,
    told=("rotary_dim",),
    partly_rotary=True,
)
GLM4 = Family(
    name="glm4",
    architecture="Glm4ForCausalLM",
    examples=("THUDM/GLM-4-9B-0414",),
    settings=GLM.settings,
    tensors=GLM_TENSORS
    | {
        "blocks.{i}.attention_result_norm.weight": "model.layers.{i}.post_self_attn_layernorm.weight",
        "blocks.{i}.feed_forward_result_norm.weight": "model.layers.{i}.post_mlp_layernorm.weight",
    },
    ignored=IGNORED,
    fixed={"norm_place": "both"},
    defaults=DEFAULTS,
    more_from=_more_from,
    more_to=_more_to,
    told=("rotary_dim",),
    partly_rotary=True,
)

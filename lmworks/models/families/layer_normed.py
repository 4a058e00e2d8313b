"""Llamas with layer norms: StarCoder2 (Lozhkov et al. 2024, https://arxiv.org/abs/2402.19173), StableLM 2 (Bellagente
et al. 2024, https://arxiv.org/abs/2402.17834), Nemotron and Minitron (https://arxiv.org/abs/2407.14679)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import (
    IGNORED,
    SETTINGS,
    TENSORS,
    WHOLE_HEAD,
    mistral_window_from,
    mistral_window_to,
)
from lmworks.models.families.spellings import NO_IDS, rotary_dim_from, rotary_dim_to
from lmworks.models.families.tables import Family

BIASED = TENSORS | {
    "blocks.{i}.attention_norm.bias": "model.layers.{i}.input_layernorm.bias",
    "blocks.{i}.feed_forward_norm.bias": "model.layers.{i}.post_attention_layernorm.bias",
    "norm.bias": "model.norm.bias",
}
PLAIN = {
    "blocks.{i}.feed_forward.up.weight": "model.layers.{i}.mlp.up_proj.weight",
    "blocks.{i}.feed_forward.up.bias": "model.layers.{i}.mlp.up_proj.bias",
}
"""Without a gate."""


def _starcoder2_to(config: ModelConfig) -> dict[str, Any]:
    dropped = {"residual_dropout": config.dropout, "embedding_dropout": config.dropout}
    return NO_IDS | mistral_window_to(config) | dropped


def _stablelm_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    parallel = bool(theirs.get("use_parallel_residual", False))
    return rotary_dim_from(theirs, usual=0.25) | {"parallel": parallel, "shared_norm": parallel}


def _stablelm_to(config: ModelConfig) -> dict[str, Any]:
    own = {"use_parallel_residual": config.parallel, "hidden_dropout": config.dropout}
    return NO_IDS | rotary_dim_to(config) | own


def _nemotron_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return rotary_dim_from(theirs, usual=0.5)


def _nemotron_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | rotary_dim_to(config)


STARCODER2 = Family(
    name="starcoder2",
    architecture="Starcoder2ForCausalLM",
    examples=("bigcode/starcoder2-3b",),
    settings=SETTINGS
    | {
        "norm_eps": "norm_epsilon",
        "qkv_bias": "use_bias",
        "output_bias": "use_bias",
        "feed_forward_bias": "use_bias",
    },
    tensors=BIASED
    | {
        "blocks.{i}.feed_forward.up.weight": "model.layers.{i}.mlp.c_fc.weight",
        "blocks.{i}.feed_forward.up.bias": "model.layers.{i}.mlp.c_fc.bias",
        "blocks.{i}.feed_forward.down.weight": "model.layers.{i}.mlp.c_proj.weight",
        "blocks.{i}.feed_forward.down.bias": "model.layers.{i}.mlp.c_proj.bias",
    },
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"norm": "layer", "gated": False},
    defaults={
        "norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "hidden_act": "gelu_pytorch_tanh",
        "num_key_value_heads": 2,
        "use_bias": True,
        "max_position_embeddings": 4096,
    },
    more_from=mistral_window_from,
    more_to=_starcoder2_to,
)
STABLELM = Family(
    name="stablelm",
    architecture="StableLmForCausalLM",
    examples=("stabilityai/stablelm-2-1_6b",),
    settings={ours: theirs for ours, theirs in SETTINGS.items() if ours != "head_dim"}
    | {"norm_eps": "layer_norm_eps", "qkv_bias": "use_qkv_bias"},
    tensors=BIASED,
    ignored=IGNORED,
    required={"qk_layernorm": False},
    fixed={"norm": "layer"},
    defaults={
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "num_key_value_heads": 32,
        "use_qkv_bias": False,
        "max_position_embeddings": 4096,
    },
    more_from=_stablelm_from,
    more_to=_stablelm_to,
    told=("rotary_dim", "parallel", "shared_norm"),
    partly_rotary=True,
)
NEMOTRON = Family(
    name="nemotron",
    architecture="NemotronForCausalLM",
    examples=("nvidia/Minitron-4B-Base",),
    settings=SETTINGS
    | {
        "norm_eps": "norm_eps",
        "qkv_bias": "attention_bias",
        "output_bias": "attention_bias",
        "feed_forward_bias": "mlp_bias",
    },
    tensors=BIASED | PLAIN,
    ignored=IGNORED,
    fixed={"norm": "layer", "norm_unit_offset": True, "gated": False},
    defaults={
        "norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "relu2",
        "max_position_embeddings": 4096,
    },
    more_from=_nemotron_from,
    more_to=_nemotron_to,
    told=("rotary_dim",),
    partly_rotary=True,
)

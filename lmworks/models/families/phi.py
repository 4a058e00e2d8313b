"""Phi-1, 1.5 and 2 (Gunasekar et al. 2023, https://arxiv.org/abs/2306.11644): parallel parts that read one layer norm;
Phi-3 and 4 (Abdin et al. 2024, https://arxiv.org/abs/2404.14219): Llama, whose files hold joined matrices as we do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import (
    IGNORED,
    SETTINGS,
    TENSORS,
    mistral_window_from,
    mistral_window_to,
)
from lmworks.models.families.spellings import NO_IDS, rotary_dim_from, rotary_dim_to
from lmworks.models.families.tables import Family

JOINED = {
    "blocks.{i}.attention.qkv.weight": "model.layers.{i}.self_attn.qkv_proj.weight",
    "blocks.{i}.feed_forward.up.weight": "model.layers.{i}.mlp.gate_up_proj.weight",
}


def _phi_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return rotary_dim_from(theirs, usual=0.5)


def _phi_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | rotary_dim_to(config) | {"resid_pdrop": config.dropout, "embd_pdrop": config.dropout}


def _phi3_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return rotary_dim_from(theirs) | mistral_window_from(theirs, layers)


def _phi3_to(config: ModelConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind != "longrope":
        raise ModelError(
            f"a phi3 model cannot have rope_scaling of the kind {scaling.kind}, only longrope; choose another family "
            "to save it as"
        )
    original = config.context if scaling is None else scaling.original_context
    theirs = NO_IDS | rotary_dim_to(config) | mistral_window_to(config)
    return theirs | {"original_max_position_embeddings": original, "resid_pdrop": config.dropout}


PHI = Family(
    name="phi",
    architecture="PhiForCausalLM",
    examples=("microsoft/phi-2",),
    settings=SETTINGS | {"norm_eps": "layer_norm_eps"},
    tensors={
        "embedding.weight": "model.embed_tokens.weight",
        "blocks.{i}.attention_norm.weight": "model.layers.{i}.input_layernorm.weight",
        "blocks.{i}.attention_norm.bias": "model.layers.{i}.input_layernorm.bias",
        "blocks.{i}.attention.qkv.weight": TENSORS["blocks.{i}.attention.qkv.weight"],
        "blocks.{i}.attention.qkv.bias": TENSORS["blocks.{i}.attention.qkv.bias"],
        "blocks.{i}.attention.output.weight": "model.layers.{i}.self_attn.dense.weight",
        "blocks.{i}.attention.output.bias": "model.layers.{i}.self_attn.dense.bias",
        "blocks.{i}.feed_forward.up.weight": "model.layers.{i}.mlp.fc1.weight",
        "blocks.{i}.feed_forward.up.bias": "model.layers.{i}.mlp.fc1.bias",
        "blocks.{i}.feed_forward.down.weight": "model.layers.{i}.mlp.fc2.weight",
        "blocks.{i}.feed_forward.down.bias": "model.layers.{i}.mlp.fc2.bias",
        "norm.weight": "model.final_layernorm.weight",
        "norm.bias": "model.final_layernorm.bias",
        "head.weight": "lm_head.weight",
        "head_bias": "lm_head.bias",
    },
    ignored=IGNORED,
    required={"qk_layernorm": False},
    fixed={
        "norm": "layer",
        "parallel": True,
        "shared_norm": True,
        "gated": False,
        "head_bias": True,
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
    },
    defaults={
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "intermediate_size": 8192,
        "tie_word_embeddings": False,
        "hidden_act": "gelu_new",
    },
    more_from=_phi_from,
    more_to=_phi_to,
    told=("rotary_dim",),
    partly_rotary=True,
)
PHI3 = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    examples=(
        "microsoft/Phi-3-mini-4k-instruct",
        "microsoft/phi-4",
    ),
    settings=SETTINGS,
    tensors=TENSORS | JOINED,
    ignored=IGNORED,
    defaults={
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
    },
    more_from=_phi3_from,
    more_to=_phi3_to,
    told=("rotary_dim", "window", "window_layers"),
    partly_rotary=True,
)

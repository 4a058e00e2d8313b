"""Granite 3 (IBM 2024): Llama with four factors: of embeddings, scores, what each part adds, and logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, LLAMA, TENSORS, WHOLE_HEAD
from lmworks.models.families.spellings import NO_IDS, inverse
from lmworks.models.families.tables import Family


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    factors = {
        "embedding_scale": theirs["embedding_multiplier"],
        "residual_scale": theirs["residual_multiplier"],
        "head_scale": inverse(theirs["logits_scaling"]),
    }
    ours = {name: factor for name, factor in factors.items() if factor != 1}
    return ours | {"attention_scale": theirs["attention_multiplier"]}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | {
        "attention_multiplier": config.attention_scale or config.head_dim**-0.5,
        "embedding_multiplier": config.embedding_scale or 1.0,
        "residual_multiplier": config.residual_scale or 1.0,
        "logits_scaling": inverse(config.head_scale or 1.0),
    }


GRANITE = Family(
    name="granite",
    architecture="GraniteForCausalLM",
    examples=("ibm-granite/granite-3.3-2b-instruct",),
    settings=LLAMA.settings,
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
        "attention_multiplier": 1.0,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("attention_scale", "embedding_scale", "residual_scale", "head_scale"),
)

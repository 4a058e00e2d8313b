"""Gemma 2 (Gemma Team 2024, https://arxiv.org/abs/2408.00118) and the text part of Gemma 3
(https://arxiv.org/abs/2503.19786): norms before and after each part, windows on most layers, capped scores and logits
in Gemma 2, norms of query and key and another rotary base under the windows in Gemma 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS, WHOLE_HEAD
from lmworks.models.families.spellings import (
    NO_IDS,
    rope_by_kind_from,
    rope_by_kind_to,
    windows_from,
    windows_to,
)
from lmworks.models.families.tables import Family

GEMMA2_TENSORS = TENSORS | {
    "blocks.{i}.attention_result_norm.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blocks.{i}.feed_forward_norm.weight": "model.layers.{i}.pre_feedforward_layernorm.weight",
    "blocks.{i}.feed_forward_result_norm.weight": "model.layers.{i}.post_feedforward_layernorm.weight",
}
GEMMA2_SETTINGS = SETTINGS | {
    "activation": "hidden_activation",
    "qkv_bias": "attention_bias",
    "output_bias": "attention_bias",
}
DEFAULTS = {
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
    "head_dim": 256,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
FIXED = {"norm_unit_offset": True, "scale_embedding": True, "norm_place": "both"}


def _scales_from(theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attention_scale": theirs["query_pre_attn_scalar"] ** -0.5,
        "attention_cap": theirs.get("attn_logit_softcapping"),
        "logit_cap": theirs.get("final_logit_softcapping"),
    }


def _scales_to(config: ModelConfig) -> dict[str, Any]:
    """The way back; ModelError for a scale that is no whole number's, which is what their files hold."""
    wanted = config.head_dim if config.attention_scale is None else config.attention_scale**-2
    if abs(wanted - round(wanted)) > 1e-6 * wanted:
        raise ModelError(
            f"a {config.family} model cannot have attention_scale = {config.attention_scale} (1 / its square is no "
            "whole number); choose another family to save it as"
        )
    return {
        "query_pre_attn_scalar": round(wanted),
        "attn_logit_softcapping": config.attention_cap,
        "final_logit_softcapping": config.logit_cap,
    }


def _gemma2_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return _scales_from(theirs) | windows_from(theirs, layers, every=2)


def _gemma2_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | _scales_to(config) | windows_to(config, without=config.context)


def _gemma3_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    ours = _scales_from(theirs) | windows_from(theirs, layers, every=theirs["sliding_window_pattern"])
    return ours | (rope_by_kind_from(theirs, usual=10_000.0) if "window" in ours else {})


def _gemma3_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | _scales_to(config) | windows_to(config, without=config.context) | rope_by_kind_to(config)


TEXT_PART: dict[str, str | None] = {
    "model.language_model.": "model.",
    "language_model.": "",
    **dict.fromkeys(("model.vision_tower.", "model.multi_modal_projector."), None),
    **dict.fromkeys(("vision_tower.", "multi_modal_projector."), None),
}
"""Names in files of a Gemma 3 that sees images too."""


class _WithImages(Family):
    """A Gemma 3 that sees images too: its text part is read, which is a model of text then."""

    def config_from(self, theirs: Mapping[str, Any]) -> ModelConfig:
        text = theirs.get("text_config")
        if not isinstance(text, dict):
            raise ModelError("config.json of a gemma3 model has no text_config; fetch it again")
        return GEMMA3.config_from(SIZES | text)

    def config_to(self, config: ModelConfig) -> dict[str, Any]:
        raise ModelError("only the text part of a gemma3 model is known here; choose the family gemma3_text")


SIZES = {"vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26} | {
    "num_attention_heads": 8
}
"""Those that a text_config leaves out."""
SCALES = ("attention_scale", "attention_cap", "logit_cap", "window", "window_layers")
GEMMA2 = Family(
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    examples=("google/gemma-2-2b-it",),
    settings=GEMMA2_SETTINGS,
    tensors=GEMMA2_TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD | {"use_bidirectional_attention": False},
    fixed=FIXED,
    defaults=DEFAULTS | {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0},
    more_from=_gemma2_from,
    more_to=_gemma2_to,
    told=SCALES,
)
GEMMA3 = Family(
    name="gemma3_text",
    architecture="Gemma3ForCausalLM",
    examples=("google/gemma-3-1b-it",),
    settings=GEMMA2_SETTINGS,
    tensors=GEMMA2_TENSORS,
    ignored=IGNORED,
    required={"use_bidirectional_attention": False},
    fixed=FIXED | {"qk_norm": True},
    defaults=DEFAULTS | {"rope_theta": 1_000_000.0, "max_position_embeddings": 131_072, "sliding_window_pattern": 6},
    more_from=_gemma3_from,
    more_to=_gemma3_to,
    told=(*SCALES, "window_theta"),
    rotary_by_kind=True,
    whole=TEXT_PART,
)
WITH_IMAGES = _WithImages(name="gemma3", architecture=GEMMA3.architecture, settings={}, tensors=GEMMA3.tensors)

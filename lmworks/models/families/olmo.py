"""OLMo (Groeneveld et al. 2024, https://arxiv.org/abs/2402.00838): Llama with layer norms that learn nothing; OLMo 2
(https://arxiv.org/abs/2501.00656) and 3: what each part makes is normed, and all heads of query and key at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS, WHOLE_HEAD
from lmworks.models.families.spellings import NO_IDS, rope_by_kind_from, rope_by_kind_to, windows_from, windows_to
from lmworks.models.families.tables import Family

RESULT_NORMS = {
    "blocks.{i}.attention_norm.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blocks.{i}.feed_forward_norm.weight": "model.layers.{i}.post_feedforward_layernorm.weight",
}
DEFAULTS = {"tie_word_embeddings": False, "hidden_act": "silu", "max_position_embeddings": 2048}
BIASES = {"qkv_bias": "attention_bias", "output_bias": "attention_bias"}


def _no_ids(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS


def _olmo3_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    ours = windows_from(theirs, layers, every=4)
    return ours | (rope_by_kind_from(theirs, usual=500_000.0) if ours else {})


def _olmo3_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | windows_to(config, without=config.context) | rope_by_kind_to(config)


OLMO = Family(
    name="olmo",
    architecture="OlmoForCausalLM",
    examples=("allenai/OLMo-1B-hf",),
    settings={ours: theirs for ours, theirs in SETTINGS.items() if ours != "norm_eps"} | BIASES,
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD | {"clip_qkv": None},
    fixed={"norm": "layer", "norm_weight": False, "norm_bias": False, "norm_eps": 1e-5},
    defaults=DEFAULTS,
    more_to=_no_ids,
    told=(),
)
OLMO2 = Family(
    name="olmo2",
    architecture="Olmo2ForCausalLM",
    examples=("allenai/OLMo-2-0425-1B",),
    settings=SETTINGS | BIASES,
    tensors=TENSORS | RESULT_NORMS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"norm_place": "result", "qk_norm": True, "qk_norm_over": "row"},
    defaults=DEFAULTS | {"rms_norm_eps": 1e-5},
    more_to=_no_ids,
    told=(),
)
OLMO3 = Family(
    name="olmo3",
    architecture="Olmo3ForCausalLM",
    examples=("allenai/Olmo-3-7B-Instruct",),
    settings=SETTINGS | BIASES,
    tensors=TENSORS | RESULT_NORMS,
    ignored=IGNORED,
    fixed=OLMO2.fixed,
    defaults=DEFAULTS | {"rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "sliding_window": 4096},
    more_from=_olmo3_from,
    more_to=_olmo3_to,
    told=("window", "window_layers", "window_theta"),
    rotary_by_kind=True,
)

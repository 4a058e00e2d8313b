"""gpt-oss (OpenAI 2025, https://arxiv.org/abs/2508.10925): experts with biases and a gate that is cut off, a sink for
each head, a window in every other layer.

Its public files hold the experts in MXFP4, which is read as the values that it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS
from lmworks.models.families.rotary import rope_to
from lmworks.models.families.sources import OfExperts, Source
from lmworks.models.families.tables import Family

LAYER = "model.layers.{i}.mlp"
WINDOW, WHOLE = "sliding_attention", "full_attention"
YARN = {"kind": "yarn", "factor": 32.0, "original_context": 4096, "truncate": False}
"""What transformers takes where a file says nothing of rotary settings."""
EXPERTS: dict[str, Source] = {
    "blocks.{i}.feed_forward.router.weight": f"{LAYER}.router.weight",
    "blocks.{i}.feed_forward.router.bias": f"{LAYER}.router.bias",
    "blocks.{i}.feed_forward.experts.{e}.up.weight": OfExperts(f"{LAYER}.experts.gate_up_proj", neighbours=True),
    "blocks.{i}.feed_forward.experts.{e}.up.bias": OfExperts(f"{LAYER}.experts.gate_up_proj_bias", neighbours=True),
    "blocks.{i}.feed_forward.experts.{e}.down.weight": OfExperts(f"{LAYER}.experts.down_proj"),
    "blocks.{i}.feed_forward.experts.{e}.down.bias": OfExperts(f"{LAYER}.experts.down_proj_bias"),
}


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    kinds = theirs.get("layer_types") or [WHOLE if layer % 2 else WINDOW for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in (WINDOW, WHOLE) for kind in kinds):
        raise ModelError(f"config.json: layer_types does not say {WINDOW} or {WHOLE} for each of the {layers} layers")
    chosen = tuple(layer for layer, kind in enumerate(kinds) if kind == WINDOW)
    ours: dict[str, Any] = {
        "experts": {
            "count": theirs["num_local_experts"],
            "top_k": theirs["num_experts_per_tok"],
            "router_bias": True,
        },
        "gate_limit": theirs["swiglu_limit"],
    }
    if chosen and theirs.get("sliding_window") is not None:
        ours |= {"window": theirs["sliding_window"], "window_layers": chosen}
    if not theirs["rope_parameters"]:
        ours["rope_scaling"] = YARN
    return ours


def _more_to(config: ModelConfig) -> dict[str, Any]:
    settings = config.experts
    only = {"top_k", "count", "router_bias", "hidden_dim"}
    if settings is None or settings.hidden_dim not in (None, config.hidden_dim) or not settings.router_bias:
        raise ModelError(
            "a gpt_oss model has experts in all layers, hidden_dim wide each, and a bias on the router; choose another "
            "family to save it as"
        )
    if config.gate_limit is None:
        raise ModelError("a gpt_oss model cuts off its gate; give gate_limit, or choose another family to save it as")
    for name, field in type(settings).model_fields.items():
        if name not in only and getattr(settings, name) != field.default:
            raise ModelError(
                f"a gpt_oss model cannot have experts.{name} = {getattr(settings, name)!r}; choose the family lmworks "
                "to save it as"
            )
    rope = rope_to(config)
    table = rope.get("rope_scaling", {"rope_type": "default"}) | {"rope_theta": config.rope_theta}
    kinds = [WHOLE if config.window_of(layer) is None else WINDOW for layer in range(config.layers)]
    return {
        "num_local_experts": settings.count,
        "num_experts_per_tok": settings.top_k,
        "swiglu_limit": config.gate_limit,
        "sliding_window": config.window or 128,  # transformers wants one, also where no layer has it
        "layer_types": kinds,
        "rope_parameters": table,  # said even where it is plain: nothing said means YaRN
    }


GPT_OSS = Family(
    name="gpt_oss",
    architecture="GptOssForCausalLM",
    examples=("openai/gpt-oss-20b",),
    settings={ours: key for ours, key in SETTINGS.items() if ours != "activation"}
    | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors={name: source for name, source in TENSORS.items() if ".feed_forward." not in name}
    | EXPERTS
    | {"blocks.{i}.attention.sinks": "model.layers.{i}.self_attn.sinks"},
    ignored=IGNORED,
    required={"hidden_act": "silu", "swiglu_alpha": 1.702},
    fixed={"activation": "quick_gelu", "gate_shift": True, "feed_forward_bias": True, "sinks": True},
    defaults={
        "rms_norm_eps": 1e-5,
        "rope_theta": 150_000.0,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "head_dim": 64,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "intermediate_size": 2880,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("window", "window_layers", "experts", "gate_limit"),
)

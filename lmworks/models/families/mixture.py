"""Architectures whose feed-forward is a mixture of experts: Mixtral, Qwen2-MoE (Qwen1.5-MoE too), Qwen3-MoE and OLMoE.

Files name each expert's matrices apart, those that transformers writes too. What its configs say of the auxiliary loss
(`router_aux_loss_coef`) is a choice of training and not of the network: `lmworks.objectives.LoadBalance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import (
    IGNORED,
    SETTINGS,
    TENSORS,
    WHOLE_HEAD,
    mistral_window_from,
    mistral_window_to,
)
from lmworks.models.families.sources import Rows, Source
from lmworks.models.families.tables import Family

TOLD = ("window", "window_layers", "experts")
MIXTRAL_LAYER, QWEN_LAYER = "model.layers.{i}.block_sparse_moe", "model.layers.{i}.mlp"
MIXTRAL_EXPERTS: dict[str, Source] = {
    "blocks.{i}.feed_forward.router.weight": f"{MIXTRAL_LAYER}.gate.weight",
    "blocks.{i}.feed_forward.experts.{e}.up.weight": Rows(
        (f"{MIXTRAL_LAYER}.experts.{{e}}.w1.weight", f"{MIXTRAL_LAYER}.experts.{{e}}.w3.weight")
    ),
    "blocks.{i}.feed_forward.experts.{e}.down.weight": f"{MIXTRAL_LAYER}.experts.{{e}}.w2.weight",
}
QWEN_EXPERTS: dict[str, Source] = {
    "blocks.{i}.feed_forward.router.weight": f"{QWEN_LAYER}.gate.weight",
    "blocks.{i}.feed_forward.experts.{e}.up.weight": Rows(
        (f"{QWEN_LAYER}.experts.{{e}}.gate_proj.weight", f"{QWEN_LAYER}.experts.{{e}}.up_proj.weight")
    ),
    "blocks.{i}.feed_forward.experts.{e}.down.weight": f"{QWEN_LAYER}.experts.{{e}}.down_proj.weight",
}
SHARED: dict[str, Source] = {
    "blocks.{i}.feed_forward.shared.up.weight": Rows(
        (f"{QWEN_LAYER}.shared_expert.gate_proj.weight", f"{QWEN_LAYER}.shared_expert.up_proj.weight")
    ),
    "blocks.{i}.feed_forward.shared.down.weight": f"{QWEN_LAYER}.shared_expert.down_proj.weight",
    "blocks.{i}.feed_forward.shared_gate.weight": f"{QWEN_LAYER}.shared_expert_gate.weight",
}
UNSAID = {
    "scores": "softmax",
    "scale": 1.0,
    "capacity": None,
    "bias_rate": 0.0,
    "router_bias": False,
    "choice_bias": False,
    "top_groups": None,
}
"""What these files have no word for."""
WITHOUT_DENSE = {name: source for name, source in TENSORS.items() if ".feed_forward." not in name}


def _mixtral_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    experts = {"count": theirs["num_local_experts"], "top_k": theirs["num_experts_per_tok"]}
    return mistral_window_from(theirs, layers) | {"experts": experts}


def _mixtral_to(config: ModelConfig) -> dict[str, Any]:
    settings = _expressible(config, "mixtral", normalised=True, shared_dim=0, shared_gate=False)
    if settings.layers is not None or settings.hidden_dim not in (None, config.hidden_dim):
        raise ModelError(
            "a mixtral model has experts in all layers, hidden_dim wide each; choose another family to save it as"
        )
    return mistral_window_to(config) | {
        "num_local_experts": settings.count,
        "num_experts_per_tok": settings.top_k,
    }


def _qwen_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """`mlp_only_layers` and `decoder_sparse_step` name the layers without experts."""
    dense, step = theirs.get("mlp_only_layers") or (), theirs.get("decoder_sparse_step", 1)
    chosen = tuple(layer for layer in range(layers) if layer not in dense and (layer + 1) % step == 0)
    if not chosen:
        raise ModelError("config.json: mlp_only_layers and decoder_sparse_step leave no layer with experts")
    return {
        "experts": {
            "count": theirs.get("num_local_experts", theirs["num_experts"]),
            "top_k": theirs["num_experts_per_tok"],
            "hidden_dim": theirs["moe_intermediate_size"],
            "normalised": theirs["norm_topk_prob"],
            "layers": chosen if len(chosen) < layers else None,
        }
    }


def _qwen_to(config: ModelConfig) -> dict[str, Any]:
    settings = config.experts
    assert settings is not None
    return {
        "num_experts": settings.count,
        "num_experts_per_tok": settings.top_k,
        "moe_intermediate_size": config.expert_dim,
        "norm_topk_prob": settings.normalised,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [layer for layer in range(config.layers) if not config.has_experts(layer)],
    }


def _qwen2_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """With `use_sliding_window`, `layer_types` says which layers have a window: if not, every other one at first."""
    ours = _qwen_from(theirs, layers)
    ours["experts"] |= {"shared_dim": theirs["shared_expert_intermediate_size"], "shared_gate": True}
    if not theirs.get("use_sliding_window", False) or not theirs.get("sliding_window"):
        return ours
    kinds = theirs.get("layer_types") or [
        "full_attention" if layer % 2 or layer >= theirs["max_window_layers"] else "sliding_attention"
        for layer in range(layers)
    ]
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise ModelError(f"config.json: layer_types does not name a kind for each of the {layers} layers")
    chosen = tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")
    return ours | ({"window": theirs["sliding_window"], "window_layers": chosen} if chosen else {})


def _qwen2_to(config: ModelConfig) -> dict[str, Any]:
    settings = _expressible(config, "qwen2_moe", shared_gate=True)
    windows = [config.window_of(layer) for layer in range(config.layers)]
    return _qwen_to(config) | {
        "shared_expert_intermediate_size": settings.shared_dim,
        "use_sliding_window": any(windows),
        "sliding_window": config.window,
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }


def _qwen3_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    window = theirs.get("sliding_window") if theirs.get("use_sliding_window", False) else None
    return _qwen_from(theirs, layers) | {"window": window}


def _qwen3_to(config: ModelConfig) -> dict[str, Any]:
    _expressible(config, "qwen3_moe", shared_dim=0, shared_gate=False)
    if config.window is not None and config.window_layers is not None:
        raise ModelError(
            "a qwen3_moe model cannot have a window on some layers only; choose another family to save it as"
        )
    return _qwen_to(config) | {"use_sliding_window": config.window is not None, "sliding_window": config.window}


def _olmoe_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return {
        "experts": {
            "count": theirs["num_experts"],
            "top_k": theirs["num_experts_per_tok"],
            "normalised": theirs["norm_topk_prob"],
        }
    }


def _olmoe_to(config: ModelConfig) -> dict[str, Any]:
    settings = _expressible(config, "olmoe", shared_dim=0, shared_gate=False, layers=None)
    if settings.hidden_dim not in (None, config.hidden_dim):
        raise ModelError("an olmoe model's experts are hidden_dim wide each; choose another family to save it as")
    return {
        "num_experts": settings.count,
        "num_experts_per_tok": settings.top_k,
        "norm_topk_prob": settings.normalised,
        "pad_token_id": None,  # transformers takes OLMoE's own where a file leaves them out
        "eos_token_id": None,
    }


def _expressible(config: ModelConfig, family: str, **fixed: Any) -> Any:
    """The experts' settings; ModelError where the architecture cannot have them."""
    if config.experts is None:
        raise ModelError(f"a {family} model has experts, and this one has none; choose another family to save it as")
    for name, value in (UNSAID | fixed).items():
        if getattr(config.experts, name) != value:
            raise ModelError(
                f"a {family} model cannot have experts.{name} = {getattr(config.experts, name)!r}; "
                "choose the family lmworks to save it as"
            )
    return config.experts


MIXTRAL = Family(
    name="mixtral",
    architecture="MixtralForCausalLM",
    examples=("mistralai/Mixtral-8x7B-v0.1",),
    settings=SETTINGS,
    tensors=WITHOUT_DENSE | MIXTRAL_EXPERTS,
    ignored=IGNORED,
    # Jitter would be noise on what the router reads in training.
    required=WHOLE_HEAD | {"router_jitter_noise": 0.0},
    defaults={
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    more_from=_mixtral_from,
    more_to=_mixtral_to,
    told=TOLD,
)
QWEN2_MOE = Family(
    name="qwen2_moe",
    architecture="Qwen2MoeForCausalLM",
    examples=("Qwen/Qwen1.5-MoE-A2.7B",),
    settings=SETTINGS | {"qkv_bias": "qkv_bias"},
    tensors=TENSORS | QWEN_EXPERTS | SHARED,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "intermediate_size": 5632,
        "max_position_embeddings": 32_768,
        "num_key_value_heads": 16,
        "qkv_bias": True,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "norm_topk_prob": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
    more_from=_qwen2_from,
    more_to=_qwen2_to,
    told=TOLD,
)
QWEN3_MOE = Family(
    name="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    examples=("Qwen/Qwen3-30B-A3B",),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors=TENSORS | QWEN_EXPERTS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"qk_norm": True},
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "intermediate_size": 6144,
        "max_position_embeddings": 32_768,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": False,
        "sliding_window": 4096,
    },
    more_from=_qwen3_from,
    more_to=_qwen3_to,
    told=TOLD,
    usual={"norm_topk_prob": True},
)
OLMOE = Family(
    name="olmoe",
    architecture="OlmoeForCausalLM",
    examples=("allenai/OLMoE-1B-7B-0924",),
    settings={ours: key for ours, key in SETTINGS.items() if ours != "head_dim"}
    | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors=WITHOUT_DENSE | QWEN_EXPERTS,
    ignored=IGNORED,
    required=WHOLE_HEAD | {"clip_qkv": None},
    fixed={"qk_norm": True, "qk_norm_over": "row"},
    defaults={
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "intermediate_size": 2048,
        "max_position_embeddings": 4096,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "norm_topk_prob": False,
    },
    more_from=_olmoe_from,
    more_to=_olmoe_to,
    told=("experts",),
)

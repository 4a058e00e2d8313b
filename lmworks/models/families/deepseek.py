"""DeepSeek-V3 (DeepSeek-AI 2024, https://arxiv.org/abs/2412.19437) and GLM-4.5 (glm4_moe), which routes as it does:
experts chosen within groups by sigmoids and a stored bias, beside a shared one; the first layers have none. DeepSeek-V2
(https://arxiv.org/abs/2405.04434), whose small models (Lite) choose by a softmax.

DeepSeek's keys and values come from one narrow state. Its files turn neighbouring dimensions of each head's last part
against each other, and the network halves of the first part: rows change places. The layers after the last, which
predict further tokens (MTP), are left out, as transformers does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS
from lmworks.models.families.mixture import QWEN_EXPERTS, QWEN_LAYER
from lmworks.models.families.rotary import rope_to, yarn_amplitude
from lmworks.models.families.sources import Chosen, Ordered, Rows, Source
from lmworks.models.families.tables import Family

if TYPE_CHECKING:
    from torch import Tensor

MULTIPLIER = "mscale_all_dim"
ATTENTION = "model.layers.{i}.self_attn"
ROUTED: dict[str, Source] = QWEN_EXPERTS | {
    "blocks.{i}.feed_forward.router.choice_bias": f"{QWEN_LAYER}.gate.e_score_correction_bias",
    "blocks.{i}.feed_forward.shared.up.weight": Rows(
        (f"{QWEN_LAYER}.shared_experts.gate_proj.weight", f"{QWEN_LAYER}.shared_experts.up_proj.weight")
    ),
    "blocks.{i}.feed_forward.shared.down.weight": f"{QWEN_LAYER}.shared_experts.down_proj.weight",
}
SCORED: dict[str, dict[str, Any]] = {
    "sigmoids with a stored bias": {"scores": "sigmoid", "choice_bias": True},
    "a softmax over all experts, not normalised": {"scores": "softmax", "choice_bias": False, "normalised": False},
}
"""How experts are chosen, in words: the last by DeepSeek-V2 where it is greedy."""
SAYS = {  # ours             <- theirs
    "count": "n_routed_experts",
    "top_k": "num_experts_per_tok",
    "hidden_dim": "moe_intermediate_size",
    "normalised": "norm_topk_prob",
    "scale": "routed_scaling_factor",
}


def query_rows(config: ModelConfig) -> Tensor:
    """Of each head the rotated rows come first, those that are even before those that are odd."""
    import torch

    assert config.rotary_dim is not None
    places = torch.arange(config.heads * config.head_dim).view(config.heads, -1)
    plain, turned = places.split([config.head_dim - config.rotary_dim, config.rotary_dim], dim=1)
    return torch.cat([turned[:, 0::2], turned[:, 1::2], plain], dim=1).flatten()


def latent_rows(config: ModelConfig) -> Tensor:
    """The state, and the rotated rows in the same order."""
    import torch

    assert config.latent is not None and config.rotary_dim is not None
    turned = torch.arange(config.latent.rank, config.latent.rank + config.rotary_dim)
    return torch.cat([torch.arange(config.latent.rank), turned[0::2], turned[1::2]])


def _experts_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """The experts; no layer has any where `first_k_dense_replace` is as many as there are."""
    dense, greedy = theirs["first_k_dense_replace"], theirs.get("topk_method") == "greedy"
    groups = 1 if greedy else theirs["n_group"]
    if dense >= layers:
        return {}
    experts = {ours: theirs[key] for ours, key in SAYS.items()} | {
        **[*SCORED.values()][greedy],
        "shared_dim": theirs["n_shared_experts"] * theirs["moe_intermediate_size"],
        "layers": tuple(range(dense, layers)) if dense else None,
    }
    if groups > 1:
        experts |= {"groups": groups, "top_groups": theirs["topk_group"]}
    return {"experts": experts}


def _experts_to(config: ModelConfig) -> dict[str, Any]:
    """The way back; ModelError for what these files have no word for."""
    settings, name = config.experts, config.family
    if settings is None:
        raise ModelError(f"a {name} model has experts, and this one has none; choose another family to save it as")
    first = 0 if settings.layers is None else min(settings.layers)
    whole = settings.layers is None or settings.layers == tuple(range(first, config.layers))
    shared, rest = divmod(settings.shared_dim, config.expert_dim)
    how, scored = [*SCORED.items()][name == "deepseek_v2"]
    fixed = scored | {"router_bias": False, "shared_gate": False} | ({"groups": 1} if name == "deepseek_v2" else {})
    unsaid = {"bias_rate": 0.0, "capacity": None}
    different = [one for one, value in (fixed | unsaid).items() if getattr(settings, one) != value]
    if different or not whole or rest or not shared:
        what = f"experts.{different[0]} = {getattr(settings, different[0])!r}" if different else "these experts"
        raise ModelError(
            f"a {name} model cannot have {what}: its files know {how}, a shared expert as wide as several others, and "
            "dense layers at the beginning alone; choose the family lmworks to save it as"
        )
    values = {"hidden_dim": config.expert_dim}
    return {key: values.get(ours, getattr(settings, ours)) for ours, key in SAYS.items()} | {
        "n_shared_experts": shared,
        "first_k_dense_replace": first,
        "n_group": settings.groups,
        "topk_group": settings.top_groups or 1,
    }


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """With YaRN's `mscale_all_dim` the scores are multiplied too."""
    rotary, plain = theirs["qk_rope_head_dim"], theirs["qk_nope_head_dim"]
    rope = theirs["rope_parameters"]
    ours: dict[str, Any] = {
        "kv_heads": theirs["num_attention_heads"],
        "head_dim": rotary + plain,
        "rotary_dim": rotary,
        "latent": {
            "rank": theirs["kv_lora_rank"],
            "query_rank": theirs.get("q_lora_rank"),
            "value_dim": theirs["v_head_dim"],
        },
    }
    if rope.get("rope_type", rope.get("type", "default")) != "default" and rope.get(MULTIPLIER):
        amplitude = yarn_amplitude(rope["factor"], rope[MULTIPLIER])
        ours["attention_scale"] = (rotary + plain) ** -0.5 * amplitude * amplitude
    return ours | _experts_from(theirs, layers)


def _more_to(config: ModelConfig) -> dict[str, Any]:
    latent, rotary = config.latent, config.rotary_dim
    if latent is None or rotary is None:
        raise ModelError(
            f"a {config.family} model has latent attention, and this one has none; choose another family to save it as"
        )
    theirs: dict[str, Any] = {
        "num_key_value_heads": config.heads,
        "qk_rope_head_dim": rotary,
        "qk_nope_head_dim": config.head_dim - rotary,
        "kv_lora_rank": latent.rank,
        "q_lora_rank": latent.query_rank,
        "v_head_dim": latent.value_dim,
        "num_nextn_predict_layers": 0,
    }
    return theirs | _scale_to(config) | _experts_to(config)


def _scale_to(config: ModelConfig) -> dict[str, Any]:
    """A scale of the scores as the `mscale_all_dim` that it comes from."""
    multiplier = all_dims_multiplier(config)
    return {} if multiplier is None else {"rope_scaling": rope_to(config)["rope_scaling"] | {MULTIPLIER: multiplier}}


def all_dims_multiplier(config: ModelConfig) -> float | None:
    """What a scale of the scores comes from: the number in YaRN's factor that the logarithm is multiplied by
    (`mscale_all_dim`). None where scores have no scale of their own; ModelError where it comes from nothing like
    that."""
    if config.attention_scale is None:
        return None
    amplitude, scaling = (config.attention_scale * config.head_dim**0.5) ** 0.5, config.rope_scaling
    if scaling is None or scaling.kind != "yarn" or scaling.factor <= 1 or amplitude <= 1:
        raise ModelError(
            f"a {config.family} model cannot have attention_scale = {config.attention_scale!r} without YaRN that it "
            "comes from; choose another family to save it as"
        )
    return float(f"{(amplitude - 1) / (0.1 * math.log(scaling.factor)):.9g}")  # as it was said, and not rounded


def _glm_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    rope = theirs["rope_parameters"]
    share = rope.get("partial_rotary_factor", theirs.get("partial_rotary_factor", 0.5))
    turned = int(theirs["head_dim"] * share + 1e-6)
    return _experts_from(theirs, layers) | ({} if turned == theirs["head_dim"] else {"rotary_dim": turned})


def _glm_to(config: ModelConfig) -> dict[str, Any]:
    return _experts_to(config) | {
        "partial_rotary_factor": (config.rotary_dim or config.head_dim) / config.head_dim,
        "pad_token_id": None,
    }


DEFAULTS = {
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "norm_topk_prob": True,
    "attention_bias": False,
}
DEEPSEEK_V3 = Family(
    name="deepseek_v3",
    architecture="DeepseekV3ForCausalLM",
    examples=("deepseek-ai/DeepSeek-V3",),
    settings={ours: key for ours, key in SETTINGS.items() if ours not in ("kv_heads", "head_dim")}
    | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors={name: source for name, source in TENSORS.items() if ".attention." not in name}
    | ROUTED
    | {
        "blocks.{i}.attention.query_down.weight": f"{ATTENTION}.q_a_proj.weight",
        "blocks.{i}.attention.query_down.bias": f"{ATTENTION}.q_a_proj.bias",
        "blocks.{i}.attention.query_down_norm.weight": f"{ATTENTION}.q_a_layernorm.weight",
        "blocks.{i}.attention.query_up.weight": Chosen(
            lambda config: config.latent is not None and config.latent.query_rank,
            Ordered(f"{ATTENTION}.q_b_proj.weight", query_rows),
            Ordered(f"{ATTENTION}.q_proj.weight", query_rows),
        ),
        "blocks.{i}.attention.latent.weight": Ordered(f"{ATTENTION}.kv_a_proj_with_mqa.weight", latent_rows),
        "blocks.{i}.attention.latent.bias": Ordered(f"{ATTENTION}.kv_a_proj_with_mqa.bias", latent_rows),
        "blocks.{i}.attention.latent_norm.weight": f"{ATTENTION}.kv_a_layernorm.weight",
        "blocks.{i}.attention.expand.weight": f"{ATTENTION}.kv_b_proj.weight",
        "blocks.{i}.attention.output.weight": f"{ATTENTION}.o_proj.weight",
        "blocks.{i}.attention.output.bias": f"{ATTENTION}.o_proj.bias",
    },
    ignored=IGNORED,
    required={"rope_interleave": True, "topk_method": "noaux_tc", "scoring_func": "sigmoid"},
    defaults=DEFAULTS
    | {
        "vocab_size": 129280,
        "max_position_embeddings": 4096,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "n_shared_experts": 1,
        "n_routed_experts": 256,
        "routed_scaling_factor": 2.5,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "n_group": 8,
        "topk_group": 4,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("experts", "kv_heads", "head_dim", "rotary_dim", "latent", "attention_scale"),
    key_aliases={"num_local_experts": "n_routed_experts"},
    further_layers="model.layers.",
)
DEEPSEEK_V2 = replace(
    DEEPSEEK_V3,
    name="deepseek_v2",
    architecture="DeepseekV2ForCausalLM",
    examples=("deepseek-ai/DeepSeek-V2-Lite-Chat",),
    required={"topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": False, "mlp_bias": False},
    defaults=DEFAULTS
    | {
        "vocab_size": 102_400,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "intermediate_size": 11_008,
        "moe_intermediate_size": 1407,
        "n_shared_experts": 2,
        "n_routed_experts": 64,
        "routed_scaling_factor": 1.0,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "topk_method": "greedy",
        "norm_topk_prob": False,
        "first_k_dense_replace": 0,
    },
    usual={"num_hidden_layers": 27, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "q_lora_rank": None},
)
GLM4_MOE = Family(
    name="glm4_moe",
    architecture="Glm4MoeForCausalLM",
    examples=("zai-org/GLM-4.5-Air",),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "qk_norm": "use_qk_norm"},
    tensors=TENSORS | ROUTED,
    ignored=IGNORED,
    defaults=DEFAULTS
    | {
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "intermediate_size": 10_944,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "use_qk_norm": False,
        "head_dim": 128,
    },
    more_from=_glm_from,
    more_to=_glm_to,
    told=("experts", "rotary_dim"),
    key_aliases={"num_local_experts": "n_routed_experts"},
    further_layers="model.layers.",
    partly_rotary=True,
)

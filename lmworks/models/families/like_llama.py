"""Llamas under other names: Seed-OSS (ByteDance 2025), Hunyuan (Tencent 2025), ERNIE 4.5 (Baidu 2025), Helium (Kyutai
2025), Arcee's AFM (2025) and Apertus (Swiss AI 2025, https://arxiv.org/abs/2509.14233)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.cohere import turning_neighbours
from lmworks.models.families.layer_normed import PLAIN
from lmworks.models.families.llama import IGNORED, LLAMA, SETTINGS, TENSORS, WHOLE_HEAD
from lmworks.models.families.spellings import NO_IDS
from lmworks.models.families.tables import Family

DEFAULTS = {"rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "silu", "max_position_embeddings": 2048}


def _no_ids(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS


def _helium_to(config: ModelConfig) -> dict[str, Any]:
    if config.heads * config.head_dim != config.dim:
        raise ModelError(
            f"a helium model cannot have {config.heads} heads of {config.head_dim} at dim {config.dim}: its files know "
            "no other product; choose another family to save it as"
        )
    return NO_IDS


def _seed_oss_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | {"residual_dropout": config.dropout}


def _hunyuan_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Their dynamic scaling with an `alpha` is a larger base, whatever the length."""
    rope = theirs["rope_parameters"]
    kind, alpha = rope.get("rope_type", rope.get("type", "default")), rope.get("alpha")
    if kind != "dynamic" or not alpha:
        return {}
    dim = theirs["head_dim"]
    theta = rope.get("rope_theta", theirs.get("rope_theta", 10_000.0))
    return {"rope_scaling": None, "rope_theta": theta * alpha ** (dim / (dim - 2))}


def _apertus_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    if theirs["rope_parameters"]:
        return {}
    return {"rope_theta": 12_000_000.0, "rope_scaling": {"kind": "llama3", "factor": 8.0, "original_context": 8192}}


def _apertus_to(config: ModelConfig) -> dict[str, Any]:
    if config.rope_scaling is not None:
        return NO_IDS
    return NO_IDS | {"rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta}}


SEED_OSS = Family(
    name="seed_oss",
    architecture="SeedOssForCausalLM",
    examples=("ByteDance-Seed/Seed-OSS-36B-Instruct",),
    settings={**LLAMA.settings, "output_bias": "attention_out_bias"},
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults=DEFAULTS
    | {
        "rms_norm_eps": 1e-6,
        "attention_bias": True,
        "attention_dropout": 0.1,
        "head_dim": 128,
        "num_key_value_heads": 8,
        "max_position_embeddings": 524_288,
    },
    more_to=_seed_oss_to,
    told=(),
)
HUNYUAN = Family(
    name="hunyuan_v1_dense",
    architecture="HunYuanDenseV1ForCausalLM",
    examples=("tencent/Hunyuan-0.5B-Instruct",),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors=TENSORS
    | {
        "blocks.{i}.attention.query_norm.weight": "model.layers.{i}.self_attn.query_layernorm.weight",
        "blocks.{i}.attention.key_norm.weight": "model.layers.{i}.self_attn.key_layernorm.weight",
    },
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"qk_norm": True, "qk_norm_after": True},
    defaults=DEFAULTS,
    more_from=_hunyuan_from,
    more_to=_no_ids,
    told=(),
)
ERNIE4_5 = Family(
    name="ernie4_5",
    architecture="Ernie4_5ForCausalLM",
    examples=("baidu/ERNIE-4.5-0.3B-PT",),
    settings={ours: theirs for ours, theirs in SETTINGS.items() if ours != "dropout"}
    | dict.fromkeys(("qkv_bias", "output_bias", "feed_forward_bias"), "use_bias"),
    tensors=turning_neighbours(TENSORS),
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults=DEFAULTS
    | {
        "tie_word_embeddings": True,
        "head_dim": 128,
        "num_key_value_heads": 2,
        "rope_theta": 500_000.0,
        "max_position_embeddings": 131_072,
    },
    more_to=_no_ids,
    told=(),
)
HELIUM = Family(
    name="helium",
    architecture="HeliumForCausalLM",
    examples=("kyutai/helium-1-2b",),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "feed_forward_bias": "mlp_bias"},
    tensors=turning_neighbours(TENSORS),
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults=DEFAULTS
    | {
        "rms_norm_eps": 1e-8,
        "head_dim": 128,
        "num_key_value_heads": 20,
        "rope_theta": 100_000.0,
        "max_position_embeddings": 4096,
    },
    more_to=_helium_to,
    told=(),
)
ARCEE = Family(
    name="arcee",
    architecture="ArceeForCausalLM",
    examples=("arcee-ai/AFM-4.5B",),
    settings=LLAMA.settings,
    tensors=TENSORS | PLAIN,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"gated": False},
    defaults=DEFAULTS | {"hidden_act": "relu2", "max_position_embeddings": 4096},
    more_to=_no_ids,
    told=(),
)
APERTUS = Family(
    name="apertus",
    architecture="ApertusForCausalLM",
    examples=("swiss-ai/Apertus-8B-Instruct-2509",),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors=TENSORS
    | {
        "blocks.{i}.attention_norm.weight": "model.layers.{i}.attention_layernorm.weight",
        "blocks.{i}.feed_forward_norm.weight": "model.layers.{i}.feedforward_layernorm.weight",
        "blocks.{i}.feed_forward.up.weight": "model.layers.{i}.mlp.up_proj.weight",
        "blocks.{i}.feed_forward.activation.above": "model.layers.{i}.mlp.act_fn.alpha_p",
        "blocks.{i}.feed_forward.activation.below": "model.layers.{i}.mlp.act_fn.alpha_n",
    },
    ignored=IGNORED,
    constants={"model.layers.{i}.mlp.act_fn.beta": 0.5, "model.layers.{i}.mlp.act_fn.eps": -1e-6},
    required=WHOLE_HEAD,
    fixed={"gated": False, "qk_norm": True},
    defaults=DEFAULTS | {"hidden_act": "xielu", "max_position_embeddings": 65_536},
    activations={**LLAMA.activations, "xielu": "xielu"},
    more_from=_apertus_from,
    more_to=_apertus_to,
    told=(),
)

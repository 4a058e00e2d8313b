"""Llama and the architectures that differ from it in a few switches: Mistral, Qwen2, Qwen3, Gemma.

Llama 2 and 3, SmolLM2 and many others are `llama`. Names as in Hugging Face's model files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Rows, Source
from lmworks.models.families.tables import ACTIVATIONS, Family

SETTINGS = {  # ours             <- theirs
    "vocab_size": "vocab_size",
    "dim": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "hidden_dim": "intermediate_size",
    "context": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "activation": "hidden_act",
    "tied": "tie_word_embeddings",
    "dropout": "attention_dropout",
}
TENSORS: dict[str, Source] = {
    "embedding.weight": "model.embed_tokens.weight",
    "blocks.{i}.attention_norm.weight": "model.layers.{i}.input_layernorm.weight",
    "blocks.{i}.attention.qkv.weight": Rows(
        (
            "model.layers.{i}.self_attn.q_proj.weight",
            "model.layers.{i}.self_attn.k_proj.weight",
            "model.layers.{i}.self_attn.v_proj.weight",
        )
    ),
    "blocks.{i}.attention.qkv.bias": Rows(
        (
            "model.layers.{i}.self_attn.q_proj.bias",
            "model.layers.{i}.self_attn.k_proj.bias",
            "model.layers.{i}.self_attn.v_proj.bias",
        )
    ),
    "blocks.{i}.attention.query_norm.weight": "model.layers.{i}.self_attn.q_norm.weight",
    "blocks.{i}.attention.key_norm.weight": "model.layers.{i}.self_attn.k_norm.weight",
    "blocks.{i}.attention.output.weight": "model.layers.{i}.self_attn.o_proj.weight",
    "blocks.{i}.attention.output.bias": "model.layers.{i}.self_attn.o_proj.bias",
    "blocks.{i}.feed_forward_norm.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blocks.{i}.feed_forward.up.weight": Rows(
        ("model.layers.{i}.mlp.gate_proj.weight", "model.layers.{i}.mlp.up_proj.weight")
    ),
    "blocks.{i}.feed_forward.up.bias": Rows(
        ("model.layers.{i}.mlp.gate_proj.bias", "model.layers.{i}.mlp.up_proj.bias")
    ),
    "blocks.{i}.feed_forward.down.weight": "model.layers.{i}.mlp.down_proj.weight",
    "blocks.{i}.feed_forward.down.bias": "model.layers.{i}.mlp.down_proj.bias",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
IGNORED = ("rotary_emb.inv_freq",)
WHOLE_HEAD = {"partial_rotary_factor": 1.0}
GEMMA_ACTIVATIONS = {**ACTIVATIONS, "gelu": "gelu_tanh"}


def mistral_window_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """The window of every layer."""
    return {"window": theirs.get("sliding_window")}


def mistral_window_to(config: ModelConfig) -> dict[str, Any]:
    """The same back; ModelError where only some layers have one."""
    if config.window is not None and any(config.window_of(layer) is None for layer in range(config.layers)):
        raise ModelError(
            f"a {config.family} model cannot have a window on some layers only; choose another family to save it as"
        )
    return {"sliding_window": config.window}


def _qwen_window_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Layers from `max_window_layers` on use the window, unless `layer_types` names each layer's kind."""
    if not theirs.get("use_sliding_window", False) or theirs.get("sliding_window") is None:
        return {}
    kinds, first = theirs.get("layer_types"), theirs.get("max_window_layers", 28)
    if not isinstance(first, int) or (kinds and (not isinstance(kinds, list) or len(kinds) != layers)):
        raise ModelError(
            f"config.json: max_window_layers and layer_types do not name a kind for each of the {layers} layers"
        )
    chosen = tuple(
        layer for layer in range(layers) if (kinds[layer] == "sliding_attention" if kinds else layer >= first)
    )
    return {"window": theirs["sliding_window"], "window_layers": chosen} if chosen else {}


def _qwen_window_to(config: ModelConfig) -> dict[str, Any]:
    kinds = [
        "full_attention" if config.window_of(layer) is None else "sliding_attention" for layer in range(config.layers)
    ]
    return {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "layer_types": kinds,
        "max_window_layers": kinds.index("sliding_attention") if "sliding_attention" in kinds else config.layers,
    }


LLAMA = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    examples=(
        "HuggingFaceTB/SmolLM2-135M",
        "meta-llama/Llama-3.2-1B",
    ),
    settings=SETTINGS
    | {"qkv_bias": "attention_bias", "output_bias": "attention_bias", "feed_forward_bias": "mlp_bias"},
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults={
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
    },
)
MISTRAL = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    examples=(
        "mistralai/Mistral-7B-v0.3",
        "intfloat/e5-mistral-7b-instruct",
    ),
    settings=SETTINGS,
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "num_key_value_heads": 8,
    },
    more_from=mistral_window_from,
    more_to=mistral_window_to,
)
QWEN2 = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    examples=("Qwen/Qwen2.5-0.5B",),
    settings=SETTINGS,
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"qkv_bias": True},
    defaults={"rms_norm_eps": 1e-6, "tie_word_embeddings": False, "hidden_act": "silu", "num_key_value_heads": 32},
    more_from=_qwen_window_from,
    more_to=_qwen_window_to,
)
QWEN3 = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    examples=(
        "Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-Embedding-0.6B",
    ),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"qk_norm": True},
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "head_dim": 128,
        "num_key_value_heads": 32,
    },
    more_from=_qwen_window_from,
    more_to=_qwen_window_to,
)
GEMMA = Family(
    name="gemma",
    architecture="GemmaForCausalLM",
    examples=("google/gemma-2b",),
    settings=SETTINGS | {"qkv_bias": "attention_bias", "output_bias": "attention_bias"},
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD | {"use_bidirectional_attention": False},
    fixed={"norm_unit_offset": True, "scale_embedding": True},
    # Gemma's first files say "gelu", and the tanh form was meant: transformers reads it so too.
    activations=GEMMA_ACTIVATIONS,
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "hidden_act": "gelu_pytorch_tanh",
        "head_dim": 256,
        "num_key_value_heads": 16,
    },
)

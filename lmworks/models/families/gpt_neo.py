"""GPT-Neo (Black et al. 2021): GPT-2 whose attention sees a window in some layers and does not scale its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Rows
from lmworks.models.families.tables import Family

LAYER = "transformer.h.{i}"
ATTENTION = f"{LAYER}.attn.attention"


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """`attention_types` lists kinds of layers and how often they come again; transformers reads no other list."""
    kinds: list[str] = []
    for pattern, times in theirs["attention_types"]:
        if not 0 <= times * len(pattern) <= layers:
            break
        kinds += list(pattern) * times
    if len(kinds) != layers or set(kinds) - {"global", "local"}:
        raise ModelError(f"config.json: attention_types does not name global or local for each of the {layers} layers")
    local = tuple(layer for layer, kind in enumerate(kinds) if kind == "local")
    if not local:
        return {}
    return {"window": theirs["window_size"], "window_layers": local if len(local) < layers else None}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    kinds = ["global" if config.window_of(layer) is None else "local" for layer in range(config.layers)]
    return {
        "attention_types": [[kinds, 1]],
        "attention_layers": kinds,
        "window_size": config.window or 256,
        "attention_dropout": config.dropout,
        "embed_dropout": config.dropout,
    }


GPT_NEO = Family(
    name="gpt_neo",
    architecture="GPTNeoForCausalLM",
    examples=(
        "EleutherAI/gpt-neo-125m",
        "roneneldan/TinyStories-33M",
    ),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "layers": "num_layers",
        "heads": "num_heads",
        "hidden_dim": "intermediate_size",
        "context": "max_position_embeddings",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation_function",
        "tied": "tie_word_embeddings",
        "dropout": "resid_dropout",
    },
    tensors={
        "embedding.weight": "transformer.wte.weight",
        "position.weight": "transformer.wpe.weight",
        "blocks.{i}.attention_norm.weight": f"{LAYER}.ln_1.weight",
        "blocks.{i}.attention_norm.bias": f"{LAYER}.ln_1.bias",
        "blocks.{i}.attention.qkv.weight": Rows(
            (f"{ATTENTION}.q_proj.weight", f"{ATTENTION}.k_proj.weight", f"{ATTENTION}.v_proj.weight")
        ),
        "blocks.{i}.attention.output.weight": f"{ATTENTION}.out_proj.weight",
        "blocks.{i}.attention.output.bias": f"{ATTENTION}.out_proj.bias",
        "blocks.{i}.feed_forward_norm.weight": f"{LAYER}.ln_2.weight",
        "blocks.{i}.feed_forward_norm.bias": f"{LAYER}.ln_2.bias",
        "blocks.{i}.feed_forward.up.weight": f"{LAYER}.mlp.c_fc.weight",
        "blocks.{i}.feed_forward.up.bias": f"{LAYER}.mlp.c_fc.bias",
        "blocks.{i}.feed_forward.down.weight": f"{LAYER}.mlp.c_proj.weight",
        "blocks.{i}.feed_forward.down.bias": f"{LAYER}.mlp.c_proj.bias",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
        "head.weight": "lm_head.weight",
    },
    fixed={
        "positions": "learned",
        "norm": "layer",
        "gated": False,
        "attention_scale": 1.0,
        "output_bias": True,
        "feed_forward_bias": True,
    },
    defaults={
        "max_position_embeddings": 2048,
        "attention_types": [[["global", "local"], 12]],
        "window_size": 256,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "resid_dropout": 0.0,
    },
    more_from=_more_from,
    more_to=_more_to,
    key_aliases={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
    ignored=(".attn.attention.bias", ".attn.attention.masked_bias"),
    prefix="transformer.",
)

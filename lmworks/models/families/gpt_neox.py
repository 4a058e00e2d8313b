"""GPT-NeoX (Black et al. 2022) and Pythia: parallel parts, heads turned in part, joined query, key and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import ByHead
from lmworks.models.families.tables import Family


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """How many dimensions are turned, and the base."""
    rope = theirs["rope_parameters"]
    share = rope.get("partial_rotary_factor", theirs.get("rotary_pct", 0.25))
    ours: dict[str, Any] = {}
    if "rotary_emb_base" in theirs and "rope_theta" not in rope:
        ours["rope_theta"] = theirs["rotary_emb_base"]
    heads, dim = theirs.get("num_attention_heads"), theirs.get("hidden_size")
    if share != 1 and isinstance(heads, int) and isinstance(dim, int) and heads > 0:
        # Their cut, but for the rounding of a share that was divided out of a whole number.
        ours["rotary_dim"] = int(dim // heads * share + 1e-6)
    return ours


def _more_to(config: ModelConfig) -> dict[str, Any]:
    share = (config.rotary_dim or config.head_dim) / config.head_dim
    return {"rotary_pct": share, "rotary_emb_base": config.rope_theta, "attention_dropout": config.dropout}


GPT_NEOX = Family(
    name="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    examples=("EleutherAI/pythia-160m",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "hidden_dim": "intermediate_size",
        "context": "max_position_embeddings",
        "norm_eps": "layer_norm_eps",
        "activation": "hidden_act",
        "parallel": "use_parallel_residual",
        "tied": "tie_word_embeddings",
        "dropout": "hidden_dropout",
        "qkv_bias": "attention_bias",
        "output_bias": "attention_bias",
    },
    tensors={
        "embedding.weight": "gpt_neox.embed_in.weight",
        "blocks.{i}.attention_norm.weight": "gpt_neox.layers.{i}.input_layernorm.weight",
        "blocks.{i}.attention_norm.bias": "gpt_neox.layers.{i}.input_layernorm.bias",
        "blocks.{i}.attention.qkv.weight": ByHead("gpt_neox.layers.{i}.attention.query_key_value.weight"),
        "blocks.{i}.attention.qkv.bias": ByHead("gpt_neox.layers.{i}.attention.query_key_value.bias"),
        "blocks.{i}.attention.output.weight": "gpt_neox.layers.{i}.attention.dense.weight",
        "blocks.{i}.attention.output.bias": "gpt_neox.layers.{i}.attention.dense.bias",
        "blocks.{i}.feed_forward_norm.weight": "gpt_neox.layers.{i}.post_attention_layernorm.weight",
        "blocks.{i}.feed_forward_norm.bias": "gpt_neox.layers.{i}.post_attention_layernorm.bias",
        "blocks.{i}.feed_forward.up.weight": "gpt_neox.layers.{i}.mlp.dense_h_to_4h.weight",
        "blocks.{i}.feed_forward.up.bias": "gpt_neox.layers.{i}.mlp.dense_h_to_4h.bias",
        "blocks.{i}.feed_forward.down.weight": "gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight",
        "blocks.{i}.feed_forward.down.bias": "gpt_neox.layers.{i}.mlp.dense_4h_to_h.bias",
        "norm.weight": "gpt_neox.final_layer_norm.weight",
        "norm.bias": "gpt_neox.final_layer_norm.bias",
        "head.weight": "embed_out.weight",
    },
    fixed={"norm": "layer", "gated": False, "feed_forward_bias": True},
    defaults={
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "hidden_act": "gelu",
        "use_parallel_residual": True,
        "attention_bias": True,
        "hidden_dropout": 0.0,
        "intermediate_size": 24576,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("rotary_dim",),
    ignored=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
    aliases={"lm_head.weight": "embed_out.weight"},
    partly_rotary=True,
)

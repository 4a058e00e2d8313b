"""BLOOM (Scao et al. 2022): ALiBi, a norm over the embeddings, joined query, key and value."""

from __future__ import annotations

from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import ByHead
from lmworks.models.families.tables import Family

LAYER = "transformer.h.{i}"


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return {"attention_dropout": config.dropout}


BLOOM = Family(
    name="bloom",
    architecture="BloomForCausalLM",
    examples=("bigscience/bloom-560m",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "layers": "n_layer",
        "heads": "n_head",
        "context": "seq_length",
        "norm_eps": "layer_norm_epsilon",
        "tied": "tie_word_embeddings",
        "dropout": "hidden_dropout",
    },
    tensors={
        "embedding.weight": "transformer.word_embeddings.weight",
        "embedding_norm.weight": "transformer.word_embeddings_layernorm.weight",
        "embedding_norm.bias": "transformer.word_embeddings_layernorm.bias",
        "blocks.{i}.attention_norm.weight": f"{LAYER}.input_layernorm.weight",
        "blocks.{i}.attention_norm.bias": f"{LAYER}.input_layernorm.bias",
        "blocks.{i}.attention.qkv.weight": ByHead(f"{LAYER}.self_attention.query_key_value.weight"),
        "blocks.{i}.attention.qkv.bias": ByHead(f"{LAYER}.self_attention.query_key_value.bias"),
        "blocks.{i}.attention.output.weight": f"{LAYER}.self_attention.dense.weight",
        "blocks.{i}.attention.output.bias": f"{LAYER}.self_attention.dense.bias",
        "blocks.{i}.feed_forward_norm.weight": f"{LAYER}.post_attention_layernorm.weight",
        "blocks.{i}.feed_forward_norm.bias": f"{LAYER}.post_attention_layernorm.bias",
        "blocks.{i}.feed_forward.up.weight": f"{LAYER}.mlp.dense_h_to_4h.weight",
        "blocks.{i}.feed_forward.up.bias": f"{LAYER}.mlp.dense_h_to_4h.bias",
        "blocks.{i}.feed_forward.down.weight": f"{LAYER}.mlp.dense_4h_to_h.weight",
        "blocks.{i}.feed_forward.down.bias": f"{LAYER}.mlp.dense_4h_to_h.bias",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
        "head.weight": "lm_head.weight",
    },
    fixed={
        "positions": "alibi",
        "norm": "layer",
        "embedding_norm": "layer",
        "activation": "gelu_tanh",
        "gated": False,
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
    },
    defaults={
        "seq_length": 2048,  # what BLOOM was trained with; ALiBi itself has no end, and transformers asks for none
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "hidden_dropout": 0.0,
    },
    required={"apply_residual_connection_post_layernorm": False},
    more_to=_more_to,
    told=(),
    key_aliases={"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    prefix="transformer.",
)

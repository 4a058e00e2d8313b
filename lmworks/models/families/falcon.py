"""Falcon (Almazrouei et al. 2023, https://arxiv.org/abs/2311.16867): parallel parts, one key and value for all heads or
for groups of them. Falcon-RW has ALiBi, parts in turn, and a key for each head.

Of ALiBi transformers rounds the products of slopes and positions to bfloat16, and here nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import ByHead, Chosen, Source
from lmworks.models.families.tables import Family

LAYER = "transformer.h.{i}"
PLAIN = {"rope_theta": 10_000.0, "rope_scaling": None}


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """`new_decoder_architecture` is always parallel, with two norms unless it says one, and reads `num_kv_heads`."""
    heads = theirs["num_attention_heads"]
    if theirs["new_decoder_architecture"]:
        if not theirs["parallel_attn"]:
            raise ModelError("config.json: new_decoder_architecture with parallel_attn = false is not supported")
        norms, keys = theirs.get("num_ln_in_parallel_attn", 2), theirs.get("num_kv_heads", heads)
        ours: dict[str, Any] = {"parallel": True, "shared_norm": norms == 1, "kv_heads": keys}
    else:
        parallel = theirs["parallel_attn"]
        ours = {"parallel": parallel, "shared_norm": parallel, "kv_heads": 1 if theirs["multi_query"] else heads}
    if theirs["alibi"]:
        ours |= PLAIN | {"positions": "alibi", "position_settings": {"scale": (theirs["hidden_size"] // heads) ** -0.5}}
    return ours


def _more_to(config: ModelConfig) -> dict[str, Any]:
    from lmworks.models.positions.alibi import ALiBiSettings  # loads torch

    usual = config.kv_heads in (1, config.heads)
    new = config.parallel and not (config.shared_norm and usual)
    if not usual and not new:
        raise ModelError(
            f"a falcon model whose parts run in turn has 1 key for all heads or one for each, and kv_heads is "
            f"{config.kv_heads}; choose another family to save it as"
        )
    alibi = config.positions == "alibi"
    if alibi and config.position_settings != ALiBiSettings(scale=config.head_dim**-0.5):
        raise ModelError(
            "a falcon model has ALiBi with scale = 1 / root of head_dim and nothing else; choose another family to "
            "save it as"
        )
    if config.positions not in ("rope", "alibi"):
        raise ModelError(
            f"a falcon model cannot have positions = {config.positions!r}; choose another family to save it as"
        )
    return {
        "new_decoder_architecture": new,
        "parallel_attn": config.parallel,
        "num_ln_in_parallel_attn": (1 if config.shared_norm else 2) if new else None,
        "num_kv_heads": config.kv_heads,
        "multi_query": config.kv_heads == 1,
        "alibi": alibi,
        "attention_dropout": config.dropout,
    }


def _norm(kind: str) -> dict[str, Source]:
    """Two norms of a parallel block have names of their own."""
    return {
        f"blocks.{{i}}.attention_norm.{kind}": Chosen(
            lambda config: config.parallel and not config.shared_norm,
            f"{LAYER}.ln_attn.{kind}",
            f"{LAYER}.input_layernorm.{kind}",
        ),
        f"blocks.{{i}}.feed_forward_norm.{kind}": Chosen(
            lambda config: config.parallel, f"{LAYER}.ln_mlp.{kind}", f"{LAYER}.post_attention_layernorm.{kind}"
        ),
    }


def _products(kind: str) -> dict[str, Source]:
    return {
        f"blocks.{{i}}.attention.qkv.{kind}": ByHead(f"{LAYER}.self_attention.query_key_value.{kind}"),
        f"blocks.{{i}}.attention.output.{kind}": f"{LAYER}.self_attention.dense.{kind}",
        f"blocks.{{i}}.feed_forward.up.{kind}": f"{LAYER}.mlp.dense_h_to_4h.{kind}",
        f"blocks.{{i}}.feed_forward.down.{kind}": f"{LAYER}.mlp.dense_4h_to_h.{kind}",
    }


FALCON = Family(
    name="falcon",
    architecture="FalconForCausalLM",
    examples=("tiiuae/falcon-7b",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "hidden_dim": "ffn_hidden_size",
        "context": "max_position_embeddings",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation",
        "qkv_bias": "bias",
        "output_bias": "bias",
        "feed_forward_bias": "bias",
        "tied": "tie_word_embeddings",
        "dropout": "hidden_dropout",
    },
    tensors={
        "embedding.weight": "transformer.word_embeddings.weight",
        **_norm("weight"),
        **_norm("bias"),
        **_products("weight"),
        **_products("bias"),
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
        "head.weight": "lm_head.weight",
    },
    fixed={"norm": "layer", "gated": False},
    defaults={
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-5,
        "activation": "gelu",
        "bias": False,
        "alibi": False,
        "multi_query": True,
        "parallel_attn": True,
        "new_decoder_architecture": False,
        "tie_word_embeddings": True,
        "hidden_dropout": 0.0,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("parallel", "shared_norm", "kv_heads", "positions", "position_settings"),
    key_aliases={"n_embed": "hidden_size"},
    prefix="transformer.",
)

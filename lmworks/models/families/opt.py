"""OPT (Zhang et al. 2022): learned positions from row 2 on, biases everywhere, ReLU.

OPT-350M norms after each part; that its embeddings are narrower than the stream is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Rows
from lmworks.models.families.tables import Family

LAYER = "model.decoder.layers.{i}"


def _qkv(kind: str) -> Rows:
    return Rows(tuple(f"{LAYER}.self_attn.{part}_proj.{kind}" for part in "qkv"))


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    narrow, dim = theirs.get("word_embed_proj_dim", theirs["hidden_size"]), theirs["hidden_size"]
    if narrow != dim:
        raise ModelError(
            f"config.json: word_embed_proj_dim = {narrow} is not hidden_size ({dim}): embeddings that are projected "
            "(OPT-350M) are not supported; take another size of OPT"
        )
    return {"norm_place": "before" if theirs["do_layer_norm_before"] else "after"}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return {
        "do_layer_norm_before": config.norm_place == "before",
        "word_embed_proj_dim": config.dim,
        "attention_dropout": config.dropout,
    }


OPT = Family(
    name="opt",
    architecture="OPTForCausalLM",
    examples=("facebook/opt-125m",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "hidden_dim": "ffn_dim",
        "context": "max_position_embeddings",
        "activation": "activation_function",
        "qkv_bias": "enable_bias",
        "output_bias": "enable_bias",
        "feed_forward_bias": "enable_bias",
        "tied": "tie_word_embeddings",
        "dropout": "dropout",
    },
    tensors={
        "embedding.weight": "model.decoder.embed_tokens.weight",
        "position.weight": "model.decoder.embed_positions.weight",
        "blocks.{i}.attention_norm.weight": f"{LAYER}.self_attn_layer_norm.weight",
        "blocks.{i}.attention_norm.bias": f"{LAYER}.self_attn_layer_norm.bias",
        "blocks.{i}.attention.qkv.weight": _qkv("weight"),
        "blocks.{i}.attention.qkv.bias": _qkv("bias"),
        "blocks.{i}.attention.output.weight": f"{LAYER}.self_attn.out_proj.weight",
        "blocks.{i}.attention.output.bias": f"{LAYER}.self_attn.out_proj.bias",
        "blocks.{i}.feed_forward_norm.weight": f"{LAYER}.final_layer_norm.weight",
        "blocks.{i}.feed_forward_norm.bias": f"{LAYER}.final_layer_norm.bias",
        "blocks.{i}.feed_forward.up.weight": f"{LAYER}.fc1.weight",
        "blocks.{i}.feed_forward.up.bias": f"{LAYER}.fc1.bias",
        "blocks.{i}.feed_forward.down.weight": f"{LAYER}.fc2.weight",
        "blocks.{i}.feed_forward.down.bias": f"{LAYER}.fc2.bias",
        "norm.weight": "model.decoder.final_layer_norm.weight",
        "norm.bias": "model.decoder.final_layer_norm.bias",
        "head.weight": "lm_head.weight",
    },
    fixed={"positions": "learned", "position_offset": 2, "norm": "layer", "gated": False},
    defaults={
        "max_position_embeddings": 2048,
        "ffn_dim": 3072,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "enable_bias": True,
        "tie_word_embeddings": True,
        "dropout": 0.1,
    },
    # Of files from before transformers 4.20; layers that are dropped in training.
    required={"layer_norm_elementwise_affine": True, "_remove_final_layer_norm": False, "layerdrop": 0.0},
    more_from=_more_from,
    more_to=_more_to,
    told=("norm_place",),
    prefix="model.",
)

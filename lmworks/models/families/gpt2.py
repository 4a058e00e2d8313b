"""GPT-2 (Radford et al. 2019): learned positions, layer norm, plain GELU feed-forward, matrices stored turned."""

from __future__ import annotations

from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Transposed
from lmworks.models.families.tables import Family


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return {"attn_pdrop": config.dropout, "embd_pdrop": config.dropout}


GPT2 = Family(
    name="gpt2",
    architecture="GPT2LMHeadModel",
    examples=("openai-community/gpt2",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "n_embd",
        "layers": "n_layer",
        "heads": "n_head",
        "hidden_dim": "n_inner",
        "context": "n_positions",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation_function",
        "tied": "tie_word_embeddings",
        "dropout": "resid_pdrop",
    },
    tensors={
        "embedding.weight": "transformer.wte.weight",
        "position.weight": "transformer.wpe.weight",
        "blocks.{i}.attention_norm.weight": "transformer.h.{i}.ln_1.weight",
        "blocks.{i}.attention_norm.bias": "transformer.h.{i}.ln_1.bias",
        "blocks.{i}.attention.qkv.weight": Transposed("transformer.h.{i}.attn.c_attn.weight"),
        "blocks.{i}.attention.qkv.bias": "transformer.h.{i}.attn.c_attn.bias",
        "blocks.{i}.attention.output.weight": Transposed("transformer.h.{i}.attn.c_proj.weight"),
        "blocks.{i}.attention.output.bias": "transformer.h.{i}.attn.c_proj.bias",
        "blocks.{i}.feed_forward_norm.weight": "transformer.h.{i}.ln_2.weight",
        "blocks.{i}.feed_forward_norm.bias": "transformer.h.{i}.ln_2.bias",
        "blocks.{i}.feed_forward.up.weight": Transposed("transformer.h.{i}.mlp.c_fc.weight"),
        "blocks.{i}.feed_forward.up.bias": "transformer.h.{i}.mlp.c_fc.bias",
        "blocks.{i}.feed_forward.down.weight": Transposed("transformer.h.{i}.mlp.c_proj.weight"),
        "blocks.{i}.feed_forward.down.bias": "transformer.h.{i}.mlp.c_proj.bias",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
        "head.weight": "lm_head.weight",
    },
    fixed={
        "positions": "learned",
        "norm": "layer",
        "gated": False,
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
    },
    defaults={
        "n_positions": 1024,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "resid_pdrop": 0.1,
    },
    required={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    more_to=_more_to,
    told=(),
    ignored=(".attn.bias", ".attn.masked_bias"),
    prefix="transformer.",
)

"""BART (Lewis et al. 2020), mBART (Liu et al. 2020), Marian (Junczys-Dowmunt et al. 2018), Pegasus (Zhang et al. 2020),
M2M100 (Fan et al. 2021) and NLLB, which has its shape: encoder-decoders.

BART and mBART have learned positions from row 2 on and a norm over the embeddings; the others have sines and neither.
Blocks of mBART, Pegasus and M2M100 are pre-norm, with a norm after the last of either stack; the others' are post-norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Rows, SingleRow, Source
from lmworks.models.families.tables import Family

SAME = ("attention_heads", "ffn_dim")
"""What encoder and decoder may have apart in a file and have alike here."""


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    for name in SAME:
        ours, other = theirs.get(f"decoder_{name}"), theirs.get(f"encoder_{name}")
        if ours is not None and other is not None and ours != other:
            raise ModelError(f"config.json: encoder_{name} ({other}) and decoder_{name} ({ours}) differ; not supported")
    return {"encoder_layers": theirs.get("encoder_layers")}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    if config.kv_heads != config.heads:
        raise ModelError("this architecture cannot have kv_heads other than heads; choose another family to save it as")
    return {
        "encoder_layers": config.encoder_layers or config.layers,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.hidden_dim,
        "attention_dropout": config.dropout,
        "is_encoder_decoder": True,
    }


def _stack(theirs: str, ours: str) -> dict[str, Source]:
    layer = f"{theirs}.layers.{{i}}"
    names: dict[str, Source] = {
        f"{ours}position.weight": f"{theirs}.embed_positions.weight",
        f"{ours}embedding_norm.weight": f"{theirs}.layernorm_embedding.weight",
        f"{ours}embedding_norm.bias": f"{theirs}.layernorm_embedding.bias",
    }
    for kind in ("weight", "bias"):
        names |= {
            f"{ours}blocks.{{i}}.attention.qkv.{kind}": Rows(
                tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv")
            ),
            f"{ours}blocks.{{i}}.attention.output.{kind}": f"{layer}.self_attn.out_proj.{kind}",
            f"{ours}blocks.{{i}}.attention_norm.{kind}": f"{layer}.self_attn_layer_norm.{kind}",
            f"{ours}blocks.{{i}}.feed_forward.up.{kind}": f"{layer}.fc1.{kind}",
            f"{ours}blocks.{{i}}.feed_forward.down.{kind}": f"{layer}.fc2.{kind}",
            f"{ours}blocks.{{i}}.feed_forward_norm.{kind}": f"{layer}.final_layer_norm.{kind}",
        }
    return names


def _cross() -> dict[str, Source]:
    layer, ours = "model.decoder.layers.{i}", "blocks.{i}.cross"
    names: dict[str, Source] = {}
    for kind in ("weight", "bias"):
        names |= {
            f"{ours}_attention.query.{kind}": f"{layer}.encoder_attn.q_proj.{kind}",
            f"{ours}_attention.kv.{kind}": Rows(tuple(f"{layer}.encoder_attn.{part}_proj.{kind}" for part in "kv")),
            f"{ours}_attention.output.{kind}": f"{layer}.encoder_attn.out_proj.{kind}",
            f"{ours}_norm.{kind}": f"{layer}.encoder_attn_layer_norm.{kind}",
        }
    return names


SETTINGS = {  # ours             <- theirs
    "vocab_size": "vocab_size",
    "dim": "d_model",
    "layers": "decoder_layers",
    "heads": "decoder_attention_heads",
    "hidden_dim": "decoder_ffn_dim",
    "context": "max_position_embeddings",
    "activation": "activation_function",
    "scale_embedding": "scale_embedding",
    "tied": "tie_word_embeddings",
    "dropout": "dropout",
}
FIXED = {
    "arrangement": "encoder-decoder",
    "norm": "layer",
    "norm_place": "after",
    "gated": False,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "head_bias": True,
}
TENSORS: dict[str, Source] = {
    "embedding.weight": "model.shared.weight",
    **_stack("model.decoder", ""),
    **_cross(),
    **_stack("model.encoder", "encoder."),
    "head_bias": SingleRow("final_logits_bias"),
    "head.weight": "lm_head.weight",
}
DEFAULTS = {
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "scale_embedding": False,
    "tie_word_embeddings": True,
    "dropout": 0.1,
}
COPIES = {f"model.{stack}.embed_tokens.weight": "model.shared.weight" for stack in ("encoder", "decoder")}
SINES = ("embed_positions.weight", "embed_positions.weights")
BART = Family(
    name="bart",
    architecture="BartForConditionalGeneration",
    examples=("facebook/bart-large-cnn",),
    settings=SETTINGS,
    tensors=TENSORS,
    fixed=FIXED | {"positions": "learned", "position_offset": 2, "embedding_norm": "layer"},
    defaults=DEFAULTS | {"vocab_size": 50265},
    required={"normalize_before": False, "add_final_layer_norm": False, "normalize_embedding": True},
    more_from=_more_from,
    more_to=_more_to,
    told=("encoder_layers",),
    copies=COPIES,
    prefix="model.",
)
PRE_NORM: dict[str, Source] = TENSORS | {
    f"{ours}norm.{kind}": f"model.{theirs}.layer_norm.{kind}"
    for ours, theirs in (("", "decoder"), ("encoder.", "encoder"))
    for kind in ("weight", "bias")
}
MBART = Family(
    name="mbart",
    architecture="MBartForConditionalGeneration",
    examples=("facebook/mbart-large-50",),
    settings=SETTINGS,
    tensors=PRE_NORM,
    fixed={**BART.fixed, "norm_place": "before"},
    defaults=BART.defaults,
    required={"normalize_before": True, "add_final_layer_norm": True, "normalize_embedding": True},
    more_from=_more_from,
    more_to=_more_to,
    told=("encoder_layers",),
    copies=COPIES,
    prefix="model.",
)


def _marian_to(config: ModelConfig) -> dict[str, Any]:
    return _more_to(config) | {"pad_token_id": None}  # else 58100, which a smaller vocabulary does not have


MARIAN = Family(
    name="marian",
    architecture="MarianMTModel",
    examples=("Helsinki-NLP/opus-mt-en-de",),
    settings=SETTINGS,
    tensors=TENSORS,
    fixed=FIXED | {"positions": "sinusoidal"},
    defaults=DEFAULTS | {"vocab_size": 58101},
    required={"share_encoder_decoder_embeddings": True, "normalize_before": False},
    more_from=_more_from,
    more_to=_marian_to,
    told=("encoder_layers",),
    ignored=SINES,
    copies=COPIES,
    prefix="model.",
)
PEGASUS = Family(
    name="pegasus",
    architecture="PegasusForConditionalGeneration",
    examples=("google/pegasus-xsum",),
    settings=SETTINGS,
    tensors=PRE_NORM,
    fixed=FIXED | {"positions": "sinusoidal", "norm_place": "before"},
    defaults=DEFAULTS | {"vocab_size": 50265},
    required={
        "normalize_before": True,
        "add_final_layer_norm": True,
        "normalize_embedding": False,
        "static_position_embeddings": True,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("encoder_layers",),
    ignored=SINES,
    copies=COPIES,
    prefix="model.",
)


def _m2m_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Positions are counted from the one after the padding's id."""
    return _more_from(theirs, layers) | {"position_offset": theirs["pad_token_id"] + 1}


def _m2m_to(config: ModelConfig) -> dict[str, Any]:
    if not config.position_offset:
        raise ModelError("an m2m_100 model cannot have position_offset = 0; choose another family to save it as")
    no_layers_dropped = dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), 0.0)  # else transformers drops some
    return _more_to(config) | no_layers_dropped | {"pad_token_id": config.position_offset - 1}


M2M100 = Family(
    name="m2m_100",
    architecture="M2M100ForConditionalGeneration",
    examples=(
        "facebook/m2m100_418M",
        "facebook/nllb-200-distilled-600M",
    ),
    settings=SETTINGS,
    tensors=PRE_NORM,
    fixed=FIXED | {"positions": "sinusoidal", "waves_include_end": True, "norm_place": "before", "head_bias": False},
    defaults=DEFAULTS
    | {"vocab_size": 128112, "activation_function": "relu", "scale_embedding": True, "pad_token_id": 1},
    more_from=_m2m_from,
    more_to=_m2m_to,
    told=("encoder_layers", "position_offset"),
    ignored=SINES,
    copies=COPIES,
    prefix="model.",
)

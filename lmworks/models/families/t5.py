"""T5 (Raffel et al. 2020), its version 1.1, FLAN-T5 included, and mT5 (Xue et al. 2021): encoder-decoders with relative
positions and no biases.

The first version scales the states before a tied head and has a plain feed-forward; 1.1 and mT5 are untied and gated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Chosen, Rows, Source
from lmworks.models.families.tables import ACTIVATIONS, THEIR_ACTIVATIONS, Family


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """`feed_forward_proj` says the activation and whether it is gated; tied states are scaled."""
    gate, _, activation = str(theirs.get("feed_forward_proj", "relu")).rpartition("-")
    if activation not in ACTIVATIONS or gate not in ("", "gated"):
        raise ModelError(f"config.json: feed_forward_proj {theirs.get('feed_forward_proj')!r} is not known")
    known = "gelu_tanh" if (gate, activation) == ("gated", "gelu") else ACTIVATIONS[activation]
    tied = theirs.get("tie_word_embeddings", True) is not False
    scaled = theirs.get("scale_decoder_outputs", tied)  # a key of later files; first it went without saying
    scale = float(theirs["d_model"]) ** -0.5 if scaled else None
    ours = {"activation": known, "gated": gate == "gated", "tied": tied, "head_scale": scale}
    return ours | {"encoder_layers": theirs.get("num_layers"), "layers": theirs.get("num_decoder_layers") or layers}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    scaled = config.head_scale is not None
    if scaled and (config.head_scale != config.dim**-0.5 or not config.tied):
        raise ModelError(
            "a t5 model has head_scale = 1 / root of dim, and only if it is tied; choose another family to save it as"
        )
    if config.activation not in THEIR_ACTIVATIONS:
        raise ModelError(
            f"a t5 model cannot have the activation {config.activation!r}; choose another family to save it as"
        )
    if config.gated and config.activation == "gelu":
        raise ModelError("a gated t5 model means gelu_tanh by its gelu; choose another family to save it as")
    written = "gelu" if config.gated and config.activation == "gelu_tanh" else THEIR_ACTIVATIONS[config.activation]
    return {
        "feed_forward_proj": f"gated-{written}" if config.gated else written,
        "tie_word_embeddings": config.tied,
        "scale_decoder_outputs": scaled,
        "num_layers": config.encoder_layers or config.layers,
        "num_decoder_layers": config.layers,
        "is_encoder_decoder": True,
    }


def _mt5_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """mT5 never scales."""
    return _more_from({**theirs, "scale_decoder_outputs": False}, layers)


def _mt5_to(config: ModelConfig) -> dict[str, Any]:
    if config.head_scale is not None:
        raise ModelError("an mt5 model cannot have head_scale; choose another family to save it as")
    return {name: value for name, value in _more_to(config).items() if name != "scale_decoder_outputs"}


def _stack(theirs: str, ours: str, feed_forward: int) -> dict[str, Source]:
    """Names of one stack; its feed-forward is the layer of this number."""
    block = f"{theirs}.block.{{i}}.layer"
    attention, inner = f"{block}.0.SelfAttention", f"{block}.{feed_forward}"
    return {
        f"{ours}relative.weight": f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        f"{ours}blocks.{{i}}.attention_norm.weight": f"{block}.0.layer_norm.weight",
        f"{ours}blocks.{{i}}.attention.qkv.weight": Rows(tuple(f"{attention}.{part}.weight" for part in "qkv")),
        f"{ours}blocks.{{i}}.attention.output.weight": f"{attention}.o.weight",
        f"{ours}blocks.{{i}}.feed_forward_norm.weight": f"{inner}.layer_norm.weight",
        f"{ours}blocks.{{i}}.feed_forward.up.weight": Chosen(
            lambda config: config.gated,
            Rows((f"{inner}.DenseReluDense.wi_0.weight", f"{inner}.DenseReluDense.wi_1.weight")),
            f"{inner}.DenseReluDense.wi.weight",
        ),
        f"{ours}blocks.{{i}}.feed_forward.down.weight": f"{inner}.DenseReluDense.wo.weight",
        f"{ours}norm.weight": f"{theirs}.final_layer_norm.weight",
    }


CROSS = "decoder.block.{i}.layer.1"
TENSORS: dict[str, Source] = {
    "embedding.weight": "shared.weight",
    **_stack("decoder", "", feed_forward=2),
    "blocks.{i}.cross_norm.weight": f"{CROSS}.layer_norm.weight",
    "blocks.{i}.cross_attention.query.weight": f"{CROSS}.EncDecAttention.q.weight",
    "blocks.{i}.cross_attention.kv.weight": Rows(tuple(f"{CROSS}.EncDecAttention.{part}.weight" for part in "kv")),
    "blocks.{i}.cross_attention.output.weight": f"{CROSS}.EncDecAttention.o.weight",
    **_stack("encoder", "encoder.", feed_forward=1),
    "head.weight": "lm_head.weight",
}
T5 = Family(
    name="t5",
    architecture="T5ForConditionalGeneration",
    examples=(
        "google-t5/t5-small",
        "google/flan-t5-base",
    ),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "d_model",
        "layers": "num_layers",
        "heads": "num_heads",
        "head_dim": "d_kv",
        "hidden_dim": "d_ff",
        "norm_eps": "layer_norm_epsilon",
        "relative_buckets": "relative_attention_num_buckets",
        "relative_distance": "relative_attention_max_distance",
        "activation": "dense_act_fn",
        "context": "n_positions",
        "dropout": "dropout_rate",
    },
    tensors=TENSORS,
    fixed={"arrangement": "encoder-decoder", "positions": "relative", "attention_scale": 1.0},
    defaults={
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu",
        "n_positions": 512,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("activation", "gated", "tied", "head_scale", "encoder_layers"),
    ignored=(
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    ),
)
MT5 = replace(
    T5,
    name="mt5",
    architecture="MT5ForConditionalGeneration",
    examples=("google/mt5-small",),
    defaults={
        **T5.defaults,
        "vocab_size": 250112,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
        "feed_forward_proj": "gated-gelu",
    },
    more_from=_mt5_from,
    more_to=_mt5_to,
)

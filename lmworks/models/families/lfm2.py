"""LFM2 (Liquid AI 2025, https://arxiv.org/abs/2511.23404): short convolutions, and attention in a few layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, SETTINGS, WHOLE_HEAD
from lmworks.models.families.sources import Rows, Source
from lmworks.models.families.tables import Family

LAYER = "model.layers.{i}"
CONVOLUTION, ATTENTION = "conv", "full_attention"


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """The feed-forward is narrower than `intermediate_size` says, unless `block_auto_adjust_ff_dim` is false."""
    kinds = theirs.get("layer_types")
    if kinds is None:
        attends = theirs.get("full_attn_idxs", range(layers))
        kinds = [ATTENTION if layer in attends else CONVOLUTION for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or any(one not in (CONVOLUTION, ATTENTION) for one in kinds):
        raise ModelError(
            f"config.json: layer_types does not say {CONVOLUTION} or {ATTENTION} for each of the {layers} layers"
        )
    inner = theirs["intermediate_size"]
    if theirs["block_auto_adjust_ff_dim"]:
        inner, step = int(theirs["block_ffn_dim_multiplier"] * int(2 * inner / 3)), theirs["block_multiple_of"]
        inner = -(-inner // step) * step
    ours: dict[str, Any] = {"hidden_dim": inner}
    if chosen := tuple(layer for layer, kind in enumerate(kinds) if kind == CONVOLUTION):
        ours["convolution"] = {"layers": chosen, "width": theirs["conv_L_cache"], "bias": theirs["conv_bias"]}
    return ours


def _more_to(config: ModelConfig) -> dict[str, Any]:
    settings = config.convolution
    return {
        "intermediate_size": config.hidden_dim,
        "block_auto_adjust_ff_dim": False,
        "layer_types": [CONVOLUTION if config.convolves(layer) else ATTENTION for layer in range(config.layers)],
        "conv_L_cache": 3 if settings is None else settings.width,
        "conv_bias": settings is not None and settings.bias,
        # transformers takes LFM2's own ids where a file leaves them out.
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }


def _rows(part: str, names: tuple[str, ...]) -> Rows:
    return Rows(tuple(f"{LAYER}.{part}.{name}.weight" for name in names))


TENSORS: dict[str, Source] = {
    "embedding.weight": "model.embed_tokens.weight",
    "blocks.{i}.attention_norm.weight": f"{LAYER}.operator_norm.weight",
    "blocks.{i}.attention.qkv.weight": _rows("self_attn", ("q_proj", "k_proj", "v_proj")),
    "blocks.{i}.attention.query_norm.weight": f"{LAYER}.self_attn.q_layernorm.weight",
    "blocks.{i}.attention.key_norm.weight": f"{LAYER}.self_attn.k_layernorm.weight",
    "blocks.{i}.attention.output.weight": f"{LAYER}.self_attn.out_proj.weight",
    "blocks.{i}.attention.inward.weight": f"{LAYER}.conv.in_proj.weight",
    "blocks.{i}.attention.inward.bias": f"{LAYER}.conv.in_proj.bias",
    "blocks.{i}.attention.kernel": f"{LAYER}.conv.conv.weight",
    "blocks.{i}.attention.kernel_bias": f"{LAYER}.conv.conv.bias",
    "blocks.{i}.attention.outward.weight": f"{LAYER}.conv.out_proj.weight",
    "blocks.{i}.attention.outward.bias": f"{LAYER}.conv.out_proj.bias",
    "blocks.{i}.feed_forward_norm.weight": f"{LAYER}.ffn_norm.weight",
    "blocks.{i}.feed_forward.up.weight": _rows("feed_forward", ("w1", "w3")),
    "blocks.{i}.feed_forward.down.weight": f"{LAYER}.feed_forward.w2.weight",
    "norm.weight": "model.embedding_norm.weight",
    "head.weight": "lm_head.weight",
}
LFM2 = Family(
    name="lfm2",
    architecture="Lfm2ForCausalLM",
    examples=("LiquidAI/LFM2-350M",),
    usual={"full_attn_idxs": [2, 5, 8, 10, 12, 14]},
    settings={
        ours: key
        for ours, key in (SETTINGS | {"norm_eps": "norm_eps"}).items()
        if ours not in ("head_dim", "hidden_dim", "activation", "dropout")
    },
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"qk_norm": True},
    defaults={
        "norm_eps": 1e-5,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "num_key_value_heads": 8,
        "max_position_embeddings": 128_000,
        "intermediate_size": 12288,
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "conv_L_cache": 3,
        "conv_bias": False,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("hidden_dim", "convolution"),
    key_aliases={"tie_embedding": "tie_word_embeddings", "block_ff_dim": "intermediate_size"},
)

"""MPT (MosaicML 2023): ALiBi, layer norms without bias, joined query, key and value; no bias anywhere.

`alibi_bias_max` is read, as MosaicML's own code does; transformers takes 8 whatever is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.tables import Family

LAYER = "transformer.blocks.{i}"
ATTENTION = {
    "attn_type": "multihead_attention",
    "clip_qkv": None,
    "prefix_lm": False,
    "qk_ln": False,
    "alibi": True,
}
"""What `attn_config` must say, as the network or transformers' MPT does nothing else."""


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    said = theirs.get("attn_config", {})
    for key, value in ATTENTION.items():
        if said.get(key, value) != value:
            raise ModelError(
                f"config.json: attn_config.{key} = {said[key]!r} is not supported for mpt (only {value!r})"
            )
    return {
        "attention_scale": said.get("softmax_scale"),
        "position_settings": {"flattest": said.get("alibi_bias_max", 8)},
    }


def _more_to(config: ModelConfig) -> dict[str, Any]:
    from lmworks.models.positions.alibi import ALiBiSettings  # loads torch

    settings = config.position_settings
    assert isinstance(settings, ALiBiSettings)
    if settings.scale != 1 or settings.flattest % 1:
        raise ModelError(
            "an mpt model has ALiBi with scale = 1 and a whole number as flattest; choose another family to save it as"
        )
    said = {"softmax_scale": config.attention_scale, "alibi_bias_max": int(settings.flattest)}
    return {"attn_config": ATTENTION | said}


MPT = Family(
    name="mpt",
    architecture="MptForCausalLM",
    examples=("mosaicml/mpt-7b",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "d_model",
        "layers": "n_layers",
        "heads": "n_heads",
        "context": "max_seq_len",
        "norm_eps": "layer_norm_epsilon",
        "tied": "tie_word_embeddings",
    },
    tensors={
        "embedding.weight": "transformer.wte.weight",
        "blocks.{i}.attention_norm.weight": f"{LAYER}.norm_1.weight",
        "blocks.{i}.attention.qkv.weight": f"{LAYER}.attn.Wqkv.weight",
        "blocks.{i}.attention.output.weight": f"{LAYER}.attn.out_proj.weight",
        "blocks.{i}.feed_forward_norm.weight": f"{LAYER}.norm_2.weight",
        "blocks.{i}.feed_forward.up.weight": f"{LAYER}.ffn.up_proj.weight",
        "blocks.{i}.feed_forward.down.weight": f"{LAYER}.ffn.down_proj.weight",
        "norm.weight": "transformer.norm_f.weight",
        "head.weight": "lm_head.weight",
    },
    fixed={"positions": "alibi", "norm": "layer", "norm_bias": False, "activation": "gelu", "gated": False},
    defaults={"max_seq_len": 2048, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    required={"no_bias": True, "expansion_ratio": 4, "logit_scale": None},
    more_from=_more_from,
    more_to=_more_to,
    told=("attention_scale", "position_settings"),
    key_aliases={"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"},
    prefix="transformer.",
)

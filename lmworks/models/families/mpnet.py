"""MPNet (Song et al. 2020, https://arxiv.org/abs/2004.09297): RoBERTa without segments, with T5's bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.bert import BERT, SETTINGS, masked_tensors
from lmworks.models.families.encoder_classes import (
    TOLD,
    EncoderFamily,
    heads_from,
    heads_to,
)
from lmworks.models.families.roberta import BIAS, OFFSET, classes_of
from lmworks.models.families.sources import Rows, Source

PREFIX = "mpnet."
CLASSES = classes_of("MPNet", PREFIX)


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return heads_from(CLASSES, theirs) | {"context": theirs["max_position_embeddings"] - OFFSET}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return heads_to(CLASSES, config) | {
        "attention_probs_dropout_prob": config.dropout,
        "max_position_embeddings": config.context + OFFSET,
    }


def _tensors() -> dict[str, Source]:
    embeddings, layer = f"{PREFIX}embeddings", f"{PREFIX}encoder.layer.{{i}}"
    names: dict[str, Source] = {
        "embedding.weight": f"{embeddings}.word_embeddings.weight",
        "positions.learned.weight": f"{embeddings}.position_embeddings.weight",
        "positions.relative.weight": f"{PREFIX}encoder.relative_attention_bias.weight",
        **masked_tensors("lm_head.dense", "lm_head.layer_norm"),
        "head_bias": BIAS,
        "head.weight": "lm_head.decoder.weight",
    }
    for kind in ("weight", "bias"):
        names |= {
            f"embedding_norm.{kind}": f"{embeddings}.LayerNorm.{kind}",
            f"blocks.{{i}}.attention.qkv.{kind}": Rows(
                tuple(f"{layer}.attention.attn.{part}.{kind}" for part in "qkv")
            ),
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}.attention.attn.o.{kind}",
            f"blocks.{{i}}.attention_norm.{kind}": f"{layer}.attention.LayerNorm.{kind}",
            f"blocks.{{i}}.feed_forward.up.{kind}": f"{layer}.intermediate.dense.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}.output.dense.{kind}",
            f"blocks.{{i}}.feed_forward_norm.{kind}": f"{layer}.output.LayerNorm.{kind}",
            f"pooler.{kind}": f"{PREFIX}pooler.dense.{kind}",
            f"classifier.{kind}": f"classifier.{kind}",
        }
    return names


MPNET = EncoderFamily(
    name="mpnet",
    architecture="MPNetModel",
    examples=("microsoft/mpnet-base", "sentence-transformers/all-mpnet-base-v2"),
    settings={ours: theirs for ours, theirs in SETTINGS.items() if ours != "segments"},
    tensors=_tensors(),
    fixed={**BERT.fixed, "positions": "learned_relative", "position_offset": OFFSET},
    defaults={**BERT.defaults, "vocab_size": 30527},
    required={"relative_attention_num_buckets": 32},  # transformers computes with no other number
    more_from=_more_from,
    more_to=_more_to,
    told=TOLD,
    ignored=BERT.ignored,
    copies={"lm_head.decoder.bias": BIAS},
    prefix=PREFIX,
    classes=CLASSES,
)

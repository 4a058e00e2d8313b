"""DistilBERT (Sanh et al. 2019): BERT with half of its layers and no segments; a classifier reads through a relu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.bert import BERT, masked_tensors
from lmworks.models.families.encoder_classes import (
    MASKED,
    TOKENS,
    TOLD,
    EncoderFamily,
    HeadClass,
    heads_from,
    heads_to,
)
from lmworks.models.families.sources import Rows, Source

CLASSES = (
    HeadClass("DistilBertModel"),
    HeadClass("DistilBertForMaskedLM", MASKED),
    HeadClass("DistilBertForSequenceClassification", {"pooler": True, "pooler_activation": "relu"}, labels=True),
    HeadClass("DistilBertForTokenClassification", TOKENS, labels=True),
)


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return heads_from(CLASSES, theirs)


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return heads_to(CLASSES, config) | dict.fromkeys(("attention_dropout", "seq_classif_dropout"), config.dropout)


def _tensors() -> dict[str, Source]:
    embeddings, layer = "distilbert.embeddings", "distilbert.transformer.layer.{i}"
    names: dict[str, Source] = {
        "embedding.weight": f"{embeddings}.word_embeddings.weight",
        "position.weight": f"{embeddings}.position_embeddings.weight",
        **masked_tensors("vocab_transform", "vocab_layer_norm"),
        "head_bias": "vocab_projector.bias",
        "head.weight": "vocab_projector.weight",
    }
    for kind in ("weight", "bias"):
        names |= {
            f"embedding_norm.{kind}": f"{embeddings}.LayerNorm.{kind}",
            f"blocks.{{i}}.attention.qkv.{kind}": Rows(tuple(f"{layer}.attention.{part}_lin.{kind}" for part in "qkv")),
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}.attention.out_lin.{kind}",
            f"blocks.{{i}}.attention_norm.{kind}": f"{layer}.sa_layer_norm.{kind}",
            f"blocks.{{i}}.feed_forward.up.{kind}": f"{layer}.ffn.lin1.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}.ffn.lin2.{kind}",
            f"blocks.{{i}}.feed_forward_norm.{kind}": f"{layer}.output_layer_norm.{kind}",
            f"pooler.{kind}": f"pre_classifier.{kind}",
            f"classifier.{kind}": f"classifier.{kind}",
        }
    return names


DISTILBERT = EncoderFamily(
    name="distilbert",
    architecture="DistilBertModel",
    examples=("distilbert/distilbert-base-uncased",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "hidden_dim": "hidden_dim",
        "context": "max_position_embeddings",
        "activation": "activation",
        "tied": "tie_word_embeddings",
        "dropout": "dropout",
    },
    tensors=_tensors(),
    fixed={**BERT.fixed, "norm_eps": 1e-12},
    defaults={
        "vocab_size": 30522,
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "max_position_embeddings": 512,
        "activation": "gelu",
        "tie_word_embeddings": True,
        "dropout": 0.1,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=TOLD,
    ignored=BERT.ignored,
    prefix="distilbert.",
    classes=CLASSES,
)

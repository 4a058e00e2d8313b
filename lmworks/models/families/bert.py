"""BERT (Devlin et al. 2018) and what has its shape, such as MiniLM and other sentence encoders: a post-norm encoder.

One body and, by the class that config.json names: the body with a pooler, a masked language model, the two heads of
pretraining, or a classifier of texts or tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
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

BIAS = "cls.predictions.bias"
CLASSES = (
    HeadClass("BertModel", {"pooler": True}),
    HeadClass("BertForMaskedLM", MASKED),
    HeadClass(
        "BertForPreTraining",
        MASKED | {"pooler": True},
        labels=True,
        renamed={"classifier.": "cls.seq_relationship."},
    ),
    HeadClass("BertForSequenceClassification", {"pooler": True}, labels=True),
    HeadClass("BertForTokenClassification", TOKENS, labels=True),
)


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return heads_from(CLASSES, theirs)


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return heads_to(CLASSES, config) | {"attention_probs_dropout_prob": config.dropout}


def body_tensors(prefix: str) -> dict[str, Source]:
    """The body's tensors, and a classifier."""
    embeddings, layer = f"{prefix}embeddings", f"{prefix}encoder.layer.{{i}}"
    names: dict[str, Source] = {
        "embedding.weight": f"{embeddings}.word_embeddings.weight",
        "position.weight": f"{embeddings}.position_embeddings.weight",
        "segment.weight": f"{embeddings}.token_type_embeddings.weight",
    }
    for kind in ("weight", "bias"):
        names |= {
            f"embedding_norm.{kind}": f"{embeddings}.LayerNorm.{kind}",
            f"blocks.{{i}}.attention.qkv.{kind}": Rows(
                tuple(f"{layer}.attention.self.{part}.{kind}" for part in ("query", "key", "value"))
            ),
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}.attention.output.dense.{kind}",
            f"blocks.{{i}}.attention_norm.{kind}": f"{layer}.attention.output.LayerNorm.{kind}",
            f"blocks.{{i}}.feed_forward.up.{kind}": f"{layer}.intermediate.dense.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}.output.dense.{kind}",
            f"blocks.{{i}}.feed_forward_norm.{kind}": f"{layer}.output.LayerNorm.{kind}",
            f"pooler.{kind}": f"{prefix}pooler.dense.{kind}",
            f"classifier.{kind}": f"classifier.{kind}",
        }
    return names


def masked_tensors(dense: str, norm: str) -> dict[str, Source]:
    """The tensors between states and the head of a masked language model."""
    return {
        f"head_transform.{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in (("dense", dense), ("norm", norm))
        for kind in ("weight", "bias")
    }


SETTINGS = {  # ours             <- theirs
    "vocab_size": "vocab_size",
    "dim": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "context": "max_position_embeddings",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
    "segments": "type_vocab_size",
    "tied": "tie_word_embeddings",
    "dropout": "hidden_dropout_prob",
}
FIXED = {
    "arrangement": "encoder",
    "positions": "learned",
    "norm": "layer",
    "norm_place": "after",
    "embedding_norm": "layer",
    "gated": False,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
}
SIZES = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "type_vocab_size": 2,
    "tie_word_embeddings": True,
    "hidden_dropout_prob": 0.1,
}
REQUIRED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
IGNORED = ("embeddings.position_ids", "embeddings.token_type_ids")
TENSORS: dict[str, Source] = {
    **body_tensors("bert."),
    **masked_tensors("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "head_bias": BIAS,
    "head.weight": "cls.predictions.decoder.weight",
}
BERT = EncoderFamily(
    name="bert",
    architecture="BertModel",
    examples=(
        "google-bert/bert-base-uncased",
        "sentence-transformers/all-MiniLM-L6-v2",
        "BAAI/bge-small-en-v1.5",
        "intfloat/e5-base-v2",
        "thenlper/gte-base",
    ),
    settings=SETTINGS,
    tensors=TENSORS,
    fixed=FIXED,
    defaults=SIZES,
    required=REQUIRED,
    more_from=_more_from,
    more_to=_more_to,
    told=TOLD,
    ignored=IGNORED,
    copies={"cls.predictions.decoder.bias": BIAS},
    prefix="bert.",
    classes=CLASSES,
    other_names={".gamma": ".weight", ".beta": ".bias"},  # of files converted from TensorFlow
)

"""ELECTRA (Clark et al. 2020): BERT, whose narrow embeddings are brought to the width of the blocks.

Its generator is a masked language model; its discriminator tells which tokens were replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.config import ModelConfig
from lmworks.models.families.bert import BERT, SETTINGS, body_tensors, masked_tensors
from lmworks.models.families.encoder_classes import (
    MASKED,
    TOKENS,
    TOLD,
    EncoderFamily,
    HeadClass,
    heads_from,
    heads_to,
)

GELU = {"pooler": True, "pooler_activation": "gelu"}
POOLER, BIAS = "electra.pooler.dense.", "generator_lm_head.bias"
CLASSES = (
    HeadClass("ElectraModel"),
    HeadClass("ElectraForMaskedLM", MASKED, needs={"activation": "gelu"}),
    HeadClass(
        "ElectraForPreTraining",
        GELU | TOKENS,
        needs={"activation": "gelu"},
        labels=True,
        classes=("replaced",),
        renamed={
            POOLER: "discriminator_predictions.dense.",
            "classifier.": "discriminator_predictions.dense_prediction.",
        },
    ),
    HeadClass(
        "ElectraForSequenceClassification",
        GELU,
        labels=True,
        renamed={POOLER: "classifier.dense.", "classifier.": "classifier.out_proj."},
    ),
    HeadClass("ElectraForTokenClassification", TOKENS, labels=True),
)


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    narrow = theirs["embedding_size"] != theirs["hidden_size"]
    return heads_from(CLASSES, theirs) | {"embedding_dim": theirs["embedding_size"] if narrow else None}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    sizes = {"embedding_size": config.embedding_width, "attention_probs_dropout_prob": config.dropout}
    return heads_to(CLASSES, config) | sizes


ELECTRA = EncoderFamily(
    name="electra",
    architecture="ElectraModel",
    examples=(
        "google/electra-small-discriminator",
        "cross-encoder/ms-marco-electra-base",
    ),
    settings=SETTINGS,
    tensors={
        **body_tensors("electra."),
        **{f"embedding_projection.{kind}": f"electra.embeddings_project.{kind}" for kind in ("weight", "bias")},
        **masked_tensors("generator_predictions.dense", "generator_predictions.LayerNorm"),
        "head_bias": BIAS,
        "head.weight": "generator_lm_head.weight",
    },
    fixed=BERT.fixed,
    defaults={
        **BERT.defaults,
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    required=BERT.required,
    more_from=_more_from,
    more_to=_more_to,
    told=(*TOLD, "embedding_dim"),
    ignored=BERT.ignored,
    prefix="electra.",
    classes=CLASSES,
)

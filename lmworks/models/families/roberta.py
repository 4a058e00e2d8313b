"""RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT, with other names for its heads.

Positions are counted from the row after the padding's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
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

PREFIX, BIAS = "roberta.", "lm_head.bias"
OFFSET = 2
"""The row of the first position: after the padding's, which is 1 in public models."""


def classes_of(begins: str, prefix: str) -> tuple[HeadClass, ...]:
    """The classes, by what their names and those of the body's tensors begin with."""
    return (
        HeadClass(f"{begins}Model", {"pooler": True}),
        HeadClass(f"{begins}ForMaskedLM", MASKED, needs={"activation": "gelu"}),
        HeadClass(
            f"{begins}ForSequenceClassification",
            {"pooler": True},
            labels=True,
            renamed={f"{prefix}pooler.dense.": "classifier.dense.", "classifier.": "classifier.out_proj."},
        ),
        HeadClass(f"{begins}ForTokenClassification", TOKENS, labels=True),
    )


def _family(name: str, begins: str, *examples: str) -> EncoderFamily:
    """The two differ in the names of their classes."""
    classes = classes_of(begins, PREFIX)

    def more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
        first = theirs["pad_token_id"] + 1
        if not 0 < first < theirs["max_position_embeddings"]:
            raise ModelError(
                f"config.json: pad_token_id is {first - 1} and max_position_embeddings "
                f"{theirs['max_position_embeddings']}, which leaves no positions; fetch it again"
            )
        return heads_from(classes, theirs) | {
            "position_offset": first,
            "context": theirs["max_position_embeddings"] - first,
        }

    def more_to(config: ModelConfig) -> dict[str, Any]:
        if not config.position_offset:
            raise ModelError(f"a {name} model cannot have position_offset = 0; choose another family to save it as")
        return heads_to(classes, config) | {
            "attention_probs_dropout_prob": config.dropout,
            "max_position_embeddings": config.context + config.position_offset,
            "pad_token_id": config.position_offset - 1,
        }

    return EncoderFamily(
        name=name,
        architecture=classes[0].name,
        examples=examples,
        settings=SETTINGS,
        tensors={
            **body_tensors(PREFIX),
            **masked_tensors("lm_head.dense", "lm_head.layer_norm"),
            "head_bias": BIAS,
            "head.weight": "lm_head.decoder.weight",
        },
        fixed=BERT.fixed,
        defaults={**BERT.defaults, "vocab_size": 50265, "pad_token_id": OFFSET - 1},
        required=BERT.required,
        more_from=more_from,
        more_to=more_to,
        told=(*TOLD, "position_offset"),
        ignored=BERT.ignored,
        copies={"lm_head.decoder.bias": BIAS},
        prefix=PREFIX,
        classes=classes,
    )


ROBERTA = _family("roberta", "Roberta", "FacebookAI/roberta-base", "sentence-transformers/all-distilroberta-v1")
XLM_ROBERTA = _family(
    "xlm-roberta",
    "XLMRoberta",
    "FacebookAI/xlm-roberta-base",
    "BAAI/bge-m3",
    "intfloat/multilingual-e5-base",
    "BAAI/bge-reranker-base",
)

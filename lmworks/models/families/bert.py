"""BERT (Devlin et al. 2018) and what has its shape, such as MiniLM and other sentence encoders: a post-norm encoder.

One body and, by the class that config.json names: the body with a pooler, a masked language model, the two heads of
pretraining, or a classifier of texts or tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import MOST_LABELS, ModelConfig
from lmworks.models.families.tables import Family, Rows, Source

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MASKED = {"head_transform": True, "head_bias": True}
PARTS: dict[str, dict[str, Any]] = {  # their class -> the heads that it has
    "BertModel": {"pooler": True},
    "BertForMaskedLM": MASKED,
    "BertForPreTraining": MASKED | {"pooler": True, "labels": True},
    "BertForSequenceClassification": {"pooler": True, "labels": True},
    "BertForTokenClassification": {"labels": True, "labels_of": "tokens"},
}
BODY_ALONE: dict[str, Any] = {}
POOLER = "add_pooling_layer"
"""Not in their config.json but an argument of their class: False for a body whose file has no pooler."""
LAYER = "bert.encoder.layer.{i}"
BIAS = "cls.predictions.bias"


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    name = (theirs.get("architectures") or ["BertModel"])[0]
    if name not in PARTS:
        raise ModelError(f"config.json: {name} is not supported; known are {', '.join(PARTS)}")
    parts = dict(PARTS[name])
    if name == "BertModel" and theirs.get(POOLER) is False:
        parts = dict(BODY_ALONE)
    if parts.pop("labels", False):
        _must_choose_one(theirs)
        names = theirs.get("id2label") or _numbered(2 if name == "BertForPreTraining" else theirs.get("num_labels", 2))
        if sorted(map(int, names)) != list(range(len(names))):
            raise ModelError(
                f"config.json: id2label numbers its {len(names)} classes {', '.join(names)}; number them from 0"
            )
        parts["labels"] = tuple(str(label) for _, label in sorted(names.items(), key=lambda item: int(item[0])))
    return parts


def _numbered(count: Any) -> dict[str, str]:
    """The names that transformers gives this many classes."""
    if type(count) is not int or not 0 < count <= MOST_LABELS:
        raise ModelError(f"config.json: num_labels is {count!r}; give the number of classes, at most {MOST_LABELS:,}")
    return {str(number): f"LABEL_{number}" for number in range(count)}


def _must_choose_one(theirs: Mapping[str, Any]) -> None:
    """Numbers and several classes at once are told by the same tensors, and would be read as one class of them."""
    kind = theirs.get("problem_type")
    if kind not in (None, "single_label_classification"):
        raise ModelError(f"config.json: problem_type is {kind}, and a classifier here tells one class of several")


def _more_to(config: ModelConfig) -> dict[str, Any]:
    theirs: dict[str, Any] = {"architectures": [_class_of(config)], "attention_probs_dropout_prob": config.dropout}
    if theirs["architectures"] == ["BertModel"] and not config.pooler:
        theirs[POOLER] = False
    if config.labels:
        theirs["id2label"] = {str(number): label for number, label in enumerate(config.labels)}
        theirs["label2id"] = {label: number for number, label in enumerate(config.labels)}
    return theirs


def _class_of(config: ModelConfig) -> str:
    has: dict[str, Any] = {
        "head_transform": config.head_transform,
        "head_bias": config.head_bias,
        "pooler": config.pooler,
    }
    has |= {"labels": bool(config.labels), "labels_of": config.labels_of}
    for name, parts in [*PARTS.items(), ("BertModel", BODY_ALONE)]:
        if not config.tied and not parts.get("head_transform"):
            continue  # no head is saved with it, so there would be nowhere for the matrix
        if has == {key: parts.get(key, "texts" if key == "labels_of" else False) for key in has}:
            return name
    raise ModelError(
        "no BERT class has this choice of head_transform, head_bias, pooler, labels and tied; "
        "choose another family to save it as"
    )


class _Bert(Family):
    """The body alone is saved without a prefix; pretraining names its classifier in a way of its own."""

    def tensors_from(
        self, theirs: Mapping[str, Tensor], config: ModelConfig, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        renamed = {name.replace("cls.seq_relationship.", "classifier."): tensor for name, tensor in theirs.items()}
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # of files converted from TensorFlow
            renamed = {
                name.removesuffix(old) + new if name.endswith(old) else name: one for name, one in renamed.items()
            }
        if "cls.predictions.decoder.bias" in renamed:  # of two names for one bias, that of what transformers adds
            renamed[BIAS] = renamed["cls.predictions.decoder.bias"]
        # A file of pretraining may be named by the one head that is wanted, and holds the others too.
        left_out: tuple[str, ...] = () if config.pooler else ("bert.pooler.", "pooler.")
        left_out += () if config.labels else ("classifier.",)
        kept = {name: one for name, one in renamed.items() if not name.startswith(left_out)} if left_out else renamed
        return super().tensors_from(kept if _class_of(config) == "BertForMaskedLM" else renamed, config, dtype)

    def tensors_to(self, ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        theirs = super().tensors_to(ours, config)
        name = _class_of(config)
        if name == "BertModel":
            return {key.removeprefix(self.prefix): tensor for key, tensor in theirs.items()}
        if name == "BertForPreTraining":
            return {key.replace("classifier.", "cls.seq_relationship."): tensor for key, tensor in theirs.items()}
        return theirs


TENSORS: dict[str, Source] = {
    "embedding.weight": "bert.embeddings.word_embeddings.weight",
    "position.weight": "bert.embeddings.position_embeddings.weight",
    "segment.weight": "bert.embeddings.token_type_embeddings.weight",
    "embedding_norm.weight": "bert.embeddings.LayerNorm.weight",
    "embedding_norm.bias": "bert.embeddings.LayerNorm.bias",
    "blocks.{i}.attention.qkv.weight": Rows(
        tuple(f"{LAYER}.attention.self.{part}.weight" for part in ("query", "key", "value"))
    ),
    "blocks.{i}.attention.qkv.bias": Rows(
        tuple(f"{LAYER}.attention.self.{part}.bias" for part in ("query", "key", "value"))
    ),
    "blocks.{i}.attention.output.weight": f"{LAYER}.attention.output.dense.weight",
    "blocks.{i}.attention.output.bias": f"{LAYER}.attention.output.dense.bias",
    "blocks.{i}.attention_norm.weight": f"{LAYER}.attention.output.LayerNorm.weight",
    "blocks.{i}.attention_norm.bias": f"{LAYER}.attention.output.LayerNorm.bias",
    "blocks.{i}.feed_forward.up.weight": f"{LAYER}.intermediate.dense.weight",
    "blocks.{i}.feed_forward.up.bias": f"{LAYER}.intermediate.dense.bias",
    "blocks.{i}.feed_forward.down.weight": f"{LAYER}.output.dense.weight",
    "blocks.{i}.feed_forward.down.bias": f"{LAYER}.output.dense.bias",
    "blocks.{i}.feed_forward_norm.weight": f"{LAYER}.output.LayerNorm.weight",
    "blocks.{i}.feed_forward_norm.bias": f"{LAYER}.output.LayerNorm.bias",
    "pooler.weight": "bert.pooler.dense.weight",
    "pooler.bias": "bert.pooler.dense.bias",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
    "head_transform.dense.weight": "cls.predictions.transform.dense.weight",
    "head_transform.dense.bias": "cls.predictions.transform.dense.bias",
    "head_transform.norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "head_transform.norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "head_bias": BIAS,
    "head.weight": "cls.predictions.decoder.weight",
}
BERT = _Bert(
    name="bert",
    architecture="BertModel",
    settings={  # ours             <- theirs
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
    },
    tensors=TENSORS,
    fixed={
        "arrangement": "encoder",
        "positions": "learned",
        "norm": "layer",
        "norm_place": "after",
        "embedding_norm": "layer",
        "gated": False,
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
    },
    defaults={
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
    },
    required={"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"},
    more_from=_more_from,
    more_to=_more_to,
    told=("head_transform", "head_bias", "pooler", "labels", "labels_of"),
    ignored=("embeddings.position_ids",),
    copies={"cls.predictions.decoder.bias": BIAS},
    prefix="bert.",
)

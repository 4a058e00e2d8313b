"""ModernBERT (Warner et al. 2024, https://arxiv.org/abs/2412.13663): a pre-norm encoder with rotary positions and
gates.

Most layers see a window to both sides and turn by a base of their own. The embeddings are normed, so that the first
attention has no norm. A classifier reads through the head of the masked language model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
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
from lmworks.models.families.sources import Source
from lmworks.models.families.spellings import WHOLE, WINDOW, rope_by_kind_from, rope_by_kind_to, window_layers_from
from lmworks.models.families.tables import THEIR_ACTIVATIONS

CLASSIFIER = {"head_transform": True, "classifier_transform": True}
CLASSES = (
    HeadClass("ModernBertModel"),
    HeadClass("ModernBertForMaskedLM", MASKED),
    HeadClass("ModernBertForSequenceClassification", CLASSIFIER, labels=True),
    HeadClass("ModernBertForTokenClassification", CLASSIFIER | TOKENS, labels=True),
)
STATES = {"cls": "token", "mean": "mean"}
"""Their classifier_pooling -> our text_state."""


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    if theirs["classifier_activation"] != theirs["hidden_activation"]:
        raise ModelError("config.json: classifier_activation and hidden_activation differ; not supported")
    ours = heads_from(CLASSES, theirs) | {"text_state": STATES[theirs["classifier_pooling"]]}
    kinds = [WINDOW if layer % theirs["global_attn_every_n_layers"] else WHOLE for layer in range(layers)]
    if chosen := window_layers_from({"layer_types": theirs.get("layer_types", kinds)}, layers, None):
        # The window is to both sides; ours counts the token itself.
        ours |= {"window": theirs["local_attention"] // 2 + 1, "window_layers": chosen}
        ours |= rope_by_kind_from(theirs, usual=10_000.0)
    return ours


def _more_to(config: ModelConfig) -> dict[str, Any]:
    kinds = [WHOLE if config.window_of(layer) is None else WINDOW for layer in range(config.layers)]
    return {
        **heads_to(CLASSES, config),
        **rope_by_kind_to(config),
        **dict.fromkeys(("embedding_dropout", "mlp_dropout", "classifier_dropout"), config.dropout),
        # transformers takes ModernBERT's own ids where a file leaves these out.
        **{f"{kind}_token_id": None for kind in ("bos", "eos", "cls", "sep", "pad")},
        "classifier_activation": THEIR_ACTIVATIONS[config.activation],
        "classifier_pooling": next(theirs for theirs, ours in STATES.items() if ours == config.text_state),
        "layer_types": kinds,
        "local_attention": 128 if config.window is None else 2 * (config.window - 1),
    }


def _tensors() -> dict[str, Source]:
    layer = "model.layers.{i}"
    names: dict[str, Source] = {"embedding.weight": "model.embeddings.tok_embeddings.weight"}
    for kind in ("weight", "bias"):
        names |= {
            f"embedding_norm.{kind}": f"model.embeddings.norm.{kind}",
            f"blocks.{{i}}.attention_norm.{kind}": f"{layer}.attn_norm.{kind}",
            f"blocks.{{i}}.attention.qkv.{kind}": f"{layer}.attn.Wqkv.{kind}",
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}.attn.Wo.{kind}",
            f"blocks.{{i}}.feed_forward_norm.{kind}": f"{layer}.mlp_norm.{kind}",
            f"blocks.{{i}}.feed_forward.up.{kind}": f"{layer}.mlp.Wi.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}.mlp.Wo.{kind}",
            f"norm.{kind}": f"model.final_norm.{kind}",
            f"head_transform.dense.{kind}": f"head.dense.{kind}",
            f"head_transform.norm.{kind}": f"head.norm.{kind}",
            f"classifier.{kind}": f"classifier.{kind}",
        }
    return names | {"head_bias": "decoder.bias", "head.weight": "decoder.weight"}


MODERNBERT = EncoderFamily(
    name="modernbert",
    architecture="ModernBertModel",
    examples=("answerdotai/ModernBERT-base", "Alibaba-NLP/gte-modernbert-base", "nomic-ai/modernbert-embed-base"),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "hidden_dim": "intermediate_size",
        "context": "max_position_embeddings",
        "norm_eps": "norm_eps",
        "norm_bias": "norm_bias",
        "activation": "hidden_activation",
        "qkv_bias": "attention_bias",
        "output_bias": "attention_bias",
        "feed_forward_bias": "mlp_bias",
        "head_transform_bias": "classifier_bias",
        "tied": "tie_word_embeddings",
        "dropout": "attention_dropout",
    },
    tensors=_tensors(),
    fixed={"arrangement": "encoder", "norm": "layer", "embedding_norm": "layer", "first_norm": False},
    defaults={
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "hidden_activation": "gelu",
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "classifier_pooling": "cls",
        "tie_word_embeddings": True,
        "rope_theta": 160_000.0,
        "local_attention": 128,
        "global_attn_every_n_layers": 3,
    },
    required={"decoder_bias": True, "rope_scaling": None},  # it would be one of layers with a window, too
    more_from=_more_from,
    more_to=_more_to,
    told=(*TOLD, "text_state", "window", "window_layers", "window_theta"),
    key_aliases={"global_rope_theta": "rope_theta", "local_rope_theta": "rope_local_base_freq"},
    prefix="model.",
    rotary_by_kind=True,
    classes=CLASSES,
)

"""ViT (Dosovitskiy et al. 2020), and what has its shape, such as DeiT's and DINO's students in transformers: with a
pooler, or with a classifier of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.encoder_classes import TOLD, EncoderFamily, HeadClass, heads_from, heads_to
from lmworks.models.families.seeing import IMAGE_SETTINGS, NO_TOKENS, convolved, squares, within
from lmworks.models.families.sources import Rows, Source
from lmworks.models.vision.config import BLOCKS, ImageConfig

CLASSES = (HeadClass("ViTModel", {"pooler": True}), HeadClass("ViTForImageClassification", labels=True))
SIZES = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
}


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    if theirs.get("pooler_output_size") not in (None, theirs["hidden_size"]):
        raise ModelError(
            f"config.json: pooler_output_size = {theirs['pooler_output_size']!r} is not supported (only hidden_size)"
        )
    return heads_from(CLASSES, theirs) | squares(theirs)


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return heads_to(CLASSES, config) | {"attention_probs_dropout_prob": config.dropout}


LAYER, BODY = "vit.encoder.layer.{i}", "vit.embeddings"
TENSORS: dict[str, Source] = {
    "patches.projection.weight": convolved(f"{BODY}.patch_embeddings.projection.weight"),
    "patches.projection.bias": f"{BODY}.patch_embeddings.projection.bias",
    "patches.class_token": within(f"{BODY}.cls_token", lambda config: (config.dim,), 2),
    "position.weight": within(f"{BODY}.position_embeddings", lambda config: (config.context, config.dim), 1),
}
for kind in ("weight", "bias"):
    TENSORS |= {
        f"blocks.{{i}}.attention_norm.{kind}": f"{LAYER}.layernorm_before.{kind}",
        f"blocks.{{i}}.attention.qkv.{kind}": Rows(
            tuple(f"{LAYER}.attention.attention.{part}.{kind}" for part in ("query", "key", "value"))
        ),
        f"blocks.{{i}}.attention.output.{kind}": f"{LAYER}.attention.output.dense.{kind}",
        f"blocks.{{i}}.feed_forward_norm.{kind}": f"{LAYER}.layernorm_after.{kind}",
        f"blocks.{{i}}.feed_forward.up.{kind}": f"{LAYER}.intermediate.dense.{kind}",
        f"blocks.{{i}}.feed_forward.down.{kind}": f"{LAYER}.output.dense.{kind}",
        f"norm.{kind}": f"vit.layernorm.{kind}",
        f"pooler.{kind}": f"vit.pooler.dense.{kind}",
        f"classifier.{kind}": f"classifier.{kind}",
    }

VIT = EncoderFamily(
    name="vit",
    architecture="ViTModel",
    examples=("google/vit-base-patch16-224", "facebook/dino-vitb16"),
    config=ImageConfig,
    settings=IMAGE_SETTINGS | {"dropout": "hidden_dropout_prob", "qkv_bias": "qkv_bias"},
    tensors=TENSORS,
    fixed={name: value for name, value in BLOCKS.items() if name != "qkv_bias"} | NO_TOKENS,
    defaults=SIZES,
    required={"pooler_act": "tanh"},
    more_from=_more_from,
    more_to=_more_to,
    told=(*TOLD, "context"),
    prefix="vit.",
    classes=CLASSES,
)

"""SigLIP (Zhai et al. 2023): a ViT that a learned query sums up, and an encoder of texts; each pair is judged by
itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.models.families.seeing import TowersFamily, convolved, image_family, text_family, tower_blocks, within
from lmworks.models.families.sources import Shaped, Source
from lmworks.models.vision.towers_config import SIGLIP as CHOICES
from lmworks.models.vision.towers_config import TowersConfig

SIZES = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu_pytorch_tanh",
    "attention_dropout": 0.0,
}
TEXT_SIZES = {**SIZES, "vocab_size": 32000, "max_position_embeddings": 64}
IMAGE_SIZES = {**SIZES, "num_channels": 3, "image_size": 224, "patch_size": 16}


def _joined_from(theirs: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    return {"width": text.get("projection_size") or text["hidden_size"]}


def _joined_to(config: TowersConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"projection_size": config.width}


STACK, HEAD = "vision_model", "vision_model.head"
IMAGE_TENSORS: dict[str, Source] = {
    "patches.projection.weight": convolved(f"{STACK}.embeddings.patch_embedding.weight"),
    "patches.projection.bias": f"{STACK}.embeddings.patch_embedding.bias",
    "position.weight": f"{STACK}.embeddings.position_embedding.weight",
    **tower_blocks(STACK),
    "pool.query": within(f"{HEAD}.probe", lambda config: (config.dim,), 2),
}
for kind in ("weight", "bias"):
    IMAGE_TENSORS |= {
        f"norm.{kind}": f"{STACK}.post_layernorm.{kind}",
        f"pool.qkv.{kind}": f"{HEAD}.attention.in_proj_{kind}",
        f"pool.output.{kind}": f"{HEAD}.attention.out_proj.{kind}",
        f"pool.norm.{kind}": f"{HEAD}.layernorm.{kind}",
        f"pool.feed_forward.up.{kind}": f"{HEAD}.mlp.fc1.{kind}",
        f"pool.feed_forward.down.{kind}": f"{HEAD}.mlp.fc2.{kind}",
    }

NUMBER: dict[str, Shaped] = {
    ours: within(theirs, lambda config: (), 1) for ours, theirs in (("scale", "logit_scale"), ("bias", "logit_bias"))
}

SIGLIP = TowersFamily(
    name="siglip",
    architecture="SiglipModel",
    examples=("google/siglip-base-patch16-224", "google/siglip2-base-patch16-224"),
    settings={},
    tensors={},
    image=image_family(
        "siglip_vision_model",
        {"class_token": False, "image_state": "attention"},
        IMAGE_TENSORS,
        IMAGE_SIZES,
        required={"vision_use_head": True},
    ),
    text=text_family("siglip_text_model", "encoder", TEXT_SIZES),
    beside={
        "text_projection.weight": "text_model.head.weight",
        "text_projection.bias": "text_model.head.bias",
        **NUMBER,
    },
    towers=CHOICES,
    joined_from=_joined_from,
    joined_to=_joined_to,
)

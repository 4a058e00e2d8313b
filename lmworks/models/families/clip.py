"""CLIP (Radford et al. 2021): a ViT, and a decoder whose state at the end of a text stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.families.seeing import TowersFamily, convolved, image_family, text_family, tower_blocks
from lmworks.models.families.sources import Source
from lmworks.models.vision.towers_config import TowersConfig

FIRST_FILES = 2
"""The eos_token_id of files that were written before transformers knew CLIP's; the largest id of a text ends it."""
SIZES = {"num_hidden_layers": 12, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu", "attention_dropout": 0.0}
TEXT_SIZES = {
    **SIZES,
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}
IMAGE_SIZES = {
    **SIZES,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}


def _joined_from(theirs: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    end = text["eos_token_id"]
    if type(end) is not int:
        raise ModelError(f"config.json: eos_token_id of text_config is {end!r}, and one id ends a text")
    ends = {"text_end": "largest"} if end == FIRST_FILES else {"end_token": end}
    return {"width": theirs.get("projection_dim", 512), **ends}


def _joined_to(config: TowersConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    if config.text_end == "last" or config.end_token == FIRST_FILES:
        raise ModelError(
            f"a clip model cannot have text_end {config.text_end!r} with end_token {config.end_token}: its files know "
            "a token that ends a text, and mean the largest by 2"
        )
    end = FIRST_FILES if config.text_end == "largest" else config.end_token
    return {"projection_dim": config.width}, {"eos_token_id": end, "projection_dim": config.width}


STACK = "vision_model"
IMAGE_TENSORS: dict[str, Source] = {
    "patches.projection.weight": convolved(f"{STACK}.embeddings.patch_embedding.weight"),
    "patches.class_token": f"{STACK}.embeddings.class_embedding",
    "position.weight": f"{STACK}.embeddings.position_embedding.weight",
    **tower_blocks(STACK),
}
for kind in ("weight", "bias"):
    IMAGE_TENSORS |= {
        f"embedding_norm.{kind}": f"{STACK}.pre_layrnorm.{kind}",
        f"norm.{kind}": f"{STACK}.post_layernorm.{kind}",
    }

CLIP = TowersFamily(
    name="clip",
    architecture="CLIPModel",
    examples=("openai/clip-vit-base-patch32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    settings={},
    tensors={},
    image=image_family(
        "clip_vision_model", {"patch_bias": False, "embedding_norm": "layer"}, IMAGE_TENSORS, IMAGE_SIZES
    ),
    text=text_family("clip_text_model", "decoder", TEXT_SIZES),
    beside={
        "image_projection.weight": "visual_projection.weight",
        "text_projection.weight": "text_projection.weight",
        "scale": "logit_scale",
    },
    towers={"project_images": True, "projection_bias": False, "bias": False},
    joined_from=_joined_from,
    joined_to=_joined_to,
)

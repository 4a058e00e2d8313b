"""ImageConfig: a transformer that reads an image's patches, a ViT say. Its blocks are those of every other network."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig

MOST_PIXELS = 8192
"""The longest side of an image that a network reads."""
MOST_PLACES = 65_536
"""Patches of one image; attention between all of them takes the square of that."""


class ImageConfig(ModelConfig):
    """Every choice that shapes a transformer which reads images. Blocks, norms and positions are ModelConfig's."""

    explain_as: ClassVar[str] = "image"

    image_size: int = Field(gt=0, le=MOST_PIXELS)
    """Pixels of a side of the images that it reads, which are square."""

    patch_size: int = Field(gt=0, le=MOST_PIXELS)
    """Pixels of a side of a patch; each becomes one place of the stream."""

    channels: int = Field(default=3, gt=0, le=1000)
    """Numbers of a pixel: 3 for red, green and blue."""

    patch_bias: bool = True
    """A bias on the patches' projection (ViT, SigLIP; not CLIP)."""

    class_token: bool = True
    """A learned place before the patches, which comes to stand for the image (ViT, CLIP; not SigLIP)."""

    image_state: Literal["first", "mean", "attention"] = "first"
    """What stands for an image: the first place's state, the mean over all, or what a learned query takes from all by
    attention (SigLIP)."""

    @model_validator(mode="before")
    @classmethod
    def _places(cls, values: Any) -> Any:
        """What follows from the image: context, and that all places see each other."""
        if isinstance(values, dict):
            values = dict(values)  # another kind of tower may be tried with the same
            size, patch = values.get("image_size"), values.get("patch_size")
            context = 1  # of sizes that another check refuses
            if isinstance(size, int) and isinstance(patch, int) and 0 < patch <= size <= MOST_PIXELS:
                context = (size // patch) ** 2 + (values.get("class_token", True) is True)
            values.setdefault("context", context)
            values.setdefault("arrangement", "encoder")
            values.setdefault("vocab_size", 1)  # there are no tokens
        return values

    @model_validator(mode="after")
    def _sees(self) -> Self:
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"{{at}}image_size ({self.image_size}) is not a multiple of {{at}}patch_size ({self.patch_size}); "
                "pixels at the edge would not be seen"
            )
        if self.places > MOST_PLACES:
            raise ConfigError(
                f"{{at}}patch_size {self.patch_size} cuts an image into {self.places:,} patches, and the most is "
                f"{MOST_PLACES:,}; take larger ones"
            )
        if self.context != self.places:
            raise ConfigError(f"{{at}}context is {self.context} and an image has {self.places} places; leave it out")
        if self.arrangement != "encoder":
            raise ConfigError(f"{{at}}arrangement is {self.arrangement!r}, and an image has no order; leave it out")
        return self

    @property
    def places(self) -> int:
        """Places of the stream: the patches, and the class token where there is one."""
        return (self.image_size // self.patch_size) ** 2 + self.class_token


class ReadsImages(Config):
    """What a transformer may have and a network beside it has not, for whoever asks a network."""

    causal: ClassVar[bool] = False
    is_classic_decoder: ClassVar[bool] = False
    arrangement: ClassVar[str] = "encoder"
    window: ClassVar[None] = None
    experts: ClassVar[None] = None


def reads_images(config: object) -> bool:
    """Whether a network of this config reads images."""
    return isinstance(config, ImageConfig | ReadsImages)


BLOCKS: dict[str, Any] = {
    "positions": "learned",
    "norm": "layer",
    "gated": False,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "tied": True,
}
"""What ViT, CLIP and SigLIP have in common."""


def as_model_config(config: Config) -> ModelConfig:
    """A config of this folder where a ModelConfig is expected, as its network stands where a Network would."""
    return cast(ModelConfig, config)

"""ConvolutionalConfig: every choice that shapes a small convolutional network which learns quickly."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.models.vision.config import MOST_PIXELS
from lmworks.models.vision.convolutions import Convolutions, Width


class ConvolutionalConfig(Convolutions):
    """Every choice that shapes a small convolutional network which learns quickly (airbench: Jordan 2024)."""

    explain_as: ClassVar[str] = "convolutional"

    family: Literal["lmworks-convolutional"] = "lmworks-convolutional"
    """The architecture whose names its files use: our own, which lmworks reads; transformers and other programs do
    not."""

    image_size: int = Field(default=32, ge=16, le=MOST_PIXELS)
    """Pixels of a side of the images that it is trained on."""

    widths: tuple[Width, ...] = Field(default=(64, 128, 256), min_length=1, max_length=8)
    """Channels of each block; each halves the image."""

    depth: Literal[2, 3] = 2
    """Convolutions of a block; the third is around a residual connection."""

    image_state: Literal["largest", "mean", "places"] = "largest"
    """What stands for an image: the largest of all places, their mean, or all of them side by side, which knows where
    something is; then all images have `image_size`."""

    scale: float = Field(default=1 / 9, gt=0)
    """What the scores of the classes are multiplied by."""

    mixed: bool = True
    """In training, convolutions multiply in bfloat16 where the processor does natively (in half of the time on Zen 4);
    weights, norms and steps stay in float32."""

    @property
    def dim(self) -> int:
        """Numbers of an image's vector."""
        return self.widths[-1] * (self.side**2 if self.image_state == "places" else 1)

    @property
    def side(self) -> int:
        """Places of a side after the last block, of an image of `image_size`."""
        return (self.image_size - 1) // 2 ** len(self.widths)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.image_size < 2 ** (len(self.widths) + 1):
            raise ConfigError(
                f"{{at}}widths has {len(self.widths)} blocks, each of which halves the image, and {{at}}image_size is "
                f"{self.image_size}; take fewer"
            )
        return self

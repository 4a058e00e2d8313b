"""ImageTokensConfig: every choice that shapes a network which writes an image as tokens and draws it from them."""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.models.vision.config import ReadsImages

MOST_CODES = 65_536
MOST_SIDE = 512
SHRINK = 4
"""Pixels of a side that become one place of the grid."""

Width = Annotated[int, Field(gt=0, le=10_000)]


class ImageTokensConfig(ReadsImages):
    """Every choice that shapes a network which writes an image as a few tokens and draws it from them."""

    explain_as: ClassVar[str] = "image-tokenizer"

    family: Literal["lmworks-image-tokens"] = "lmworks-image-tokens"
    """The architecture whose names its files use: our own, which lmworks reads; transformers and other programs do
    not."""

    image_size: int = Field(default=32, ge=8, le=MOST_SIDE)
    """Pixels of a side of the images; a quarter of it is the side of the grid of tokens."""

    levels: tuple[Annotated[int, Field(ge=2, le=1000)], ...] = Field(default=(8, 5, 5, 5), min_length=1, max_length=16)
    """How many values each number of a place can have; their product is the number of different tokens: 1,000."""

    width: Width = 64
    """Channels at the places of the grid."""

    fine_width: Width = 32
    """Channels at half of the image's size."""

    encoder_blocks: int = Field(default=2, ge=0, le=100)
    """Residual blocks at the places of the grid, from pixels to tokens."""

    decoder_blocks: int = Field(default=3, ge=0, le=100)
    """The same from tokens to pixels."""

    search: int = Field(default=0, ge=0, le=100)
    """Rounds in which the tokens of an image are changed, one number of a place at a time, where that brings its image
    nearer. Each takes as long as drawing the image 16 times."""

    mixed: bool = True
    """In training, convolutions multiply in bfloat16 where the processor does natively (in two thirds of the time on
    Zen 4); weights, the rounding and steps stay in float32."""

    channels: ClassVar[int] = 3
    labels: ClassVar[tuple[str, ...]] = ()
    vocab_size: ClassVar[int] = 0
    context: ClassVar[int] = 0

    @property
    def codes(self) -> int:
        """Different tokens."""
        return prod(self.levels)

    @property
    def grid(self) -> int:
        """Tokens of a side."""
        return self.image_size // SHRINK

    @property
    def places(self) -> int:
        """Tokens of an image."""
        return self.grid**2

    @property
    def dim(self) -> int:
        """Numbers of a place before they are rounded."""
        return len(self.levels)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.image_size % SHRINK:
            raise ConfigError(
                f"{{at}}image_size is {self.image_size}, and {SHRINK} pixels a side are one token; take a multiple of "
                f"{SHRINK}"
            )
        if self.codes > MOST_CODES:
            raise ConfigError(
                f"{{at}}levels make {self.codes:,} different tokens, and the most is {MOST_CODES:,}; take fewer"
            )
        return self

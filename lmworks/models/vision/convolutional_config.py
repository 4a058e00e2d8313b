"""ConvolutionalConfig: every choice that shapes a small convolutional network which learns quickly."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.models.config import MOST_LABELS
from lmworks.models.vision.config import MOST_PIXELS

Width = Annotated[int, Field(gt=0, le=100_000)]


class ConvolutionalConfig(Config):
    """Every choice that shapes a small convolutional network which learns quickly (airbench: Jordan 2024)."""

    explain_as: ClassVar[str] = "convolutional"

    family: Literal["lmworks-convolutional"] = "lmworks-convolutional"
    """The architecture whose names its files use: our own, which lmworks reads; transformers and other programs do
    not."""

    image_size: int = Field(default=32, ge=16, le=MOST_PIXELS)
    """Pixels of a side of the images that it is trained on."""

    channels: int = Field(default=3, gt=0, le=1000)
    """Numbers of a pixel: 3 for red, green and blue."""

    widths: tuple[Width, ...] = Field(default=(64, 128, 256), min_length=1, max_length=8)
    """Channels of each block; each halves the image."""

    depth: Literal[2, 3] = 2
    """Convolutions of a block; the third is around a residual connection."""

    scale: float = Field(default=1 / 9, gt=0)
    """What the scores of the classes are multiplied by."""

    labels: tuple[str, ...] = Field(default=(), max_length=MOST_LABELS)
    """Names of the classes."""

    causal: ClassVar[bool] = False
    is_classic_decoder: ClassVar[bool] = False
    arrangement: ClassVar[str] = "encoder"
    vocab_size: ClassVar[int] = 0
    context: ClassVar[int] = 0
    window: ClassVar[None] = None
    experts: ClassVar[None] = None
    # What a transformer has and this has not, for whoever asks a network.

    @property
    def dim(self) -> int:
        """Channels after the last block: numbers of an image's vector."""
        return self.widths[-1]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ConfigError("{at}labels names a class twice; each class needs a name of its own")
        if self.image_size < 2 ** (len(self.widths) + 1):
            raise ConfigError(
                f"{{at}}widths has {len(self.widths)} blocks, each of which halves the image, and {{at}}image_size is "
                f"{self.image_size}; take fewer"
            )
        return self

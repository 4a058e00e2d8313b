"""ResNetConfig: every choice that shapes a residual network of convolutions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.models.config import MOST_LABELS

Width = Annotated[int, Field(gt=0, le=100_000)]
MOST_STAGES, MOST_BLOCKS = 16, 1000


class ResNetConfig(Config):
    """Every choice that shapes a residual network of convolutions."""

    explain_as: ClassVar[str] = "resnet"

    family: str = "resnet"
    """The architecture whose names its files use."""

    channels: int = Field(default=3, gt=0, le=1000)
    """Numbers of a pixel: 3 for red, green and blue."""

    stem: Width = 64
    """Channels after the first convolution."""

    widths: tuple[Width, ...] = Field(default=(256, 512, 1024, 2048), min_length=1, max_length=MOST_STAGES)
    """Channels after each stage; each but the first halves the image."""

    depths: tuple[Annotated[int, Field(gt=0, le=MOST_BLOCKS)], ...] = Field(default=(3, 4, 6, 3))
    """Blocks of each stage."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    """basic: two convolutions of 3 x 3 (ResNet-18 and 34); bottleneck: one between two of 1 x 1, on a quarter of the
    channels."""

    activation: Literal["relu", "gelu", "silu"] = "relu"
    """After the stem and after each block; inside a block it is relu."""

    halve_first: bool = False
    """The first stage halves the image too."""

    halve_early: bool = False
    """A bottleneck halves the image in its first convolution and not in its second."""

    labels: tuple[str, ...] = Field(default=(), max_length=MOST_LABELS)
    """Names of the classes of a classifier; none for no classifier."""

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
        """Channels after the last stage: numbers of an image's vector."""
        return self.widths[-1]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.widths) != len(self.depths):
            raise ConfigError(
                f"{{at}}widths has {len(self.widths)} stages and {{at}}depths {len(self.depths)}; give one of each"
            )
        if sum(self.depths) > MOST_BLOCKS:
            raise ConfigError(f"{{at}}depths asks for {sum(self.depths):,} blocks, and the most is {MOST_BLOCKS:,}")
        if len(set(self.labels)) < len(self.labels):
            raise ConfigError("{at}labels names a class twice; each class needs a name of its own")
        if self.block == "bottleneck" and min(self.widths) < 4:
            raise ConfigError("{at}widths of a bottleneck are at least 4, of which it works on a quarter")
        return self

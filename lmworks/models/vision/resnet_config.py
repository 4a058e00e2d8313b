"""ResNetConfig: every choice that shapes a residual network of convolutions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.models.vision.convolutions import Convolutions, Width

MOST_STAGES, MOST_BLOCKS = 16, 1000


class ResNetConfig(Convolutions):
    """Every choice that shapes a residual network of convolutions."""

    explain_as: ClassVar[str] = "resnet"

    family: str = "resnet"
    """The architecture whose names its files use."""

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

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.widths) != len(self.depths):
            raise ConfigError(
                f"{{at}}widths has {len(self.widths)} stages and {{at}}depths {len(self.depths)}; give one of each"
            )
        if sum(self.depths) > MOST_BLOCKS:
            raise ConfigError(f"{{at}}depths asks for {sum(self.depths):,} blocks, and the most is {MOST_BLOCKS:,}")
        if self.block == "bottleneck" and min(self.widths) < 4:
            raise ConfigError("{at}widths of a bottleneck are at least 4, of which it works on a quarter")
        return self

"""EfficientNetConfig: every choice that shapes an EfficientNet-Lite."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.models.vision.convolutions import Convolutions, Width

MOST_BLOCKS = 200
GRID = 4
"""Places of a side that the maps of `pooled_stages` are pooled to."""
Side = Literal[1, 3, 5, 7]


class EfficientNetConfig(Convolutions):
    """Every choice that shapes an EfficientNet-Lite; as it stands, Lite0."""

    explain_as: ClassVar[str] = "efficientnet"

    family: Literal["lmworks-efficientnet"] = "lmworks-efficientnet"
    """The architecture whose names its files use: our own, which lmworks reads; transformers' EfficientNet has more
    parts."""

    stem: Width = 32
    """Channels after the first convolution, which halves the image."""

    widths: tuple[Width, ...] = Field(default=(16, 24, 40, 80, 112, 192, 320), min_length=1, max_length=16)
    """Channels after each stage."""

    depths: tuple[Annotated[int, Field(gt=0, le=MOST_BLOCKS)], ...] = (1, 2, 2, 3, 3, 4, 1)
    """Blocks of each stage."""

    sides: tuple[Side, ...] = (3, 3, 5, 3, 5, 5, 3)
    """Pixels of a side that a stage's convolutions look at."""

    halves: tuple[bool, ...] = (False, True, True, True, False, True, False)
    """Whether the first block of a stage halves the image."""

    expands: tuple[Annotated[int, Field(gt=0, le=64)], ...] = (1, 6, 6, 6, 6, 6, 6)
    """How many times as many channels a block works on."""

    head: Width = 1280
    """Channels after the last convolution, whose mean over all places is an image's vector."""

    pooled_stages: tuple[Annotated[int, Field(ge=0, lt=16)], ...] = ()
    """Stages, counted from 0, whose maps are pooled to 4 x 4 places and concatenated to an image's vector. They hold
    where colours and small shapes are, which the mean over the last maps has lost. The classifier does not see them."""

    @property
    def dim(self) -> int:
        """Numbers of an image's vector."""
        return self.head + GRID**2 * sum(self.widths[stage] for stage in self.pooled_stages)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        stages = {name: len(getattr(self, name)) for name in ("widths", "depths", "sides", "halves", "expands")}
        if len(set(stages.values())) > 1:
            said = ", ".join(f"{{at}}{name} {count}" for name, count in stages.items())
            raise ConfigError(f"stages differ in number: {said}; give as many of each")
        if self.pooled_stages and max(self.pooled_stages) >= len(self.widths):
            raise ConfigError(
                f"{{at}}pooled_stages names stage {max(self.pooled_stages)}, and there are {len(self.widths)}, counted "
                "from 0"
            )
        if sum(self.depths) > MOST_BLOCKS:
            raise ConfigError(f"{{at}}depths asks for {sum(self.depths):,} blocks, and the most is {MOST_BLOCKS:,}")
        return self

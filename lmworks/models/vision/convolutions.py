"""What the configs of networks of convolutions share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.models.config import MOST_LABELS
from lmworks.models.vision.config import ReadsImages

Width = Annotated[int, Field(gt=0, le=100_000)]


class Convolutions(ReadsImages):
    """A network of convolutions, and the classes that it tells apart."""

    channels: int = Field(default=3, gt=0, le=1000)
    """Numbers of a pixel: 3 for red, green and blue."""

    widths: tuple[Width, ...]
    """Channels after each of its parts."""

    labels: tuple[str, ...] = Field(default=(), max_length=MOST_LABELS)
    """Names of the classes; none for no classifier."""

    vocab_size: ClassVar[int] = 0
    context: ClassVar[int] = 0

    @property
    def dim(self) -> int:
        """Channels at the end: numbers of an image's vector."""
        return self.widths[-1]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ConfigError("{at}labels names a class twice; each class needs a name of its own")
        return self

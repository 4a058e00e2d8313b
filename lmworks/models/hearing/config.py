"""SoundConfig: an encoder-decoder whose encoder reads sound, Whisper say. Its blocks are those of every other
network."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig

STRIDE = 2
"""Frames of features that become one place of the encoder's stream."""


class SoundConfig(ModelConfig):
    """Every choice that shapes a network which reads sound. Blocks, norms and the decoder are ModelConfig's."""

    explain_as: ClassVar[str] = "sound"

    mels: int = Field(default=80, gt=0, le=1000)
    """Numbers of a frame: bands of frequencies."""

    sound_places: int = Field(default=1500, gt=0, le=65_536)
    """Places of the encoder's stream; it always reads this many, of two frames each (1,500 for 30 seconds)."""

    @model_validator(mode="before")
    @classmethod
    def _has_two_stacks(cls, values: Any) -> Any:
        return {"arrangement": "encoder-decoder"} | dict(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _hears(self) -> Self:
        if self.arrangement == "decoder":
            raise ConfigError("{at}arrangement is 'decoder', and sound is read by an encoder; leave it out")
        if self.positions != "learned":
            raise ConfigError(
                f"{{at}}positions is {self.positions!r}, and places of sound have their own; take learned"
            )
        return self

    @property
    def frames(self) -> int:
        """Frames of features that the encoder reads."""
        return STRIDE * self.sound_places

    def encoder(self) -> ModelConfig:
        """The config of the encoder, whose context is its places."""
        return super().encoder().but(context=self.sound_places)


def hears(config: object) -> bool:
    """Whether a network of this config reads sound."""
    return isinstance(config, SoundConfig)

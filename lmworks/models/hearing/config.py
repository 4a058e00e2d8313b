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

    @property
    def parameters(self) -> int:
        """How many weights a network of this config has, told without making one."""
        dim, hidden = self.dim, self.hidden_dim
        attention, norm, inner = 4 * dim * (dim + 1), 2 * dim, 2 * dim * hidden + hidden + dim
        front = 3 * dim * (self.mels + dim) + 2 * dim
        places = dim * (self.vocab_size + self.context + self.sound_places)
        encoder = (self.encoder_layers or self.layers) * (attention + inner + 2 * norm) + norm
        return front + places + encoder + self.layers * (2 * attention + inner + 3 * norm) + norm

    def encoder(self) -> ModelConfig:
        """The config of the encoder, whose context is its places."""
        return super().encoder().but(context=self.sound_places)


def hears(config: object) -> bool:
    """Whether a network of this config reads sound."""
    return isinstance(config, SoundConfig)

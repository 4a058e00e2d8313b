"""What stands before an encoder of sound, by NumPy: the two convolutions of SoundStack, for a network that runs
compiled and waits for no PyTorch.

    embedded = Front.of(config, vectors)(features)        # [batch, mels, frames] -> [batch, places, dim]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.hearing.config import STRIDE, SoundConfig

NAMES = ("conv1", "conv2")
ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Of Abramowitz and Stegun's formula 7.1.26 for the error function, whose error is below 1.5e-7."""
ERF_STEP = 0.3275911


@dataclass(frozen=True)
class Front:
    """Two convolutions over three frames each, the second of which takes every other place."""

    mels: int
    frames: int
    matrices: tuple[Float[np.ndarray, "inputs dim"], Float[np.ndarray, "inputs dim"]]
    """Of each place's three frames, a band's frames together."""
    biases: tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]

    @classmethod
    def of(cls, config: SoundConfig, vectors: Mapping[str, Float[np.ndarray, " numbers"]]) -> Self:
        """From a network's numbers by their names, each flat, and filled up at its end."""
        dim, widths = config.dim, (3 * config.mels, 3 * config.dim)
        first, second = (
            np.ascontiguousarray(vectors[f"{name}.weight"][: dim * width].reshape(dim, width).T)
            for name, width in zip(NAMES, widths, strict=True)
        )
        biases = vectors[f"{NAMES[0]}.bias"][:dim], vectors[f"{NAMES[1]}.bias"][:dim]
        return cls(config.mels, config.frames, (first, second), biases)

    def __call__(self, features: Float[np.ndarray, "batch mels frames"]) -> Float[np.ndarray, "batch places dim"]:
        """The places of the stream, without their positions. ConfigError for features of another shape."""
        if features.shape[1:] != (self.mels, self.frames):
            raise ConfigError(
                f"the network reads sound as features [batch, {self.mels}, {self.frames}], and was given "
                f"{list(features.shape)}; log_mel makes them of a recording"
            )
        return np.stack([self._second(self._first(one.T.astype(np.float32))) for one in features])

    def _first(self, rows: Float[np.ndarray, "frames mels"]) -> Float[np.ndarray, "frames dim"]:
        return gelu(_threes(rows) @ self.matrices[0] + self.biases[0])

    def _second(self, rows: Float[np.ndarray, "frames dim"]) -> Float[np.ndarray, "places dim"]:
        return gelu(_threes(rows, STRIDE) @ self.matrices[1] + self.biases[1])


def _threes(rows: Float[np.ndarray, "frames width"], step: int = 1) -> Float[np.ndarray, "places inputs"]:
    """Each frame between its neighbours, nothing beyond the ends."""
    padded = np.pad(rows, ((1, 1), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0)[::step]
    return views.reshape(len(views), -1)


def gelu(x: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """x times the share of a normal distribution below it."""
    away = np.abs(x) * np.float32(0.5**0.5)
    near = 1 / (1 + np.float32(ERF_STEP) * away)
    series = np.zeros_like(x)
    for number in reversed(ERF):
        series = (series + np.float32(number)) * near
    beyond = series * np.exp(-away * away)  # 1 - erf
    return np.float32(0.5) * (x + np.abs(x) * (1 - beyond))

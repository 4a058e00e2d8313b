"""Log-mel features: what a network hears of a recording, a column of mel bands for each hundredth of a second.

    features = log_mel(samples)          # float32 [mels, frames], of samples at 16 kHz between -1 and 1

Windows of 25 ms every 10 ms, their power in bands of the mel scale, log10, nothing more than 8 below the loudest, then
(x + 4) / 4. Equal to transformers' WhisperFeatureExtractor.
Sources: Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.2; the scale and its norm: Slaney's Auditory
Toolbox (1998), as librosa has them.
"""

from __future__ import annotations

import functools

import numpy as np

from lmworks.basics.arrays import Float

RATE = 16_000
"""Samples of a second."""
HOP, WINDOW = 160, 400
"""Samples from one frame to the next, and of a frame."""
HIGHEST = 8000.0
"""The last band ends with this many Hz."""
FLOOR = 1e-10
RANGE = 8.0
"""Tens of decibels that are told apart below the loudest."""
AT_ONCE = 1000
"""Frames whose spectra are in memory together."""
LINEAR_HZ, PER_MEL, LINEAR_MELS, LOG_STEP = 1000.0, 200.0 / 3, 15.0, np.log(6.4) / 27.0
"""Slaney's scale: below 1,000 Hz a mel is 66.7 Hz, above it 27 mels are a factor of 6.4."""

Samples = Float[np.ndarray, " samples"]


def log_mel(samples: Samples, mels: int = 80) -> Float[np.ndarray, "mels frames"]:
    """The features of samples at 16 kHz, a frame for each whole hop of 160."""
    spread = np.pad(np.asarray(samples, np.float64), WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(spread, WINDOW)[::HOP][: len(samples) // HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.empty((len(frames), mels))
    for start in range(0, len(frames), AT_ONCE):
        spectra = np.fft.rfft(frames[start : start + AT_ONCE] * window, axis=1)
        power[start : start + AT_ONCE] = (spectra.real**2 + spectra.imag**2) @ filters(mels)
    levels = np.log10(power.clip(min=FLOOR))
    return ((np.maximum(levels, levels.max() - RANGE) + 4.0).T / 4.0).astype(np.float32, order="C")


@functools.lru_cache(maxsize=4)
def filters(mels: int) -> Float[np.ndarray, "frequencies mels"]:
    """How much of each frequency of a spectrum every band takes: triangles between its neighbours' middles, of the same
    area each."""
    middles = _hertz(np.linspace(0.0, _mels(HIGHEST), mels + 2))
    at = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)
    widths, away = np.diff(middles), middles[None, :] - at[:, None]
    rising, falling = -away[:, :-2] / widths[:-1], away[:, 2:] / widths[1:]
    triangles = np.minimum(rising, falling).clip(min=0.0)
    return triangles * (2.0 / (middles[2:] - middles[:-2]))


def _mels(hertz: float) -> float:
    above = LINEAR_MELS + np.log(max(hertz, LINEAR_HZ) / LINEAR_HZ) / LOG_STEP
    return float(hertz / PER_MEL if hertz < LINEAR_HZ else above)


def _hertz(mels: Float[np.ndarray, " places"]) -> Float[np.ndarray, " places"]:
    above = LINEAR_HZ * np.exp(LOG_STEP * (mels - LINEAR_MELS))
    return np.where(mels < LINEAR_MELS, mels * PER_MEL, above)

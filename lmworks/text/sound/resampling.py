"""Another number of samples a second: a windowed sinc as a polyphase filter, block by block.

    resampler = Resampler(44_100, 16_000)
    parts = [*map(resampler.take, blocks), resampler.finish()]

Each new sample is a sum over the old ones around its place, weighted by a low-pass filter at half the lower of the two
rates, under a Kaiser window: what the new rate cannot hold is taken out and not folded back.
Source: Crochiere and Rabiner 1983, Multirate Digital Signal Processing, chapter 3; Kaiser 1974.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import ceil

import numpy as np

from lmworks.basics.arrays import Float

CROSSINGS = 32
"""Zero crossings of the sinc to either side."""
BETA = 9.0
"""Of Kaiser's window: what lies beyond the band is 90 dB lower."""
PASSES = 0.93
"""The filter is at half its height here, as a share of the lower rate's half; it is at nothing a little above 1."""
MOST_PHASES = 2048
"""Places between two old samples that have a filter of their own. Of rates that would need more (44,101 Hz), the
nearest ratio is taken that does not: in six hours it is a tenth of a second away."""
AT_ONCE = 2**21
"""Numbers of one product, which bound the memory."""

Mono = Float[np.ndarray, " samples"]


class Resampler:
    """Turns samples at one rate into samples at another, however they are cut into blocks."""

    def __init__(self, rate: int, wanted: int) -> None:
        step = Fraction(rate, wanted).limit_denominator(MOST_PHASES)
        self.up, self.down = step.denominator, step.numerator
        scale = min(1.0, wanted / rate) * PASSES
        self.half = ceil(CROSSINGS / scale)
        """Old samples to either side that a new one is made of."""
        self.scale = scale
        self._weights = cache(self._made_weights)
        self._held = np.zeros(self.half, np.float32)
        """Old samples that may still be wanted, from the old place `_first` on."""
        self._first, self._taken, self._made = -self.half, 0, 0

    def take(self, samples: Mono) -> Mono:
        """The new samples that are known once these old ones have followed those before."""
        self._held = np.concatenate([self._held, samples])
        self._taken += len(samples)
        # The new sample m lies at m * down / up, and the filter reaches `half` beyond.
        known = max(-(-(self._taken - self.half) * self.up // self.down), self._made)
        return self._until(known)

    def finish(self) -> Mono:
        """The last ones, after which there is silence."""
        end = -(-self._taken * self.up // self.down)
        self._held = np.concatenate([self._held, np.zeros(2 * self.half + 1, np.float32)])
        return self._until(end)

    def _until(self, end: int) -> Mono:
        made = np.empty(end - self._made, np.float32)
        width, at = 2 * self.half, np.arange(self._made, end)
        for phase in range(min(self.up, len(made))):
            wanted = at[phase :: self.up]
            low = wanted[0] * self.down // self.up  # of the first one; the others follow by `down`
            start = low - self.half + 1 - self._first
            views = np.lib.stride_tricks.sliding_window_view(self._held[start:], width)[:: self.down][: len(wanted)]
            weights, step = self._weights(int(wanted[0] * self.down % self.up)), max(AT_ONCE // width, 1)
            for begin in range(0, len(wanted), step):
                part = slice(begin * self.up + phase, (begin + step) * self.up + phase, self.up)
                made[part] = views[begin : begin + step] @ weights
        self._made = end
        kept = max(end * self.down // self.up - self.half + 1 - self._first, 0)
        self._held, self._first = self._held[kept:].copy(), self._first + kept
        return made

    def _made_weights(self, phase: int) -> Mono:
        """The weights of the old samples around a place that lies `phase` / `up` of a step after one of them."""
        away = np.arange(-self.half + 1, self.half + 1) - phase / self.up
        window = np.i0(BETA * np.sqrt((1 - (away / self.half) ** 2).clip(min=0))) / np.i0(BETA)
        weights = self.scale * np.sinc(self.scale * away) * window
        return (weights / weights.sum()).astype(np.float32)

"""The next token's distribution, and one token drawn from it.

The steps between logits and distribution are declared in `filters/`; here is what holds whichever of them are on.
"""

from __future__ import annotations

import numpy as np

from lmworks.basics.arrays import Float, Int

CHUNK = 128
"""Logits or probabilities that are looked at together, as the kernels do."""
Logits = Float[np.ndarray, " vocab"]
Probabilities = Float[np.ndarray, " vocab"]

Kept = np.ndarray
"""int64: the ids of the tokens that a filter keeps, rising."""


def probabilities(logits: Logits, temperature: float) -> Probabilities:
    """softmax(logits / temperature); temperature 0 is its limit: all on the most probable token."""
    if temperature == 0:
        p = np.zeros_like(logits)
        p[logits.argmax()] = 1.0
        return p
    # The largest taken away first: a tiny temperature would make infinities, and these NaN.
    p = np.subtract(logits, logits.max())
    with np.errstate(over="ignore"):
        p *= np.float32(factor_of(temperature))
    return renormalise(np.exp(p, out=p))


def log_softmax(logits: Float[np.ndarray, "*rows vocab"]) -> Float[np.ndarray, "*rows vocab"]:
    """Log-probabilities, in the logits' precision."""
    less = logits - logits.max(axis=-1, keepdims=True)
    less -= np.log(np.exp(less).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(less.dtype)
    return less


def factor_of(temperature: float) -> float:
    """What logits are multiplied with: never infinite."""
    return min(1 / max(temperature, 1e-38), 3e38)


def log_probability(logits: Logits, token: int) -> float:
    """That of one token, natural."""
    return float(log_softmax(logits)[token])


def renormalise(p: Probabilities) -> Probabilities:
    """Make them sum to one again."""
    return p / p.sum()


class RandomStream:
    """Random numbers from 0 to 1, 1 left out: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.RandomState(seed % 2**32)  # Mersenne Twister, seeded as PyTorch seeds its own
        self._left: list[float] = []

    def next(self) -> float:
        """The next one."""
        self._must_have(1)
        return self._left.pop()

    def ahead(self, count: int) -> list[float]:
        """As many as `count` that come next; they stay next."""
        self._must_have(count)
        return self._left[: -count - 1 : -1]

    def _must_have(self, count: int) -> None:
        """Several are made at once: a call for each took a fiftieth of SmolLM2's steps."""
        while len(self._left) < count:
            high, low = self._bits.randint(0, 2**32, (32, 2), np.uint32).astype(np.uint64).T
            more = ((high << 32 | low) & (2**53 - 1)) * 2.0**-53
            self._left = more[::-1].tolist() + self._left


def draw(p: Probabilities, stream: RandomStream) -> int:
    """One token by its probability, from a single random number."""
    return at_share(p, stream.next())


def at_share(p: Probabilities, at: float) -> int:
    """The token at the share `at` of probabilities laid end to end (inverse of the cumulative distribution)."""
    values, start = p, 0
    whole = len(values) // CHUNK * CHUNK
    if len(values) > 32 * CHUNK:  # first which chunk, then which token of it
        sums = np.append(p[:whole].reshape(-1, CHUNK).sum(1), values[whole:].sum()).astype(np.float64)
        total = sums.cumsum()
        at *= total[-1]
        chunk = _first_above(total, at, sums)
        start, at = chunk * CHUNK, (at - (total[chunk] - sums[chunk])) / sums[chunk]
        values = values[start : start + CHUNK] if start < whole else values[whole:]
    total = values.cumsum(dtype=np.float64)
    return start + _first_above(total, at * total[-1], values)


def keep_or_draw(p: Probabilities, guess: int, drawn_from: Probabilities, stream: RandomStream) -> int:
    """A token of distribution p, given a guess of another: kept with probability p / q, else drawn from p's excess."""
    at = stream.next()
    if at * float(drawn_from[guess]) < float(p[guess]):
        return guess
    more = (p - drawn_from).clip(min=0)
    return draw(more, stream) if more.max() > 0 else guess


def _first_above(total: np.ndarray, at: float, parts: np.ndarray) -> int:
    """The first place where a running total is above `at`; rounding must not lead to a part of zero."""
    place = int(total.searchsorted(at, side="right"))
    return place if place < len(parts) and parts[place] > 0 else int(np.flatnonzero(parts)[-1])


def largest(
    values: Float[np.ndarray, " values"], count: int
) -> tuple[Float[np.ndarray, " largest"], Int[np.ndarray, " largest"]]:
    """The largest values and their places, in falling order, of equals those that come first; all of them where there
    are fewer than `count`.

    They lie in the chunks with the largest maxima, and only those are sorted.
    """
    whole = len(values) // CHUNK * CHUNK
    chunks = values[:whole].reshape(-1, CHUNK)
    if len(chunks) > count:
        kept = np.sort(_first_of(chunks.max(axis=1), count))
        places = np.concatenate([(kept[:, None] * CHUNK + np.arange(CHUNK)).ravel(), np.arange(whole, len(values))])
    else:
        places = np.arange(len(values))
    chosen = places[_first_of(values[places], count)]
    return values[chosen], chosen


def _first_of(values: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-values, kind="stable")[:count]

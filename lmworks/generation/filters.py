"""What a strategy does to the next token's distribution, one small function a step.

Each filter takes probabilities, sets some to zero and leaves the others as they are: applied twice it does no more
than once, and the most probable token always stays. `renormalise` is a step of its own, so that the order of the
steps is all there is to know. Sources: top-k: Fan et al. 2018; top-p: Holtzman et al. 2019,
https://arxiv.org/abs/1904.09751; min-p: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082; typical: Meister et
al. 2022, https://arxiv.org/abs/2202.00666; repetition penalty: Keskar et al. 2019, section 4.1; n-grams that come
only once: Paulus et al. 2017, https://arxiv.org/abs/1705.04304, section 2.5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 128
"""Logits or probabilities that are looked at together, as the kernels do."""
Logits = Float[Tensor, " vocab"]
Probabilities = Float[Tensor, " vocab"]

Kept = np.ndarray
"""int64: the numbers of the tokens that a filter keeps, rising."""


def penalise_repetition(logits: Logits, seen: Int[Tensor, " seen"], penalty: float) -> Logits:
    """Divide positive logits of tokens that occurred by `penalty`, multiply negative ones."""
    values = logits[seen]
    penalised = torch.where(values > 0, values / penalty, values * penalty)
    # Of a tiny or a huge penalty come infinities, and of these (less the largest, times 0) what is no number.
    return logits.index_copy(0, seen, penalised.nan_to_num(0.0))


def repeated(read: Sequence[int], size: int) -> set[int]:
    """The tokens that would complete a run of `size` tokens which occurred already."""
    start = list(read[len(read) - size + 1 :])
    last = start[-1] if start else None
    return {
        read[end]
        for end in range(size - 1, len(read))
        if last is None or (read[end - 1] == last and list(read[end - size + 1 : end]) == start)
    }


def forbid(logits: Logits, tokens: Collection[int]) -> Logits:
    """Minus infinity for these tokens; as they were where nothing else would be left."""
    left = logits.index_fill(0, torch.tensor(sorted(tokens), device=logits.device), -torch.inf)
    return left if left.max() > -torch.inf else logits


def force(logits: Logits, token: int) -> Logits:
    """All on one token: 0, and minus infinity for the others."""
    return torch.full_like(logits, -torch.inf).index_fill(0, torch.tensor(token, device=logits.device), 0.0)


def penalise_counts(logits: Logits, written: Sequence[int], frequency: float, presence: float) -> Logits:
    """Take `frequency` off for each time that a token was written, and `presence` once (OpenAI's two penalties)."""
    tokens, counts = torch.tensor(written, device=logits.device).unique(return_counts=True)
    return logits.index_add(0, tokens, -(frequency * counts + presence).to(logits.dtype))


def add_bias(logits: Logits, bias: Mapping[int, float]) -> Logits:
    """Add to the logits of these tokens."""
    tokens = torch.tensor(list(bias), device=logits.device)
    return logits.index_add(0, tokens, torch.tensor(list(bias.values()), dtype=logits.dtype, device=logits.device))


def probabilities(logits: Logits, temperature: float) -> Probabilities:
    """softmax(logits / temperature); temperature 0 is its limit: all on the most probable token."""
    if temperature == 0:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    # The largest taken away first: a tiny temperature would make infinities, and these NaN.
    return torch.softmax((logits - logits.max()).mul_(factor_of(temperature)), dim=0)


def factor_of(temperature: float) -> float:
    """What logits are multiplied with: never infinite."""
    return min(1 / max(temperature, 1e-38), 3e38)


def log_probability(logits: Logits, token: int) -> float:
    """That of one token, natural."""
    return float(logits[token]) - float(logits.logsumexp(0))


def likeliest(logits: Logits, k: int) -> Kept:
    """The k likeliest tokens, and those as likely as the last of them."""
    values = logits.numpy()
    if k >= len(values):
        return np.arange(len(values))
    # The k-th largest of the chunks' maxima is at most the k-th largest of all: what is not below it holds the k.
    whole = len(values) // CHUNK * CHUNK
    maxima = logits[:whole].view(-1, CHUNK).amax(1).numpy()
    lowest = np.partition(maxima, -k)[-k] if len(maxima) > k else -np.inf
    found = np.flatnonzero(values >= lowest)
    best = values[found]
    return found[best >= np.partition(best, -k)[-k]]


def nucleus(p: Probabilities, mass: float) -> Kept:
    """The fewest most probable tokens whose probabilities reach `mass` together."""
    values = p.numpy()
    # Where the tokens above some probability reach the mass, the nucleus is among them, and only they are sorted.
    # Those below the third edge add up to less than 1 - mass.
    for edge in (1e-4, 1e-5, 0.999 * (1 - mass) / len(values), 0.0):
        tokens = np.flatnonzero(values >= edge)
        found = values[tokens]
        falling = np.sort(found)[::-1]  # without places, which would take ten times as long
        total = np.cumsum(falling, dtype=np.float64)
        if len(total) and total[-1] >= mass:
            break
    count = int(np.count_nonzero(total - falling < mass))
    last = falling[count - 1]
    kept = found > last
    kept[np.flatnonzero(found == last)[: count - int(kept.sum())]] = True  # of equals those that come first
    return tokens[kept]


def typical(p: Probabilities, mass: float) -> Kept:
    """The tokens whose surprise -log p is nearest to the expected surprise, as many as reach `mass` together."""
    surprise = -p.log()
    away = (surprise - (p * surprise).nansum()).abs().nan_to_num(torch.inf)
    for count in (1024, len(p)):
        nearest = away.topk(min(count, len(p)), largest=False, sorted=True)
        total = p[nearest.indices].cumsum(0)
        if total[-1] >= mass:
            break
    last = min(int((total < mass).sum()), len(total) - 1)
    return np.flatnonzero(away.numpy() <= float(nearest.values[last]))


def above(p: Probabilities, share: float) -> Kept:
    """The tokens at least `share` times as probable as the most probable one."""
    return np.flatnonzero(p.numpy() >= share * float(p.max()))


def keep_top_k(p: Probabilities, k: int) -> Probabilities:
    """Keep the k most probable tokens, and those as probable as the last of them."""
    return only(p, likeliest(p, k))


def keep_top_p(p: Probabilities, mass: float) -> Probabilities:
    """Keep the fewest most probable tokens whose probabilities reach `mass` together."""
    return p if mass >= 1 else only(p, nucleus(p, mass))  # rounding must not cut the tail


def keep_min_p(p: Probabilities, share: float) -> Probabilities:
    """Keep tokens at least `share` times as probable as the most probable one."""
    return only(p, above(p, share))


def keep_typical(p: Probabilities, mass: float) -> Probabilities:
    """Keep typical tokens. The most probable one may go, and what is kept has another expected surprise: unlike the
    other filters it may keep less when it is applied again."""
    return p if mass >= 1 else only(p, typical(p, mass))


def only(p: Probabilities, kept: Kept) -> Probabilities:
    """Zero for all others."""
    places = torch.from_numpy(kept)
    return torch.zeros_like(p).index_copy(0, places, p[places])


def renormalise(p: Probabilities) -> Probabilities:
    """Make them sum to one again."""
    return p / p.sum()


class RandomStream:
    """Random numbers from 0 to 1, 1 left out: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._left: list[float] = []

    def next(self) -> float:
        """The next one."""
        self._must_have(1)
        return self._left.pop()

    def ahead(self, count: int) -> list[float]:
        """So many that come next, and stay next."""
        self._must_have(count)
        return self._left[: -count - 1 : -1]

    def _must_have(self, count: int) -> None:
        """Several are made at once: a call for each took a fiftieth of SmolLM2's steps."""
        while len(self._left) < count:
            more = torch.rand(32, generator=self._generator, dtype=torch.float64).flip(0).tolist()
            self._left = more + self._left


def draw(p: Probabilities, stream: RandomStream) -> int:
    """One token by its probability, from a single random number."""
    return at_share(p, stream.next())


def at_share(p: Probabilities, at: float) -> int:
    """The token at the share `at` of probabilities laid end to end (inverse of the cumulative distribution)."""
    values, start = p.numpy(), 0
    whole = len(values) // CHUNK * CHUNK
    if len(values) > 32 * CHUNK:  # first which chunk, then which token of it
        sums = np.append(p[:whole].view(-1, CHUNK).sum(1).numpy(), values[whole:].sum()).astype(np.float64)
        total = sums.cumsum()
        at *= total[-1]
        chunk = _first_above(total, at, sums)
        start, at = chunk * CHUNK, (at - (total[chunk] - sums[chunk])) / sums[chunk]
        values = values[start : start + CHUNK] if start < whole else values[whole:]
    total = values.cumsum(dtype=np.float64)
    return start + _first_above(total, at * total[-1], values)


def keep_or_draw(p: Probabilities, guess: int, drawn_from: Probabilities, stream: RandomStream) -> int:
    """A token of distribution p, given a guess of another: kept with probability p / q, else drawn from what p has
    more."""
    at = stream.next()
    if at * float(drawn_from[guess]) < float(p[guess]):
        return guess
    more = (p - drawn_from).clamp(min=0)
    return draw(more, stream) if more.max() > 0 else guess


def _first_above(total: np.ndarray, at: float, parts: np.ndarray) -> int:
    """The first place where a running total is above `at`; rounding must not lead to a part of zero."""
    place = int(total.searchsorted(at, side="right"))
    return place if place < len(parts) and parts[place] > 0 else int(np.flatnonzero(parts)[-1])


def largest(values: Float[Tensor, " values"], count: int) -> tuple[Float[Tensor, " largest"], Int[Tensor, " largest"]]:
    """The largest values and their places, in falling order; all of them where there are fewer than `count`.

    They lie in the chunks with the largest maxima, and only those are sorted: 23 microseconds for 10 of 290,505 values
    where `topk` takes 342.
    """
    whole = len(values) // CHUNK * CHUNK
    chunks = values[:whole].view(-1, CHUNK)
    if len(chunks) <= count:
        found = values.topk(min(count, len(values)))
        return found.values, found.indices
    kept = chunks.amax(dim=1).topk(count).indices
    places = kept[:, None] * CHUNK + torch.arange(CHUNK)
    places = torch.cat([places.flatten(), torch.arange(whole, len(values))])
    found = values[places].topk(count)
    return found.values, places[found.indices]

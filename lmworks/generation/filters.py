"""What a strategy does to the next token's distribution, one small function a step.

Each filter takes probabilities, sets some to zero and leaves the others as they are: applied twice it does no
more than once, and the most probable token always stays. `renormalise` is a step of its own, so that the order
of the steps is all there is to know.
Sources: top-k: Fan et al. 2018; top-p: Holtzman et al. 2019, https://arxiv.org/abs/1904.09751; min-p: Nguyen et
al. 2024, https://arxiv.org/abs/2407.01082; repetition penalty: Keskar et al. 2019, section 4.1; n-grams that come
only once: Paulus et al. 2017, https://arxiv.org/abs/1705.04304, section 2.5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

SMALLEST = torch.finfo(torch.float32).tiny
Logits = Float[Tensor, " vocab"]
Probabilities = Float[Tensor, " vocab"]


def penalise_repetition(logits: Logits, seen: Int[Tensor, " seen"], penalty: float) -> Logits:
    """Divide positive logits of tokens that occurred by `penalty`, multiply negative ones."""
    values = logits[seen]
    return logits.index_copy(0, seen, torch.where(values > 0, values / penalty, values * penalty))


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


def probabilities(logits: Logits, temperature: float) -> Probabilities:
    """softmax(logits / temperature); temperature 0 is its limit: all on the most probable token."""
    if temperature == 0:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    # The largest taken away first, and no smaller divisor than float32 has: what is left is 0, or minus infinity at worst.
    return torch.softmax((logits - logits.max()) / max(temperature, SMALLEST), dim=0)


def keep_top_k(p: Probabilities, k: int) -> Probabilities:
    """Keep the k most probable tokens, and those as probable as the last of them."""
    return torch.where(p >= p.topk(min(k, len(p))).values[-1], p, 0.0)


def keep_top_p(p: Probabilities, mass: float) -> Probabilities:
    """Keep the fewest most probable tokens whose probabilities reach `mass` together."""
    if mass >= 1:  # rounding must not cut the tail
        return p
    # All tokens below this share hold less than 1 - mass together: those above it reach `mass` without them.
    tokens = (p >= (1 - mass) / len(p)).nonzero()[:, 0]
    values, order = p[tokens].sort(descending=True, stable=True)
    kept = tokens[order[values.cumsum(0) - values < mass]]
    return torch.zeros_like(p).index_copy(0, kept, p[kept])


def keep_min_p(p: Probabilities, share: float) -> Probabilities:
    """Keep tokens at least `share` times as probable as the most probable one."""
    return torch.where(p >= share * p.max(), p, 0.0)


def renormalise(p: Probabilities) -> Probabilities:
    """Make them sum to one again."""
    return p / p.sum()


def draw(p: Probabilities, generator: torch.Generator) -> int:
    """One token by its probability, from a single random number (inverse of the cumulative distribution)."""
    tokens = (p > 0).nonzero()[:, 0]
    total = p[tokens].double().cumsum(0)
    at = torch.rand((), generator=generator, dtype=torch.float64) * total[-1]
    return int(tokens[min(int(torch.searchsorted(total, at, right=True)), len(tokens) - 1)])

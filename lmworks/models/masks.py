"""Which keys each query sees: causality, windows, padding and packed documents as one boolean mask.

Where plain causality says everything, there is no mask at all, so that the fast kernels can be used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError


@dataclass(frozen=True)
class Visibility:
    """What each query sees. Without a mask: all keys up to its own, the last query's being the last key (`causal`),
    or all keys."""

    mask: Bool[Tensor, "batch 1 seq keys"] | None
    causal: bool
    bias: Float[Tensor, "batch heads seq keys"] | None = None
    """Added to the scores (positions by distance); minus infinity where `mask`, which is then given too, is False."""

    def biased(self, bias: Float[Tensor, "batch heads seq keys"]) -> Visibility:
        """The same with a bias on the scores of what is seen."""
        mask = self.dense(bias.shape[2], bias.shape[3], bias.device)
        return Visibility(mask, causal=False, bias=bias.masked_fill(~mask, -torch.inf))

    def dense(self, queries: int, keys: int, device: torch.device) -> Bool[Tensor, "batch 1 seq keys"]:
        """The mask written out, also where there is none."""
        if self.mask is not None:
            return self.mask
        every = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=device)
        return every.tril(keys - queries) if self.causal else every


def visibility(
    queries: int,
    keys: int,
    window: int | None,
    real: Bool[Tensor, "batch keys"] | None = None,
    documents: Int[Tensor, "batch keys"] | None = None,
    device: torch.device | str = "cpu",
    causal: bool = True,
    prefix: Bool[Tensor, "batch keys"] | None = None,
) -> Visibility:
    """Build it for the last `queries` of `keys` tokens; not `causal`, they see what comes after them too.

    `window` counts the real tokens that a query sees, itself included (to each side, where it is not causal). `real` is
    False on padding. Tokens of one row with different `documents` don't see each other. Tokens that are True in
    `prefix` are seen by those before them too. Every query sees itself, padding too, so that no row is empty: an empty
    row would be NaN, and NaN spreads.
    """
    if window is not None and window >= keys:
        window = None
    if real is not None and bool(real.all()):
        real = None
    if documents is not None and bool((documents == documents[:, :1]).all()):
        documents = None  # one document a row: plain causality says everything
    if prefix is not None and not bool(prefix.any()):
        prefix = None
    if window is None and real is None and documents is None and prefix is None:
        return Visibility(None, causal=causal and queries > 1)
    query_at = torch.arange(keys - queries, keys, device=device)[:, None]
    key_at = torch.arange(keys, device=device)[None, :]
    mask = (key_at <= query_at)[None] if causal else torch.ones(1, queries, keys, dtype=torch.bool, device=device)
    if prefix is not None:
        mask = mask | prefix[:, None, :]
    if window is not None:
        if real is None:
            back = (query_at - key_at)[None]
        else:  # padding is no distance, also where it lies between a prompt and its answer
            place = real.cumsum(dim=1)
            back = place[:, keys - queries :, None] - place[:, None, :]
        mask = mask & (back.abs() < window)
    if documents is not None:
        stretch = torch.zeros_like(documents)  # a number that comes back is another document: its positions restart too
        stretch[:, 1:] = (documents[:, 1:] != documents[:, :-1]).cumsum(dim=1)
        mask = mask & (stretch[:, keys - queries :, None] == stretch[:, None, :])
    if real is not None:
        mask = mask & real[:, None, :]
    return Visibility((mask | (key_at == query_at)).unsqueeze(1), causal=False)


def memory_visibility(real: Bool[Tensor, "batch keys"] | None) -> Visibility:
    """A decoder's queries and what an encoder made: all tokens of the source that are no padding.

    ConfigError for a row without any: its pattern would be over nothing, which is NaN.
    """
    if real is None or bool(real.all()):
        return Visibility(None, causal=False)
    empty = (~real.any(dim=1)).nonzero()
    if len(empty):
        raise ConfigError(f"row {int(empty[0])} of the source is padding alone; leave it out, or give it a token")
    return Visibility(real[:, None, None, :], causal=False)

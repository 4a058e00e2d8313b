"""Attention computed from its formula alone, in float64, beside the kernels that compute it in one go.

parts = random_parts(tokens=48, head_dim=32, seed=0)
exact = reference(*grouped(parts, case), sees(case, 48))
error = apart(by_kernel("fused", *grouped(parts, case, torch.float32), visible(case, 48)), exact, case, 48)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lmworks.basics.arrays import Bool, Float
from lmworks.models.attention import attend
from lmworks.models.masks import Visibility, visibility

Heads = Float[Tensor, "batch heads seq head_dim"]
KINDS = ("fused", "explicit", "library")
HEADS, BATCH = 4, 3


@dataclass(frozen=True)
class Case:
    """One way of using attention."""

    name: str
    kv_heads: int = HEADS
    window: int | None = None
    padded: bool = False
    packed: bool = False
    masked: bool = True


PLAIN, CAUSAL = Case("all keys", masked=False), Case("causal")
CASES = (
    PLAIN,
    CAUSAL,
    Case("grouped queries", kv_heads=2),
    Case("one key head", kv_heads=1),
    Case("window", window=5),
    Case("padding", padded=True),
    Case("packed documents", packed=True),
    Case("window, padding, groups", 2, 5, True),
)


def reference(query: Heads, key: Heads, value: Heads, sees: Bool[Tensor, "batch seq keys"]) -> Heads:
    """The formula written out in float64: one head and one row at a time, over the keys that it sees."""
    output = torch.zeros_like(query)
    group = query.shape[1] // key.shape[1]
    for row in range(query.shape[0]):
        for head in range(query.shape[1]):
            keys, values = key[row, head // group], value[row, head // group]
            for at in range(query.shape[2]):
                seen = sees[row, at]
                scores = keys[seen] @ query[row, head, at] / query.shape[-1] ** 0.5
                powers = (scores - scores.max()).exp()
                output[row, head, at] = powers @ values[seen] / powers.sum()
    return output


def random_parts(tokens: int, head_dim: int, seed: int) -> tuple[Heads, Heads, Heads]:
    """Query, key and value, rounded to float32 so that all formats start from the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(BATCH, HEADS, tokens, head_dim, generator=generator).double() for _ in range(3))
    return 2 * query, key, value


def grouped(
    parts: tuple[Heads, Heads, Heads], case: Case, dtype: torch.dtype = torch.float64
) -> tuple[Heads, Heads, Heads]:
    """Query, key and value with as many key heads as the case has."""
    query, key, value = (part.to(dtype) for part in parts)
    return query, key[:, : case.kv_heads], value[:, : case.kv_heads]


def _real(tokens: int) -> Bool[Tensor, "batch keys"]:
    """Rows with none, some and half of their tokens as padding on the left."""
    padding = torch.tensor([0, 1, tokens // 2])[:, None]
    return torch.arange(tokens)[None, :] >= padding


def _documents(tokens: int) -> Tensor:
    return (torch.arange(tokens) // max(tokens // 3, 1)).expand(BATCH, tokens)


def visible(case: Case, tokens: int) -> Visibility:
    """What each token sees, as the network builds it."""
    if not case.masked:
        return Visibility(None, causal=False)
    return visibility(
        tokens,
        tokens,
        case.window,
        _real(tokens) if case.padded else None,
        _documents(tokens) if case.packed else None,
    )


def sees(case: Case, tokens: int) -> Bool[Tensor, "batch seq keys"]:
    """The same, said again by its meaning, for the reference."""
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)[None, :]
    seen = (key <= query).expand(BATCH, -1, -1) if case.masked else torch.ones(BATCH, tokens, tokens).bool()
    if case.window is not None:
        seen = seen & (query - key < case.window)
    if case.padded:
        seen = seen & _real(tokens)[:, None, :]
    if case.packed:
        documents = _documents(tokens)
        seen = seen & (documents[:, :, None] == documents[:, None, :])
    return seen | (query == key)


def by_kernel(kind: str, query: Heads, key: Heads, value: Heads, seen: Visibility) -> Heads:
    """Attention by one of this workshop's two kernels, or by PyTorch's own unfused path ("library")."""
    if kind != "library":
        return attend(query, key, value, seen, "fused" if kind == "fused" else "explicit")
    group = query.shape[1] // key.shape[1]
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, 1),
            value.repeat_interleave(group, 1),
            seen.dense(query.shape[2], key.shape[2], query.device),
        )


def apart(output: Tensor, exact: Tensor, case: Case, tokens: int) -> float:
    """The largest difference at real tokens: what stands at padding has no meaning."""
    difference = (output.double() - exact).abs()
    if case.padded:
        difference = difference * _real(tokens)[:, None, :, None]
    return float(difference.max())


def leak(parts: tuple[Heads, Heads, Heads], case: Case, tokens: int) -> float:
    """How much all outputs but the last move when the last token's key and value become others."""
    query, key, value = (x.float() for x in parts)
    before = attend(query, key, value, visible(case, tokens))
    key, value = key.clone(), value.clone()
    key[:, :, -1], value[:, :, -1] = -key[:, :, -1], value[:, :, -1] + 1
    after = attend(query, key, value, visible(case, tokens))
    return float((after - before)[:, :, :-1].abs().max())

"""Question 32: Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V, by the formula, by kernel and by library.

A law of arithmetic: random queries, keys and values. Both kernels of this workshop and PyTorch's own
reference (its unfused math path) are compared with the formula written out, head by head and row by
row, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lmworks.basics import progress
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import measured
from lmworks.models.attention import attend
from lmworks.models.masks import Visibility, visibility

Heads = Float[Tensor, "batch heads seq head_dim"]

KINDS = ("fused", "explicit", "library")


@dataclass(frozen=True)
class Case:
    """One way of using attention; `plain` differs from it in that one switch."""

    name: str
    kv_heads: int = 4
    window: int | None = None
    padded: bool = False
    packed: bool = False
    masked: bool = True


CASES = (
    Case("all keys", masked=False),
    Case("causal"),
    Case("grouped queries", kv_heads=2),
    Case("one key head", kv_heads=1),
    Case("window", window=5),
    Case("padding", padded=True),
    Case("packed documents", packed=True),
    Case("window, padding, groups", 2, 5, True),
)
HEADS, BATCH = 4, 3

WORST = {kind: f"largest error against float64, {kind}" for kind in KINDS}
BFLOAT = "largest error against float64, fused, bfloat16"
SWITCHED = "smallest effect of a switch (mask, groups, window, padding, documents)"
LEAK = "change of earlier outputs when only the last token changes, formula as written"
CAUSAL_LEAK = "the same with the causal mask"


@experiment(
    question=32,
    claim="Attention scores are computed as Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V: the scaled "
    "dot product measures relevance, softmax normalizes it to focus on key tokens.",
    rule=Rule(
        holds_if=(
            *(Check(WORST[kind], "<", 1e-5) for kind in KINDS),
            Check(BFLOAT, "<", 0.05),
            Check(SWITCHED, ">", 1e-2),
            Check(CAUSAL_LEAK, "<", 1e-6),
        ),
        only_if=(
            (
                Check(LEAK, "<", 1e-6),
                "a decoder adds a mask to the scores, which the formula leaves out",
            ),
        ),
    ),
)
def formula(
    tokens: Several = scaled(48, 512), head_dim: Several = scaled(32, 64), seeds: Count = scaled(5, 10)
) -> Observation:
    """Largest differences between the formula and each kernel, with each mask and grouping switched on."""
    errors: dict[str, dict[str, dict[int, float]]] = {kind: {case.name: {} for case in CASES} for kind in KINDS}
    found: dict[str, dict[int, float]] = {name: {} for name in (BFLOAT, SWITCHED, LEAK, CAUSAL_LEAK)}
    with progress.task("attention against float64", seeds, "seeds") as advance:
        for seed in range(seeds):
            parts = _parts(tokens, head_dim, seed)
            exact = {case: reference(*_grouped(parts, case), _sees(case, tokens)) for case in CASES}
            for kind in KINDS:
                for case in CASES:
                    by = _by_kernel(kind, *_grouped(parts, case, torch.float32), _visible(case, tokens))
                    errors[kind][case.name][seed] = _apart(by, exact[case], case, tokens)
            low = {case: attend(*_grouped(parts, case, torch.bfloat16), _visible(case, tokens)) for case in CASES}
            found[BFLOAT][seed] = max(_apart(low[case], exact[case], case, tokens) for case in CASES)
            found[SWITCHED][seed] = min(_largest(exact[case] - exact[CASES[1]]) for case in (CASES[0], *CASES[2:]))
            found[LEAK][seed], found[CAUSAL_LEAK][seed] = (_leak(parts, case, tokens) for case in CASES[:2])
            advance(1)
    measurements = [
        measured(
            WORST[kind],
            {seed: max(by_seed[seed] for by_seed in errors[kind].values()) for seed in range(seeds)},
            ideal=0.0,
        )
        for kind in KINDS
    ]
    measurements += [
        measured(BFLOAT, found[BFLOAT], ideal=0.0),
        measured(SWITCHED, found[SWITCHED]),
        measured(LEAK, found[LEAK]),
        measured(CAUSAL_LEAK, found[CAUSAL_LEAK], ideal=0.0),
    ]
    places = tuple(float(at) for at in range(len(CASES)))
    chart = Chart(
        kind="bars",
        title="Largest error against the formula in float64 (float32 inputs)",
        x_label="",
        y_label="largest absolute error",
        log_y=True,
        categories=tuple(case.name for case in CASES),
        series=tuple(
            Series(
                name=kind,
                x=places,
                y=tuple(max(*by_seed.values(), 1e-12) for by_seed in errors[kind].values()),
            )
            for kind in KINDS
        ),
    )
    return Observation(measurements=tuple(measurements), chart=chart, note=NOTE)


NOTE = (
    "The formula is that of Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1; what is"
    " called an attention score is only Q K^T / sqrt(d_k), the whole is the attention's output. The same "
    "section adds what the short form leaves out: a decoder sets the scores of later tokens to minus "
    "infinity (section 3.2.3). Without that mask each output depends on tokens that come after it."
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


def _parts(tokens: int, head_dim: int, seed: int) -> tuple[Heads, Heads, Heads]:
    """Query, key and value, rounded to float32 so that all formats start from the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(BATCH, HEADS, tokens, head_dim, generator=generator).double() for _ in range(3))
    return 2 * query, key, value


def _grouped(
    parts: tuple[Heads, Heads, Heads], case: Case, dtype: torch.dtype = torch.float64
) -> tuple[Heads, Heads, Heads]:
    query, key, value = (part.to(dtype) for part in parts)
    return query, key[:, : case.kv_heads], value[:, : case.kv_heads]


def _real(tokens: int) -> Bool[Tensor, "batch keys"]:
    """Rows with none, some and half of their tokens as padding on the left."""
    padding = torch.tensor([0, 1, tokens // 2])[:, None]
    return torch.arange(tokens)[None, :] >= padding


def _documents(tokens: int) -> Tensor:
    return (torch.arange(tokens) // max(tokens // 3, 1)).expand(BATCH, tokens)


def _visible(case: Case, tokens: int) -> Visibility:
    """As the network builds it."""
    if not case.masked:
        return Visibility(None, causal=False)
    return visibility(
        tokens,
        tokens,
        case.window,
        _real(tokens) if case.padded else None,
        _documents(tokens) if case.packed else None,
    )


def _sees(case: Case, tokens: int) -> Bool[Tensor, "batch seq keys"]:
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


def _by_kernel(kind: str, query: Heads, key: Heads, value: Heads, sees: Visibility) -> Heads:
    if kind != "library":
        return attend(query, key, value, sees, "fused" if kind == "fused" else "explicit")
    group = query.shape[1] // key.shape[1]
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, 1),
            value.repeat_interleave(group, 1),
            sees.dense(query.shape[2], key.shape[2], query.device),
        )


def _apart(output: Tensor, exact: Tensor, case: Case, tokens: int) -> float:
    """The largest difference at real tokens: what stands at padding has no meaning."""
    difference = (output.double() - exact).abs()
    if case.padded:
        difference = difference * _real(tokens)[:, None, :, None]
    return float(difference.max())


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _leak(parts: tuple[Heads, Heads, Heads], case: Case, tokens: int) -> float:
    """How much all outputs but the last move when the last token's key and value become others."""
    query, key, value = (x.float() for x in parts)
    before = attend(query, key, value, _visible(case, tokens))
    key, value = key.clone(), value.clone()
    key[:, :, -1], value[:, :, -1] = -key[:, :, -1], value[:, :, -1] + 1
    after = attend(query, key, value, _visible(case, tokens))
    return _largest((after - before)[:, :, :-1])

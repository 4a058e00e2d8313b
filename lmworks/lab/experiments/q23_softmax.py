"""Question 23: softmax turns attention scores into a distribution. Where the written formula breaks.

A law of arithmetic, so the scores are random numbers; the softmax is the one that attention here uses,
and float64 is the judge. The formula as people write it, e^x / sum of e^x, is run beside it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics import progress
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import measured
from lmworks.models.attention import attention_pattern

Scores = Float[Tensor, "rows keys"]

SUM, NEGATIVE = "largest distance of a row's sum from 1", "smallest weight"
SHIFT = "largest change of a weight when all scores rise by 1,000 exactly"
ERROR = "largest error of a weight against float64"
ORDER = "pairs of keys whose weights stand in the order of their scores"
LOST = "rows that the formula as written turns into NaN, scores of deviation 100"
FAR, NEAR = (
    "weight of a key that stands out by 5, among 4,096",
    "weight of a key that stands out by 5, among 16",
)


@experiment(
    question=23,
    claim="Softmax normalizes attention scores into a probability distribution, e^x_i / sum_j e^x_j; it "
    "converts raw similarity scores into weights that emphasize relevant tokens.",
    rule=Rule(
        holds_if=(
            Check(SUM, "<", 1e-5),
            Check(NEGATIVE, ">", -1e-12),
            Check(SHIFT, "<", 1e-4),
            Check(ERROR, "<", 1e-5),
            Check(ORDER, ">", 0.999),
            Check(NEAR, ">", 0.5),
        ),
        only_if=(
            (
                Check(LOST, "<", 0.01),
                "the largest score is subtracted before e^x (the formula as written overflows)",
            ),
            (
                Check(FAR, ">", 0.5),
                "the relevant score stands out by more than the logarithm of the number of keys",
            ),
        ),
    ),
)
def distribution(
    rows: Several = scaled(256, 4096), keys: Several = scaled(512, 2048), seeds: Count = scaled(5, 20)
) -> Observation:
    """Sums, signs, shifts, order and accuracy of the safe softmax; overflow of the naive one; sharpness."""
    deviations = (1.0, 10.0, 100.0)
    found: dict[str, dict[int, float]] = {name: {} for name in (SUM, NEGATIVE, SHIFT, ERROR, ORDER, LOST)}
    with progress.task("softmax against float64", seeds, "seeds") as advance:
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            base = torch.randn(rows, keys, generator=generator)
            each = [_laws(base * deviation) for deviation in deviations]
            for name in (SUM, SHIFT, ERROR):
                found[name][seed] = max(laws[name] for laws in each)
            for name in (NEGATIVE, ORDER):
                found[name][seed] = min(laws[name] for laws in each)
            found[LOST][seed] = float(naive_softmax(base * 100).isnan().any(dim=1).double().mean())
            advance(1)
    measurements = [
        measured(name, by_seed, ideal=ideal)
        for (name, by_seed), ideal in zip(found.items(), (0.0, None, 0.0, 0.0, 1.0, 0.0), strict=True)
    ]
    counts = [2**power for power in range(4, 13)]
    curves = {margin: [_relevant_weight(margin, count) for count in counts] for margin in (2.0, 5.0, 10.0)}
    exact = {NEAR: curves[5.0][0], FAR: curves[5.0][-1]}
    measurements += [measured(name, {0: value}).but(seeds=(), n=1) for name, value in exact.items()]
    chart = Chart(
        kind="line",
        title="Weight of the one relevant key by the number of keys",
        log_x=True,
        x_label="keys",
        y_label="weight",
        series=tuple(
            Series(name=f"score {margin:g} above the others", x=tuple(map(float, counts)), y=tuple(weights))
            for margin, weights in curves.items()
        ),
    )
    return Observation(measurements=tuple(measurements), chart=chart, note=NOTE)


NOTE = (
    "The formula in the claim is the naive form: in float32 e^x overflows above 88.7 and a row becomes "
    "NaN. Every library subtracts the row's largest score first, which changes nothing in exact "
    "arithmetic (Goodfellow et al. 2016, Deep Learning, section 4.1). Weights also thin out: n keys with "
    "equal scores and one that is m above them give it e^m / (e^m + n - 1), so emphasis needs a margin "
    "above ln n (Velickovic et al. 2024, https://arxiv.org/abs/2410.01104)."
)


def naive_softmax(scores: Scores) -> Scores:
    """The formula as it is written in books."""
    powers = scores.exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def _laws(scores: Scores) -> dict[str, float]:
    weights, exact = attention_pattern(scores), torch.softmax(scores.double(), dim=-1)
    # Shifting rounds the scores themselves: shift in float64, where it does not, and cast the reference too.
    shifted = attention_pattern((scores.double() + 1000).float())
    rounded = attention_pattern(((scores.double() + 1000).float().double() - 1000).float())
    order = scores.argsort(dim=-1)
    rising = weights.gather(-1, order).diff(dim=-1) >= 0
    return {
        SUM: float((weights.double().sum(dim=-1) - 1).abs().max()),
        NEGATIVE: float(weights.min()),
        SHIFT: float((shifted - rounded).abs().max()),
        ERROR: float((weights - exact).abs().max()),
        ORDER: float(rising.double().mean()),
    }


def _relevant_weight(margin: float, keys: int) -> float:
    scores = torch.zeros(1, keys)
    scores[0, 0] = margin
    return float(attention_pattern(scores)[0, 0])

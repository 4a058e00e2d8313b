"""Question 23: softmax turns attention scores into a distribution. Where the written formula breaks.

A law of arithmetic, so the scores are random numbers; the softmax is the one that attention here uses, and float64 is
the judge. The formula as people write it, e^x / sum of e^x, is run beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.attention import attention_pattern

Scores = Float[Tensor, "rows keys"]

SOFTMAX, WRITTEN = Condition.named("softmax", "the formula as written")
STANDS = {margin: Condition(f"score {margin:g} above the others, keys") for margin in (2.0, 5.0, 10.0)}
FEWEST, MOST = 16, 4096
"""Keys among which one stands out."""
DEVIATIONS = (1.0, 10.0, 100.0)
"""Of the scores."""

DISTANCE = Metric("distance of a row from a distribution, the largest", ideal=0)
ERROR = Metric("error of a weight against float64, the largest", ideal=0)
ORDER = Metric("pairs of keys whose weights stand in the order of their scores", ideal=1)
SHIFT = Metric("change of a weight when all scores rise by 1,000, the largest", ideal=0)
LOST = Metric("rows that turn into NaN, scores of deviation 100", ideal=0)
WEIGHT = Metric("weight of the one relevant key")


@experiment(
    23,
    claim="Softmax normalizes attention scores into a probability distribution, e^x_i / sum_j e^x_j; it converts raw "
    "similarity scores into weights that emphasize relevant tokens.",
    parts=(
        Part("the weights of a row are a distribution: none below 0, their sum 1", DISTANCE, SOFTMAX, below=1e-5),
        Part("it is the one that the formula gives", ERROR, SOFTMAX, below=1e-5),
        Part("a higher score never gets a lower weight", ORDER, SOFTMAX, above=0.999),
        Part(
            "of 16 keys, one whose score is 5 above the others gets most of the weight",
            WEIGHT,
            STANDS[5.0][FEWEST],
            above=0.5,
        ),
        Part(
            "of 4,096 keys, such a one gets most of the weight",
            *(WEIGHT, STANDS[5.0][MOST]),
            above=0.5,
            otherwise="weights thin out with the number of keys: a score has to stand out by more than its logarithm",
        ),
    ),
    also=(
        Part("adding the same to all scores changes nothing", SHIFT, SOFTMAX, below=1e-4),
        Part("the formula survives in float32 as it is written", LOST, WRITTEN, below=0.01),
    ),
    picture=Lines(
        WEIGHT,
        of=tuple(STANDS.values()),
        x="keys",
        title="Weight of the one relevant key",
        log_x=True,
    ),
    headlines={"yyyyn": "Softmax makes a true distribution; among thousands of keys a high score gets little."},
    not_true_when="the formula is computed as it is written: in float32 e^x overflows above 88.7, and a row becomes "
    "NaN; every library subtracts the row's largest score first",
    note="Random scores of three deviations, 1, 10 and 100; a figure is that of the worst row. Subtracting the largest "
    "score changes nothing in exact arithmetic (Goodfellow et al. 2016, Deep Learning, section 4.1). n keys with equal "
    "scores and one that is m above them give it e^m / (e^m + n - 1), so that emphasis needs a margin above ln n "
    "(Velickovic et al. 2024, https://arxiv.org/abs/2410.01104).",
)
def distribution(run: Run, rows: Several = scaled(256, 4096), keys: Several = scaled(512, 2048)) -> None:
    """Sums, signs, order, shifts and accuracy of softmax; overflow of the formula; sharpness by the number of keys."""
    for fixed in run.once():
        scores = torch.randn(rows, keys, generator=torch.Generator().manual_seed(0))
        each = [_laws(scores * deviation) for deviation in DEVIATIONS]
        worst = {one: max(laws[one] for laws in each) for one in (DISTANCE, ERROR, SHIFT)}
        lost = {LOST: _lost(attention_pattern(scores * DEVIATIONS[-1]))}
        run.log(fixed, SOFTMAX, worst | {ORDER: min(laws[ORDER] for laws in each)} | lost)
        run.log(fixed, WRITTEN, {LOST: _lost(written_softmax(scores * DEVIATIONS[-1]))})
        for margin, stands in STANDS.items():
            for count in (2**power for power in range(4, 13)):
                run.log(fixed, stands[count], {WEIGHT: relevant_weight(margin, count)})


def written_softmax(scores: Scores) -> Scores:
    """The formula as it is written in books."""
    powers = scores.exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def _lost(weights: Scores) -> float:
    return float(weights.isnan().any(dim=1).double().mean())


def _laws(scores: Scores) -> dict[Metric, float]:
    weights, exact = attention_pattern(scores), torch.softmax(scores.double(), dim=-1)
    # Shifting rounds the scores themselves: shift in float64, where it does not, and cast the reference too.
    shifted = attention_pattern((scores.double() + 1000).float())
    rounded = attention_pattern(((scores.double() + 1000).float().double() - 1000).float())
    rising = weights.gather(-1, scores.argsort(dim=-1)).diff(dim=-1) >= 0
    return {
        DISTANCE: max(float((weights.double().sum(dim=-1) - 1).abs().max()), -float(weights.min())),
        SHIFT: float((shifted - rounded).abs().max()),
        ERROR: float((weights - exact).abs().max()),
        ORDER: float(rising.double().mean()),
    }


def relevant_weight(margin: float, keys: int) -> float:
    """The weight of a key whose score is `margin` above all others'."""
    scores = torch.zeros(1, keys)
    scores[0, 0] = margin
    return float(attention_pattern(scores)[0, 0])

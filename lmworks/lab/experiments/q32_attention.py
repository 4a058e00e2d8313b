"""Question 32: Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V, by the formula, by kernel and by library.

A law of arithmetic: random queries, keys and values. Both kernels of this workshop and PyTorch's own reference are
compared with the formula written out, head by head and row by row, in float64.
"""

from __future__ import annotations

import torch

from lmworks.basics import progress
from lmworks.lab.bench.attention_formula import (
    CASES,
    CAUSAL,
    KINDS,
    PLAIN,
    apart,
    by_kernel,
    grouped,
    leak,
    random_parts,
    reference,
    sees,
    visible,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.attention import attention_pattern, attention_scores

FUSED, EXPLICIT, LIBRARY = Condition.named(*KINDS)
BFLOAT, SWITCHED, SOFTMAX = Condition.named("fused, bfloat16 alone", "another mask", "softmax")
AS_WRITTEN, MASKED = Condition.named("the formula as it is written", "with the causal mask")
ERROR = Metric("largest distance from the formula in float64", ideal=0)
SUM = Metric("largest distance of a query's weights from a sum of 1", ideal=0)
ORDER = Metric("queries whose likeliest key is the one with the highest score", ideal=1)
LEAK = Metric("change of earlier outputs when the last token changes")


@experiment(
    32,
    claim="Attention scores are computed as Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V: the scaled dot product "
    "measures relevance, and softmax normalizes it to focus on key tokens.",
    # float32 has 7 digits, and sums of some hundred products lose one or two of them.
    parts=(
        Part("the fused kernel computes the formula", ERROR, FUSED, below=1e-5),
        Part("so does the kernel that holds every score", ERROR, EXPLICIT, below=1e-5),
        Part("so does PyTorch's own reference", ERROR, LIBRARY, below=1e-5),
        Part("softmax makes weights that sum to 1", SUM, SOFTMAX, below=1e-5),
        Part("the key with the highest score gets the largest weight", ORDER, SOFTMAX, above=0.999),
    ),
    also=(
        Part("in bfloat16 two digits are right", ERROR, BFLOAT, below=0.05),
        Part("by the formula as it is written, outputs depend on later tokens", LEAK, AS_WRITTEN, above=1e-6),
        Part("with a causal mask they do not", LEAK, MASKED, below=1e-6),
    ),
    requires=(Requirement("every mask and grouping changes the outputs", ERROR, SWITCHED, above=1e-2),),
    picture=Bars(ERROR, of=(FUSED, EXPLICIT, LIBRARY), title="Largest error, by mask and grouping", log_y=True),
    headlines={"yyyyy": "Three kernels compute the formula to five digits; the highest score gets the most weight."},
    not_true_when="a decoder adds a mask to the scores, which the formula leaves out; without it, outputs depend on "
    "later tokens",
    not_tested="whether the tokens with high scores are the relevant ones (claim 24)",
    note="Random queries, keys and values; the largest error over eight masks and groupings. The formula is that of "
    "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1; what is called an attention score is only "
    "Q K^T / sqrt(d_k), the whole is the attention's output. Section 3.2.3 adds the mask: scores of later tokens are "
    "minus infinity.",
)
def formula(
    run: Run, tokens: Several = scaled(48, 512), head_dim: Several = scaled(32, 64), draws: Count = scaled(5, 10)
) -> None:
    """Largest differences between the formula and each kernel, with each mask and grouping switched on."""
    for fixed in run.once():
        found: dict[Condition, list[float]] = {}
        with progress.task("attention against float64", draws, "draws") as advance:
            for seed in range(draws):
                for condition, error in _errors(tokens, head_dim, seed).items():
                    found.setdefault(condition, []).append(error)
                advance(1)
        for condition, errors in found.items():
            run.log(fixed, condition, {ERROR: min(errors) if condition == SWITCHED else max(errors)})
        parts = [random_parts(tokens, head_dim, seed) for seed in range(draws)]
        run.log(fixed, AS_WRITTEN, {LEAK: max(leak(one, PLAIN, tokens) for one in parts)})
        run.log(fixed, MASKED, {LEAK: max(leak(one, CAUSAL, tokens) for one in parts)})
        scores = torch.stack(
            [attention_scores(query.float(), key.float(), visible(PLAIN, tokens)) for query, key, _ in parts]
        )
        weights = attention_pattern(scores)
        agree = (weights.argmax(-1) == scores.argmax(-1)).double().mean()
        run.log(fixed, SOFTMAX, {SUM: float((weights.sum(-1) - 1).abs().max()), ORDER: float(agree)})


def _errors(tokens: int, head_dim: int, seed: int) -> dict[Condition, float]:
    """The largest error of each kernel, by case and over all of them, and the least that a mask or grouping changes."""
    parts = random_parts(tokens, head_dim, seed)
    exact = {case: reference(*grouped(parts, case), sees(case, tokens)) for case in CASES}
    found: dict[Condition, float] = {}
    for condition in (FUSED, EXPLICIT, LIBRARY):
        for case in CASES:
            output = by_kernel(condition.name, *grouped(parts, case, torch.float32), visible(case, tokens))
            found[condition[case.name]] = apart(output, exact[case], case, tokens)
        found[condition] = max(found[condition[case.name]] for case in CASES)
    low = {case: by_kernel("fused", *grouped(parts, case, torch.bfloat16), visible(case, tokens)) for case in CASES}
    found[BFLOAT] = max(apart(low[case], exact[case], case, tokens) for case in CASES)
    found[SWITCHED] = min(float((exact[case] - exact[CAUSAL]).abs().max()) for case in CASES if case != CAUSAL)
    return found

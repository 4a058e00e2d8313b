"""Question 18: L1, L2, dropout and early stopping against overfitting, each alone and all together.

Small networks learn a small piece of real text by heart. The strength of each remedy is chosen on text of its own, with
a piece that is not judged; what is judged is other text again. Early stopping watches the text for choosing, too.
"""

from __future__ import annotations

import numpy as np

from lmworks.lab.bench.remedies import Curve, Remedy, Setting, chosen, trained
from lmworks.lab.bench.small_network import BYTES, byte_text
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LN_2
from lmworks.models.relatives.ngram import Ngram

NOTHING, EARLY, LASSO, COUPLED, DECOUPLED, DROPOUT, TOGETHER = Condition.named(
    "nothing", "early stopping", "L1", "L2", "decoupled L2", "dropout", "all together"
)
FREQUENCIES = Condition("byte frequencies alone")
BEST, LAST = "best checkpoint", "last step"
OTHER = Metric("other text", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
GAP = Metric("other text minus the text learnt from", "bits/byte")
STEPS = Metric("share of the steps that early stopping took")
STRENGTH = Metric("strength")
SHARES = (0.25, 0.5, 1.0)
"""All together are tried with these shares of the strength that each has alone."""
PATIENCE = 3
SWEEP = 0
"""The seed that strengths are chosen with."""


def _mitigates(says: str, remedy: Condition, otherwise: str) -> Part:
    """Judged by the best checkpoint of each run, as anybody who watches held-out text would keep it."""
    return Part(says, OTHER, remedy[BEST] - NOTHING[BEST], below=0, otherwise=otherwise)


@experiment(
    18,
    claim="Overfitting occurs when a model memorizes training data and fails to generalize; regularization "
    "(L1/L2 penalties), dropout and early stopping mitigate it.",
    parts=(
        Part("a network that learns a small text by heart does not generalise to other text", GAP, NOTHING, above=0.3),
        Part("early stopping beats the last step", OTHER, EARLY[BEST] - NOTHING[LAST], below=0),
        _mitigates("an L1 penalty beats the best checkpoint without one", LASSO, "L1 only puts overfitting off"),
        _mitigates("an L2 penalty beats the best checkpoint without one", COUPLED, "L2 only puts overfitting off"),
        _mitigates("dropout beats the best checkpoint without it", DROPOUT, "dropout only puts overfitting off"),
    ),
    also=(
        _mitigates("decoupled weight decay beats the best checkpoint without it", DECOUPLED, ""),
        _mitigates("all together beat the best checkpoint without any", TOGETHER, ""),
        *(
            Part(f"{one.name} lowers the loss of the last step", OTHER, one[LAST] - NOTHING[LAST], below=0)
            for one in (LASSO, COUPLED, DECOUPLED, DROPOUT, TOGETHER)
        ),
    ),
    requires=(
        Requirement(
            "at its best the network beats byte frequencies by far", OTHER, NOTHING[BEST] - FREQUENCIES, below=-0.3
        ),
    ),
    picture=Lines(
        OTHER,
        of=(NOTHING, LASSO, COUPLED, DECOUPLED, DROPOUT, TOGETHER),
        x="steps",
        title="Other text, while a small text is learnt by heart",
    ),
    not_true_when="text is read once, as large models read most of theirs: they underfit rather "
    "(https://arxiv.org/abs/2203.15556). And decoupled weight decay, which is no penalty in the loss, beats the best "
    "checkpoint without it.",
    headlines={
        "yy???": "A small text is learnt by heart, and early stopping ends that; whether penalties in the loss or "
        "dropout do more is open."
    },
    not_tested="remedies in large models; rates chosen anew for each remedy.",
    note="Each run's best checkpoint is that of the lowest loss on the text for choosing, the baseline's included: a "
    "remedy has to do more than early stopping does without it. Strengths are chosen by the same, with a piece of text "
    "that is not judged; all runs share one rate and schedule. L1 and L2 act through the gradient, which Adam scales "
    "for each weight; decoupled decay does not pass through it (https://arxiv.org/abs/1711.05101). A smaller gap alone "
    "may come from learning less.",
)
def overfitting(
    run: Run,
    text: str = "tinyshakespeare",
    train_bytes: Several = 6_000,
    steps: Several = scaled(320, 600),
    dim: Several = 96,
    rows: Count = 8,
    l1: tuple[float, ...] = scaled((1e-5, 3e-5), (1e-5, 3e-5, 1e-4)),
    l2: tuple[float, ...] = scaled((1e-3, 3e-3), (1e-3, 3e-3, 1e-2)),
    decay: tuple[float, ...] = scaled((1.0, 3.0), (0.3, 1.0, 3.0)),
    dropout: tuple[float, ...] = scaled((0.05, 0.1), (0.05, 0.1, 0.2)),
) -> None:
    """Loss on other text along each run, at its best checkpoint and at its last step; the gap to the text learnt."""
    setting = Setting(byte_text(text), train_bytes, steps, dim, rows)
    grids = {
        LASSO: [Remedy(l1=one) for one in l1],
        COUPLED: [Remedy(l2=one) for one in l2],
        DECOUPLED: [Remedy(decay=one) for one in decay],
        DROPOUT: [Remedy(dropout=one) for one in dropout],
    }
    remedies = {NOTHING: Remedy()} | {name: chosen(setting, grid, SWEEP) for name, grid in grids.items()}
    every = Remedy()
    for remedy in remedies.values():
        every = every.with_all_of(remedy)
    remedies[TOGETHER] = chosen(setting, [every.weaker(share) for share in SHARES], SWEEP)
    for fixed in run.once():
        for name in grids:
            run.log(fixed, name, {STRENGTH: remedies[name].strength})
    for seed in run.seeds:
        run.log(seed, FREQUENCIES, {OTHER: _by_frequencies(setting, seed)})
        for name, remedy in remedies.items():
            _log(run, seed, name, trained(setting, remedy, seed))
        early = trained(setting, Remedy(), seed, PATIENCE)
        run.log(seed, EARLY, {GAP: early.end - early.train, STEPS: early.steps[-1] / steps})
        run.log(seed, EARLY[BEST], {OTHER: early.end})


def _log(run: Run, seed: int, name: Condition, curve: Curve) -> None:
    run.log(seed, name, {GAP: curve.end - curve.train})
    run.log(seed, name[BEST], {OTHER: curve.at_best})
    run.log(seed, name[LAST], {OTHER: curve.end})
    for step, bits in zip(curve.steps, curve.held_out, strict=True):
        run.log(seed, name[step], {OTHER: bits})


def _by_frequencies(setting: Setting, seed: int) -> float:
    """Bits per byte of the judged text by how often each byte stands in the text learnt from."""
    counted = Ngram.train([setting.piece(seed).numpy()], BYTES, 1)
    return -float(np.mean(counted.score(setting.data.held_out.numpy()))) / LN_2

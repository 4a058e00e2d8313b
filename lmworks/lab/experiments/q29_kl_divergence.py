"""Question 29: KL divergence. Does it measure the distance to a true distribution, and does tuning show in it?

Laws on drawn distributions, in float64. Then a network that knows one source is tuned on another whose true
distribution is known, so that KL to the truth can be told and not only its cross-entropy. Then a second text after a
first, for longer and longer: KL from the base on the new text, beside what is forgotten of the old one.
"""

from __future__ import annotations

import math

import numpy as np

from lmworks.evaluation import statistics
from lmworks.lab.bench.known_source import Source, cross_entropy, divergence, entropy, predicted
from lmworks.lab.bench.second_texts import CONTEXT, FULL, TwoTexts
from lmworks.lab.bench.small_network import held_out_logits, small_network, train, windows
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.training.settings import TrainingConfig

EQUAL, OTHERS, TURNED = Condition.named("equal distributions", "other distributions", "the two exchanged")
KL = Metric("smallest KL of drawn pairs", "bits", ideal=0)
EXCESS = Metric("largest distance of KL from the cross-entropy in excess of the entropy", "bits", ideal=0)
CHANGED = Metric("how much KL changes when the two are exchanged, on average", "bits")
BEFORE, AFTER = Condition.named("before tuning", "after tuning")
TRUTH = Metric("KL from the true distribution", "bits", margin=0.02, ideal=0)
TUNED = Condition("tuned")
FORETOLD = Metric("rank correlation of KL from the base with what is forgotten", chance=0, ideal=1)
FORGOTTEN = Metric("forgotten of the first text", "bits/byte", ideal=0)
FROM_BASE = Metric("KL from the base on the second text", "bits/byte")
LEARNT, OTHER = 50_000, 10_000
"""Symbols of a source that are learnt; what the seed of another source is away."""


@experiment(
    29,
    claim="KL divergence quantifies the difference between two probability distributions, as the sum of P(x) log "
    "P(x)/Q(x); it is used to evaluate how closely model predictions match true distributions during fine-tuning.",
    parts=(
        Part("it is nothing between equal distributions", KL, EQUAL, below=1e-12),
        Part("and more than nothing between others", KL, OTHERS, above=0.001),
        Part("it is what cross-entropy has in excess of the entropy", EXCESS, OTHERS, below=1e-9),
        Part("tuning on a text brings predictions nearer to its true distribution", TRUTH, AFTER - BEFORE, below=0),
    ),
    also=(
        Part("it is no distance: exchanged it is another", CHANGED, TURNED, above=0.05),
        Part("KL from the base on the new text foretells what is forgotten of the old", FORETOLD, TUNED, above=0.5),
    ),
    headlines={"yyyy": "KL is what cross-entropy has in excess of the entropy, and tuning on a text lowers it."},
    picture=Lines(FORGOTTEN, of=(TUNED,), x="steps of tuning", title="Forgotten, as tuning goes on", log_x=True),
    not_true_when="the true distribution is that of real text: nobody knows it, so what is measured there is "
    "cross-entropy, which has the text's entropy in it, or KL to another model",
    not_tested="whether KL foretells forgetting between ways of tuning, and not only as one way goes on, where both "
    "grow with the steps; KL as a penalty of tuning (`lmworks forget`) and of preferences (docs/preferences.md)",
    note="Distributions of 32 symbols drawn by Dirichlet. A source draws each symbol by the one before it; a network "
    "that has learnt one source is tuned on another for as many steps. On text, tuning goes on for longer and longer "
    "from one base; KL foretells forgetting: Shenfeld et al. 2025, https://arxiv.org/abs/2509.04259.",
    minutes=15,
)
def kl_divergence(
    run: Run,
    old: str = "tinyshakespeare",
    new: str = "multi30k-validation-de",
    symbols: Several = 32,
    pairs: Count = 200,
    dim: Several = scaled(32, 64),
    steps: Several = scaled(100, 400),
    lengths: tuple[int, ...] = scaled((5, 10, 20, 40), (10, 20, 40, 80, 160)),
    judged: Several = scaled(60, 200),
) -> None:
    """Laws, a known source, and tuning for longer and longer."""
    texts = TwoTexts.read(old, new, judged)
    for fixed in run.once():
        drawn = np.random.default_rng(0).dirichlet([0.5] * symbols, (2, pairs))
        one, other = drawn
        far = divergence(one, other)
        run.log(fixed, EQUAL, {KL: float(np.abs(divergence(one, one)).max())})
        run.log(fixed, OTHERS, {KL: float(far.min())})
        run.log(fixed, OTHERS, {EXCESS: float(np.abs(far - (cross_entropy(one, other) - entropy(one))).max())})
        run.log(fixed, TURNED, {CHANGED: float(np.abs(far - divergence(other, one)).mean())})
    for seed in run.seeds:
        _log_source(run, seed, symbols, dim, steps, judged)
        base = texts.first_learnt(steps, dim, seed)
        before, known = texts.scores(base).means[0], held_out_logits(base, texts.new.held_out, judged)[0]
        moved, forgotten = [], []
        for length in lengths:
            tuned = texts.second(base, length, seed).tuned(FULL)
            logits = held_out_logits(tuned, texts.new.held_out, judged)[0]
            likely = known.double().log_softmax(-1)
            kl = (likely.exp() * (likely - logits.double().log_softmax(-1))).sum(-1).mean()
            moved.append(float(kl) / math.log(2))
            forgotten.append(texts.scores(tuned).means[0] - before)
            run.log(seed, TUNED[length], {FORGOTTEN: forgotten[-1], FROM_BASE: moved[-1]})
        run.log(seed, TUNED, {FORETOLD: statistics.spearman(moved, forgotten).value})


def _log_source(run: Run, seed: int, symbols: int, dim: int, steps: int, judged: int) -> None:
    first, second = Source.drawn(symbols, seed), Source.drawn(symbols, seed + OTHER)
    network = small_network(seed, dim=dim, context=CONTEXT, vocab_size=symbols)
    config = TrainingConfig(steps=steps, rows=16, learning_rate=3e-3, seed=seed)
    train(network, first.text(LEARNT, seed), config)
    heard = second.text(judged * (CONTEXT + 1), seed + 2 * OTHER)
    for condition in (BEFORE, AFTER):
        if condition is AFTER:
            train(network, second.text(LEARNT, seed + OTHER), config)
        found = [
            divergence(second.following[rows[:, :-1].numpy()], predicted(network, rows[:, :-1])).mean(1)
            for rows in windows(heard, CONTEXT, judged)
        ]
        bits = np.concatenate(found).tolist()
        run.log(seed, condition, {TRUTH: bits})

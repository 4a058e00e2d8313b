"""Intervals cover what they say they do, for each way that seeds and items lie to each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.lab.contrast import Condition, average
from lmworks.lab.intervals import CROSSED, EXACT, ITEMS, NESTED, estimate
from lmworks.lab.metric import Metric
from lmworks.lab.table import FIXED, Logged, Table

OURS, THEIRS = Condition.named("ours", "theirs")
SCORE, BITS = Metric("score"), Metric("bits")
REPETITIONS = 1000
# 0.95 with 1,000 repetitions is known to +-0.014 (two standard errors): 93 to 97 % leaves room for that.
COVERS = (0.93, 0.97)
SEEDS = [4, 8, pytest.param(16, marks=pytest.mark.slow)]  # few are what is hard


@cache
def names(count):
    return tuple(f"item {at}" for at in range(count))


def crossed_table(draw, seeds, items, deviations):
    """Two conditions whose difference has a part of the seed, of the item, and of both; its mean is 0."""
    of_seed, of_item, rest = deviations
    table, item_part = Table(), draw.normal(0, of_item, items)
    level = draw.normal(0, 3, items)  # what items share under both conditions and pairing takes out
    for seed in range(seeds):
        difference = draw.normal(0, of_seed) + item_part + draw.normal(0, rest, items)
        keep(table, seed, theirs=level, ours=level + difference)
    return table


def keep(table, seed, shared=True, **values):
    """What `add` does without its checks and rounding, which take longer than the interval."""
    for name, numbers in values.items():
        counts = np.ones((len(numbers), 2))
        counts[:, 0] = numbers
        table.entries["score", name, seed] = Logged(counts, names(len(numbers)) if shared else None)


def share_covered(make, seeds, true=0.0):
    """How often the interval of a table that `make(draw)` makes holds the true difference; the design found."""
    held, designs = 0, set()
    for repetition in range(REPETITIONS):
        found = estimate(make(np.random.default_rng(repetition)), SCORE, OURS - THEIRS, range(seeds))
        assert found.interval is not None
        held += found.interval[0] <= true <= found.interval[1]
        designs.add(found.design)
    assert len(designs) == 1
    return held / REPETITIONS, designs.pop()


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("deviations", [(1.0, 5.0, 10.0), (0.3, 3.0, 3.0), (1.0, 0.0, 1.0)])
def test_shared_items_are_covered_as_often_as_it_says(seeds, deviations):
    covered, design = share_covered(lambda draw: crossed_table(draw, seeds, 40, deviations), seeds)
    assert design == CROSSED and COVERS[0] <= covered <= COVERS[1]


@pytest.mark.parametrize("seeds", SEEDS)
def test_items_of_each_seed_are_covered_as_often_as_it_says(seeds):
    def make(draw):
        table = Table()
        for seed in range(seeds):
            theirs = draw.normal(0, 1, 20)
            keep(table, seed, shared=False, theirs=theirs, ours=draw.normal(draw.normal(0, 0.5), 1, 20))
        return table

    covered, design = share_covered(make, seeds)
    assert design == NESTED and COVERS[0] <= covered <= COVERS[1]


def test_documents_of_a_fixed_model_are_covered_as_often_as_it_says():
    """Bits of documents of very different length, over their bytes: the jackknife of a ratio."""

    def make(draw):
        sizes = draw.gamma(2.0, 500.0, 60) + 50
        table = Table()
        for name in ("ours", "theirs"):
            bits = sizes * (1 + draw.normal(0, 0.2, 60))
            table.add(FIXED, name, "score", np.stack([bits, sizes], axis=1), names(60))
        return table

    covered, design = share_covered(make, 0)
    assert design == ITEMS and COVERS[0] <= covered <= COVERS[1]


def test_a_difference_of_means_has_its_paired_differences_as_pseudo_values():
    """One seed, plain values: Student's t of the paired differences, written out."""
    draw, table = np.random.default_rng(0), Table()
    ours, theirs = draw.normal(1, 1, 30), draw.normal(0, 1, 30)
    table.add(FIXED, "ours", "score", ours, names(30))
    table.add(FIXED, "theirs", "score", theirs, names(30))
    found, by_hand = estimate(table, SCORE, OURS - THEIRS, ()), statistics.over_seeds(ours - theirs)
    assert found.value == pytest.approx(by_hand.value, abs=1e-6)
    assert found.interval == pytest.approx(by_hand.interval, abs=1e-6)


def test_items_that_only_one_condition_has_are_compared_as_two_samples():
    """Their variances add up, as Welch's do."""
    draw, table = np.random.default_rng(1), Table()
    ours, theirs = draw.normal(1, 1, 400), draw.normal(0, 3, 300)
    table.add(FIXED, "ours", "score", ours, [f"a{at}" for at in range(400)])
    table.add(FIXED, "theirs", "score", theirs, [f"b{at}" for at in range(300)])
    found = estimate(table, SCORE, OURS - THEIRS, ())
    assert found.value == pytest.approx(ours.mean() - theirs.mean(), abs=1e-6)
    half = 1.963 * (ours.var(ddof=1) / 400 + theirs.var(ddof=1) / 300) ** 0.5
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.01)


def test_the_mean_of_conditions_and_a_ratio():
    table = Table()
    for seed, values in enumerate([(2.0, 4.0, 1.5), (2.2, 4.4, 1.65), (2.1, 4.2, 1.575)]):
        for name, value in zip(("ours, a", "ours, b", "theirs"), values, strict=True):
            table.add(seed, name, "score", value)
    found = estimate(table, SCORE, average([OURS["a"], OURS["b"]]) - THEIRS, range(3))
    assert found.value == pytest.approx(3.15 - 1.575)
    ratio = estimate(table, SCORE, OURS["a"] / THEIRS, range(3))
    assert ratio.value == pytest.approx(4 / 3) and ratio.interval == pytest.approx((4 / 3, 4 / 3))
    with pytest.raises(ConfigError, match="ratios cannot be subtracted"):
        OURS / THEIRS - OURS
    with pytest.raises(ConfigError, match="divide single conditions"):
        (OURS - THEIRS) / OURS


def test_one_value_is_exact_and_one_seed_has_no_interval():
    table = Table()
    table.add(FIXED, "ours", "score", 3.0)
    table.add(0, "theirs", "score", 2.0)
    exact = estimate(table, SCORE, OURS, ())
    assert (exact.value, exact.interval, exact.design) == (3.0, None, EXACT)
    alone = estimate(table, SCORE, OURS - THEIRS, [0])
    assert (alone.value, alone.interval, alone.design) == (1.0, None, NESTED)


def test_a_share_of_all_items_is_not_certain():
    """All of 50 right leaves a rate of 7 % wrong possible (Clopper and Pearson 1934)."""
    table = Table()
    table.add(FIXED, "ours", "score", np.ones(50), names(50))
    low, high = estimate(table, SCORE, OURS, ()).interval or (0, 0)
    assert (low, high) == (pytest.approx(0.9289, abs=1e-4), 1.0)


def test_an_interval_of_a_share_stays_between_0_and_1_and_a_difference_goes_below():
    table, copied = Table(), Metric("copied", share=True)
    for name, values in {"ours": [0.0, 0.0, 0.02], "theirs": [1.0, 0.97, 1.0]}.items():
        for metric in (copied, SCORE):
            table.add(FIXED, name, metric.name, values, names(3))
    for one, low, high in ((OURS, True, False), (THEIRS, False, True)):
        wide, within = (estimate(table, metric, one, ()).interval for metric in (SCORE, copied))
        assert wide is not None and (wide[0] < 0, wide[1] > 1) == (low, high)
        assert within == (max(wide[0], 0.0), min(wide[1], 1.0))
    assert estimate(table, copied, OURS - THEIRS, ()) == estimate(table, SCORE, OURS - THEIRS, ())


def test_bleu_of_counts_is_sacrebleus(tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    from lmworks.lab.bench.translators import BLEU, bleu_counts

    answers = ["the cat sat on the mat", "a dog runs in the snow", "nothing at all", ""]
    references = ["the cat sat on a mat", "the dog runs through the snow", "two men at a table", "a word"]
    counts = bleu_counts(answers, list(zip(answers, references, strict=True)))
    expected = sacrebleu.corpus_bleu(answers, [references]).score
    assert float(BLEU.of(counts.sum(0))) == pytest.approx(expected, abs=1e-9)
    table = Table()
    table.add(0, "ours", "BLEU", counts, names(4))
    table.add(1, "ours", "BLEU", counts, names(4))
    assert estimate(table, BLEU, OURS, (0, 1)).value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "items", "sentence"),
    [
        ([1.0, float("nan")], None, "NaN or infinite"),
        ([1.0, 2.0], ["a"], "2 values for 1 different items"),
        ([1.0, 2.0], ["a", "a"], "2 values for 1 different items"),
        ([], None, "the shape [0]"),
    ],
)
def test_what_cannot_be_logged_is_refused(values, items, sentence):
    with pytest.raises(ConfigError) as raised:
        Table().add(0, "ours", "score", values, items)
    assert sentence in str(raised.value) and "seed 0" in str(raised.value)


def test_a_condition_that_was_not_logged_is_named():
    table = Table()
    table.add(0, "theirs", "score", 1.0)
    with pytest.raises(ConfigError, match="no 'score' was logged for 'ours', seed 0; there is theirs"):
        estimate(table, SCORE, OURS - THEIRS, [0])
    with pytest.raises(ConfigError, match="logged twice"):
        table.add(0, "theirs", "score", 2.0)

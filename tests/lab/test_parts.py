"""Parts get their verdicts from intervals, at looks, and only where the comparison means something."""

from __future__ import annotations

import numpy as np
import pytest

from lmworks.basics.errors import ConfigError
from lmworks.lab.contrast import Condition
from lmworks.lab.finding import counted, sentence
from lmworks.lab.metric import Metric
from lmworks.lab.parts import FULL_LOOKS, QUICK_LOOKS, Looks, Part, Requirement, judge, open_parts
from lmworks.lab.table import FIXED, Logged, Table
from lmworks.lab.verdict import FAILS, HOLDS, OPEN, SAME, UNTESTED, PartResult

OURS, THEIRS = Condition.named("ours", "theirs")
SCORE = Metric("score", "points", margin=0.5)
BETTER = Part("ours is better", SCORE, OURS - THEIRS, above=0)


def table_of(differences, **options):
    table = Table()
    for seed, one in enumerate(differences):
        table.add(seed, "theirs", "score", 10.0)
        table.add(seed, "ours", "score", 10.0 + one, **options)
    return table


def verdict_of(part, differences, looks=QUICK_LOOKS, checks=()):
    (found,) = judge([part], checks, table_of(differences), looks, range(len(differences)))
    return found


@pytest.mark.parametrize(
    ("part", "interval", "verdict"),
    [
        (BETTER, (0.1, 3.3), HOLDS),
        (BETTER, (-3.3, -0.1), FAILS),
        (BETTER, (-0.4, 0.4), SAME),
        (BETTER, (0.1, 0.4), SAME),  # more, and not worth a word
        (BETTER, (-0.4, 0.6), OPEN),
        (Part("", SCORE, OURS - THEIRS, below=0), (-3, -1), HOLDS),
        (Part("", SCORE, OURS - THEIRS, below=0), (1, 3), FAILS),
        (Part("", SCORE, OURS - THEIRS, above=2), (-0.4, 0.4), FAILS),  # a margin is about no difference
        (Part("", SCORE, OURS, above=0.5), (0.4, 0.45), FAILS),
        (Part("", SCORE, OURS, between=(0.9, 1.1)), (0.95, 1.05), HOLDS),
        (Part("", SCORE, OURS, between=(0.9, 1.1)), (0.85, 1.05), OPEN),
        (Part("", SCORE, OURS, between=(0.9, 1.1)), (1.2, 1.3), FAILS),
        (Part("", SCORE, OURS / THEIRS, above=1, margin=0.05), (0.97, 1.04), SAME),
        (Part("", SCORE, OURS / THEIRS, above=1), (0.97, 1.04), OPEN),
        (Part("", SCORE, OURS, below=0), (0, 0), FAILS),
    ],
)
def test_an_interval_gives_the_verdict(part, interval, verdict):
    assert part.verdict(*interval) == verdict


@pytest.mark.parametrize(
    ("differences", "verdict", "why"),
    [((1.0, 1.1, 0.9, 1.0), HOLDS, ""), ((-1.0, -1.1, -0.9, -1.0), FAILS, "theirs is"), ((0, 0.1, -0.1, 0), SAME, "")],
)
def test_a_part_that_asks_which_of_two_is_better_says_where_the_other_is(differences, verdict, why):
    found = verdict_of(Part("ours is better", SCORE, OURS - THEIRS, above=0, opposite="theirs is"), differences)
    assert (found.verdict, found.why) == (verdict, why)


def test_the_rule_is_written_from_what_decides():
    assert BETTER.rule == "score, ours minus theirs > 0, margin 0.5 points"
    assert Part("", SCORE, OURS / THEIRS, below=1, margin=0.05).rule == "score, ours over theirs < 1, margin 5%"
    assert Part("", SCORE, OURS, between=(0, 1)).rule == "score, ours between 0 and 1"
    with pytest.raises(ConfigError, match="one of above, below and between"):
        Part("both", SCORE, OURS, above=0, below=1)


def test_all_looks_together_err_in_at_most_five_of_a_hundred():
    """Nothing differs, and seeds are added until something is decided, at most 16."""
    part, wrong, repetitions = Part("", Metric("score"), OURS - THEIRS, above=0), 0, 1500
    for repetition in range(repetitions):
        draw, table = np.random.default_rng(repetition), Table()
        for seed in range(16):
            for name in ("ours", "theirs"):
                table.entries["score", name, seed] = Logged(np.array([[draw.normal(), 1.0]]))
        (found,) = judge([part], (), table, FULL_LOOKS, range(16))
        wrong += found.verdict != OPEN
    assert wrong / repetitions <= 0.05


def test_a_part_that_is_decided_stays_so():
    early = [1.0, 1.01, 0.99, 1.0]
    found = verdict_of(BETTER, [*early, *(-5.0,) * 12], FULL_LOOKS)
    assert found.verdict == HOLDS and found.figure is not None and found.figure.seeds == (0, 1, 2, 3)


def test_before_the_first_look_nothing_is_decided():
    found = verdict_of(BETTER, [1.0, 1.01, 0.99], FULL_LOOKS)
    assert found.verdict == OPEN and "judged after 4" in found.why and found.figure is not None
    assert verdict_of(BETTER, [], FULL_LOOKS).figure is None


def test_a_later_look_decides_what_an_earlier_one_left_open():
    draw = np.random.default_rng(5)
    differences = 1.0 + draw.normal(0, 1.0, 16)
    assert verdict_of(BETTER, differences[:4], FULL_LOOKS).verdict == OPEN
    found = verdict_of(BETTER, differences, FULL_LOOKS)
    assert found.verdict == HOLDS and found.figure is not None and len(found.figure.seeds) in (8, 16)


def test_looks_may_not_spend_more_than_the_error_that_is_promised():
    with pytest.raises(ConfigError, match=r"at most 0\.025"):
        Looks((4, 8), (0.025, 0.025))
    with pytest.raises(ConfigError, match="growing from 2"):
        Looks((8, 4), (0.01, 0.01))


def test_where_a_condition_is_not_met_nothing_is_compared():
    learnt = Requirement("the baseline learnt something", SCORE, THEIRS, above=11)
    found = verdict_of(BETTER, [1.0, 1.1, 0.9, 1.0], checks=[learnt])
    assert found.verdict == UNTESTED and found.why == "not so: the baseline learnt something (score, theirs > 11)"
    needing = Part("ours is better", SCORE, OURS - THEIRS, above=0, needs=(learnt,))
    assert verdict_of(needing, [1.0, 1.1, 0.9, 1.0]).verdict == UNTESTED
    assert verdict_of(BETTER, [1.0, 1.1, 0.9, 1.0]).verdict == HOLDS


def test_a_clamped_value_decides_nothing():
    (found,) = judge([BETTER], (), table_of([1.0, 1.1, 0.9, 1.0], clamped=True), QUICK_LOOKS, range(4))
    assert found.verdict == UNTESTED and "4 of 8 values stand at the edge" in found.why


def test_what_is_not_random_is_judged_without_seeds_and_asks_for_no_more():
    table = Table()
    table.add(FIXED, "ours", "score", 3.0)
    table.add(FIXED, "theirs", "score", 3.0)
    parts = [BETTER, Part("ours is large", SCORE, OURS, above=2)]
    equal, large = judge(parts, (), table, FULL_LOOKS, ())
    assert (equal.verdict, large.verdict) == (SAME, HOLDS) and not open_parts([equal, large])


def test_the_count_and_the_sentence_say_what_was_found():
    said = [(HOLDS, "a"), (HOLDS, "b"), (FAILS, "c"), (OPEN, "d")]
    parts = [PartResult(says=says, verdict=verdict, rule="") for verdict, says in said]
    assert counted([one.verdict for one in parts]) == "2 of 4 parts hold, 1 fails, 1 open"
    assert sentence(parts) == "Yes: a; b. No: c. Open: d."
    assert counted([HOLDS, HOLDS]) == "all 2 parts hold" and counted([HOLDS]) == "holds"
    assert counted([UNTESTED, SAME, SAME]) == "none of the 3 parts holds, 2 show no difference, 1 not tested"
    assert counted([OPEN]) == "open" and counted([HOLDS, OPEN]) == "1 of 2 parts holds, 1 open"

"""Pitfalls 34 and 36: chance levels, ties and ideal values are part of every figure."""

from __future__ import annotations

import pytest

from lmworks.evaluation.measurement import Measurement
from lmworks.lab import store
from lmworks.lab.parts import FULL_LOOKS


def test_a_score_whose_interval_holds_the_chance_level_is_called_at_chance():
    """34: a score at chance level that nobody notices."""
    at_chance = Measurement(name="accuracy", value=0.27, interval=(0.24, 0.30), n=900, chance=0.25, ideal=1.0)
    above = at_chance.but(interval=(0.26, 0.30))
    assert at_chance.at_chance and str(at_chance).endswith("at chance")
    assert not above.at_chance and "at chance" not in str(above)
    assert not at_chance.tie


def test_a_difference_whose_interval_holds_zero_is_called_a_tie():
    """34: a difference inside the interval is called a tie."""
    tie = Measurement(name="after minus before", value=0.007, interval=(-0.001, 0.015), n=60, difference=True)
    change = tie.but(interval=(0.001, 0.015))
    assert tie.tie and str(tie).endswith("tie")
    assert not change.tie and "tie" not in str(change)
    assert not tie.at_chance


def test_a_measurement_keeps_an_ideal_that_is_neither_highest_nor_lowest():
    """36: "higher is better" for a measure whose ideal is a half."""
    one = Measurement(name="stereotype preferred", value=0.61, unit="", n=1508, chance=0.5, ideal=0.5)
    assert Measurement.from_json(one.to_json()).ideal == 0.5


RESULTS = sorted(store.SHIPPED.glob("q*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_random_figure_that_lmworks_ships_has_seeds_and_an_interval(path):
    """34: no figure without its n, seeds and interval."""
    finding = store.read(path)
    assert finding.measurements
    for one in finding.measurements:
        least = FULL_LOOKS.after[0] if finding.version > 1 else 3
        assert not one.seeds or (one.interval is not None and len(one.seeds) >= least), one.name
        assert one.n >= (2 if one.seeds else 1)  # items, each asked of every seed
        assert one.interval is None or one.seeds or one.n > 1


def test_results_are_shipped():
    """The parametrised test above must not pass by having nothing to look at."""
    assert RESULTS

"""Measurement: what it refuses, what it says of itself, and that JSON keeps it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.measurement import Measurement, written

finite = st.floats(-1e12, 1e12)


def test_the_text_form_is_as_precise_as_the_interval():
    one = Measurement(name="held-out text", value=0.7812, unit="bits/byte", interval=(0.7719, 0.7903), n=41)
    assert str(one) == "0.781 bits/byte (95 % 0.772 ... 0.790, n 41)"


def test_a_difference_is_written_with_its_sign():
    one = Measurement(
        name="change", value=-0.1312, unit="bits/byte", interval=(-0.1391, -0.1222), n=41, difference=True
    )
    assert str(one) == "-0.131 bits/byte (95 % -0.139 ... -0.122, n 41)"


@pytest.mark.parametrize(
    "broken",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"value": 1.0, "interval": (math.nan, 2.0)},
        {"value": 1.0, "interval": (1.5, 2.0)},
        {"value": 1.0, "interval": (2.0, 0.0)},
        {"value": 1.0, "n": 0},
        {"value": 1.0, "chance": math.nan},
        {"value": 1.0, "name": ""},
        {"value": "a lot"},
        {"value": 1.0, "sigma": 3},
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(broken):
    with pytest.raises(ConfigError) as error:
        Measurement(**{"name": "a score"} | broken)
    assert "\n" not in str(error.value)


@given(
    value=finite,
    below=st.floats(0, 1e6),
    above=st.floats(0, 1e6),
    n=st.integers(1, 10**9),
    seeds=st.lists(st.integers(0, 2**31), max_size=5),
    chance=st.none() | finite,
    ideal=st.none() | finite,
)
def test_json_and_back_is_the_same_measurement(value, below, above, n, seeds, chance, ideal):
    one = Measurement(
        name="x",
        value=value,
        interval=(value - below, value + above),
        n=n,
        seeds=tuple(seeds),
        chance=chance,
        ideal=ideal,
    )
    assert Measurement.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one
    assert str(one)


def test_a_figure_without_an_interval_is_a_tie_or_at_chance_only_where_it_is_exactly_that():
    """Pitfall 34: a difference of one example, say, that has no interval."""
    none, some = (Measurement(name="x", value=value, difference=True) for value in (0.0, 0.1))
    assert none.tie and none.remark == "tie" and not none.at_chance
    assert not some.tie and some.remark == ""
    guess, better = (Measurement(name="x", value=value, chance=0.5) for value in (0.5, 0.6))
    assert guess.at_chance and guess.remark == "at chance" and not guess.tie
    assert not better.at_chance and better.remark == ""
    worse = better.but(value=0.07, interval=(0.02, 0.2), chance=1 / 3, ideal=1.0)
    assert worse.remark == "below chance" and str(worse).endswith("below chance")
    assert worse.but(ideal=0.0).remark == ""


def test_digits_follow_the_precision():
    assert [written(1234.5678, step) for step in (10, 1, 0.1, 0.01)] == ["1,235", "1,235", "1,234.6", "1,234.57"]
    assert written(2.2e-7, 1e-9) == "2.20e-07"
    assert written(0.0, 0.0) == "0"
    assert written(-1.48e-16, 0.01, signed=True) == "+0.00" and written(2e-5, 1e-4) == "0.0000"
    assert written(-0.3, 0.88, signed=True) == "-0.3"  # an end of an interval is not 0 because the interval is wide
    assert written(3.86e-13, 1e-14) == "3.86e-13"


@pytest.mark.parametrize(
    ("name", "unit", "of"),
    [
        ("bits/byte, the longest window minus the smallest", "bits/byte", "the longest window minus the smallest"),
        ("nats at a gap, masked", "nats", "at a gap, masked"),
        ("bits/byte", "bits/byte", "bits/byte"),
        ("bitstreams read", "bits", "bitstreams read"),
        ("held-out text", "", "held-out text"),
    ],
)
def test_a_name_that_begins_with_its_unit_does_not_say_it_twice_behind_the_figure(name, unit, of):
    assert Measurement(name=name, value=1.0, unit=unit).of == of

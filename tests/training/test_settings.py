"""The schedule by its formula, and settings that contradict each other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.training.settings import TrainingConfig


def rates(steps: int, **settings: object) -> list[float]:
    config = TrainingConfig(learning_rate=1.0, **settings)
    return [config.learning_rate_at(step, steps) for step in range(steps)]


def test_the_schedules_by_hand():
    assert rates(7, warmup=0.3, schedule="constant") == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1])
    assert rates(7, warmup=0.3, schedule="linear", final=0.2) == pytest.approx([1 / 3, 2 / 3, 1, 0.8, 0.6, 0.4, 0.2])
    cosine = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * at / 4)) for at in range(5)]
    assert rates(7, warmup=0.3, schedule="cosine", final=0.1) == pytest.approx([1 / 3, 2 / 3, *cosine])
    assert rates(1) == [1.0]


@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.99),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
    final=st.floats(0, 1),
)
def test_a_rate_rises_to_the_highest_and_falls_to_the_last(steps: int, warmup: float, schedule: str, final: float):
    made = rates(steps, warmup=warmup, schedule=schedule, final=final)
    top = made.index(max(made))
    assert all(0 <= rate <= 1 for rate in made)
    assert made[: top + 1] == sorted(made[: top + 1]) and made[top:] == sorted(made[top:], reverse=True)
    if round(warmup * steps) < steps - 1:
        assert max(made) == 1.0
        assert made[-1] == pytest.approx(1.0 if schedule == "constant" else final)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"steps": 4, "warmup": 0.9}, r"warmup \(0.9\) leaves no step of steps \(4\)"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"rows": 0}, "rows is 0"),
        ({"context": 1}, "context is 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"schedule": "step"}, "schedule is 'step'"),
        ({"learning_rates": 1}, "learning_rates is not a setting; did you mean learning_rate?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        TrainingConfig(**values)

"""The rule decides, and nothing else: each verdict from made-up measurements, for every experiment."""

from __future__ import annotations

import pytest

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.measurement import Measurement
from lmworks.lab import registry
from lmworks.lab.rule import FAILS, HOLDS, ONLY_IF, UNDERPOWERED, Check, Rule


def figure(name, value, half=0.0, seeds=(0, 1, 2)):
    return Measurement(name=name, value=value, interval=(value - half, value + half), n=len(seeds) or 1, seeds=seeds)


RULE = Rule(
    holds_if=(Check("effect", ">", 0),),
    only_if=((Check("small", "<", 1), "it is small"), (Check("cheap", "<", 1), "money is no matter")),
)


@pytest.mark.parametrize(
    ("effect", "small", "verdict"),
    [
        (figure("effect", 2, 1), figure("small", 0), HOLDS),
        (figure("effect", -2, 1), figure("small", 0), FAILS),
        (figure("effect", 2, 3), figure("small", 0), UNDERPOWERED),
        (figure("effect", 2, 1), figure("small", 3), ONLY_IF + "it is small"),
        (figure("effect", 2, 1), figure("small", 1, 1), UNDERPOWERED),
        (figure("effect", -2, 1), figure("small", 1, 1), FAILS),
        (figure("effect", 2, 1, seeds=(0, 1)), figure("small", 0), UNDERPOWERED),
        (figure("effect", 2, 0, seeds=()), figure("small", 0, seeds=()), HOLDS),
    ],
)
def test_a_verdict_follows_from_the_intervals(effect, small, verdict):
    assert RULE.apply([effect, small, figure("cheap", 0)])[0] == verdict


def test_two_conditions_are_both_named():
    verdict, reasons = RULE.apply([figure("effect", 2), figure("small", 3), figure("cheap", 3)])
    assert verdict == ONLY_IF + "it is small, and money is no matter"
    assert [line.partition(":")[0] for line in reasons] == ["yes", "no", "no"]


def test_a_random_figure_without_an_interval_decides_nothing():
    alone = Measurement(name="effect", value=2, n=3, seeds=(0, 1, 2))
    assert Check("effect", ">", 0).passed(alone) is None


def test_an_interval_that_ends_at_the_bound_is_undecided():
    assert Check("effect", ">", 0).passed(figure("effect", 1, 1)) is None
    assert Check("effect", "<", 2).passed(figure("effect", 1, 1)) is None


def test_a_rule_that_asks_for_what_was_not_measured_is_an_error():
    with pytest.raises(ConfigError, match="small"):
        RULE.apply([figure("effect", 1)])


def test_a_rule_without_a_check_is_refused():
    with pytest.raises(ConfigError):
        Rule(holds_if=())


def test_the_rules_text_names_every_check_and_condition():
    assert all(part in str(RULE) for part in ("effect > 0", "small < 1", "it is small", "cheap < 1"))


def made_up(rule, wrong=None, wide=None):
    """Measurements that satisfy every check of a rule, but one that does not and one that cannot tell."""
    checks = [*rule.holds_if, *(check for check, _ in rule.only_if)]
    bounds = {}
    for check in checks:
        bounds.setdefault(check.measurement, {})[check.side] = check.bound
    figures = {}
    for name, sides in bounds.items():
        low = sides.get(">", sides.get("<", 0) - 2 * max(1, abs(sides.get("<", 0))))
        high = sides.get("<", low + 2 * max(1, abs(low)))
        figures[name] = figure(name, (low + high) / 2, (high - low) / 100)
    for check, half in ((wrong, 0.0), (wide, 1.0)):
        if check is not None:
            step = max(1, abs(check.bound)) * (-1 if check.side == ">" else 1)
            figures[check.measurement] = figure(check.measurement, check.bound + step * (1 - half), half)
    return list(figures.values())


@pytest.mark.parametrize("question", list(registry.experiments()))
def test_each_experiments_rule_can_give_every_verdict(question):
    chosen = registry.load(question)
    if not isinstance(chosen, registry.RuleExperiment):
        pytest.skip("has parts")
    rule = chosen.rule
    assert rule.apply(made_up(rule))[0] == HOLDS
    for check in rule.holds_if:
        assert rule.apply(made_up(rule, wrong=check))[0] == FAILS
        assert rule.apply(made_up(rule, wide=check))[0] == UNDERPOWERED
    for check, condition in rule.only_if:
        assert rule.apply(made_up(rule, wrong=check))[0] == ONLY_IF + condition
        assert rule.apply(made_up(rule, wide=check))[0] == UNDERPOWERED

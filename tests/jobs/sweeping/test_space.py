"""A space is checked wholly before anything is trained: every mistake is one sentence that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.sweeping.small import RECIPE, SPACE
from lmworks.basics.errors import ConfigError
from lmworks.jobs.sweeping.run import sweep
from lmworks.jobs.sweeping.space import Space

RATE = {"low": 1e-3, "high": 1e-1}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "there is nothing to search"),
    "an unknown key": (
        {"training": {"lerning_rate": RATE}},
        "training.lerning_rate is not a setting; did you mean training.learning_rate?",
    ),
    "an unknown key of the network": ({"model.drop": RATE}, "did you mean model.dropout?"),
    "an unknown key of the space": ({"training.rows": {"lo": 1}}, "training.rows.lo is 1"),
    "an unknown key beside a known one": (
        {"training.rows": {"low": 1, "high": 4, "steps": 1}},
        "training.rows.steps is not a setting; did you mean training.rows.step?",
    ),
    "an empty table": ({"training": {}}, "training is empty"),
    "a section": ({"training": RATE}, "training is a section; name one of its settings"),
    "a value": ({"training": {"rows": 4}}, "training.rows is 4; write a table with low and high"),
    "a plain list": ({"training": {"rows": [2, 4]}}, "training.rows = {choices = [...]}"),
    "an empty range": (
        {"training.rows": {"low": 4, "high": 4}},
        "training.rows.low (4) is not below training.rows.high (4): the range is empty",
    ),
    "half a range": ({"training.rows": {"low": 4}}, "both needed"),
    "a logarithm of zero": ({"training.weight_decay": {"low": 0.0, "high": 1.0, "log": True}}, "begins above 0"),
    "no number": ({"training.learning_rate": {"low": "a", "high": 1}}, "training.learning_rate.low is 'a'"),
    "an endless range": (
        {"training.learning_rate": {"low": 0.1, "high": float("inf")}},
        "high is inf; it should be less than 1.7e+38",
    ),
    "a step that does not fit": ({"training.rows": {"low": 1, "high": 4, "step": 2}}, "in steps of 2"),
    "a step backwards": ({"training.rows": {"low": 1, "high": 4, "step": -1}}, "step is -1; it must be above 0"),
    "a logarithm in steps": ({"training.rows": {"low": 1, "high": 4, "step": 1, "log": True}}, "contradict"),
    "one choice": ({"training.rows": {"choices": [4]}}, "two or more different values"),
    "the same choice twice": ({"training.rows": {"choices": [4, 4]}}, "two or more different values"),
    "a list among the choices": ({"training.rows": {"choices": [4, [5]]}}, "choices holds [5]"),
    "choices and a range": ({"training.rows": {"choices": [2, 4], "low": 2}}, "contradict each other"),
    "a choice of the wrong type": ({"training.rows": {"choices": [2, "many"]}}, "training.rows is 'many'"),
    "fractions of a whole number": ({"training.rows": {"low": 1.0, "high": 4}}, "takes whole numbers, and low is 1.0"),
    "a range of words": ({"training.compile": {"low": 0, "high": 1}}, "takes no range of numbers; give choices"),
    "a value out of bounds": ({"model.dropout": {"low": 0.5, "high": 1.5}}, "model.dropout is 1.5"),
    "the seed": ({"training.seed": {"choices": [0, 1]}}, "training.seed cannot be searched: the luckiest seed"),
    "the judging text": ({"data.held_out": RATE}, "data.held_out cannot be searched: trials would be judged"),
    "a contradiction with the recipe": (
        {"training.max_seconds": {"low": 1.0, "high": 2.0}},
        "training.steps and training.max_seconds contradict each other",
    ),
    "a contradiction within the space": (
        {"model.dim": {"choices": [32, 48]}, "model.heads": {"choices": [2, 3]}},
        "model.dim (32) is not a multiple of model.heads (3)",
    ),
    "a key and its section": (
        {"tokenizer": {"choices": ["a", "b"]}, "tokenizer.vocab_size": {"low": 300, "high": 400}},
        "tokenizer and tokenizer.vocab_size contradict each other",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_makes_no_sense_is_one_sentence_and_trains_nothing(what: str, here: Path):
    space, sentence = WRONG[what]
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
        sweep(RECIPE, space, 2, "out")
    assert sentence in str(caught.value), str(caught.value)
    assert not Path("out").exists()


def test_a_contradiction_that_only_a_combination_has_is_found():
    """Each value goes with the first of the other setting; 48 in 5 heads does not."""
    space = {"model.dim": {"choices": [40, 48]}, "model.heads": {"choices": [4, 5]}}
    with pytest.raises(ConfigError, match=r"model\.dim = 48 and model\.heads = 5 contradict each other \(model\.dim"):
        Space(space, RECIPE)
    Space({**space, "model.dim": {"choices": [40, 80]}}, RECIPE)


def test_an_idle_dial_is_refused():
    """The recipe says all that depth would set, so every trial would be the same."""
    said = {**RECIPE, "training": {**RECIPE["training"], "accumulate": 1}}
    with pytest.raises(ConfigError, match="depth changes nothing here"):
        Space({"depth": {"low": 1, "high": 3}}, said)
    Space({"depth": {"low": 1, "high": 3}}, {"data": {"text": "notes"}})


def test_a_range_is_of_the_type_of_its_setting():
    """0 to 1 for a decay is every number between, and not the two whole ones."""
    space = Space({"training.weight_decay": {"low": 0, "high": 1}, "training.rows": {"low": 1, "high": 4}}, RECIPE)
    decay, rows = space.distributions().values()
    assert (type(decay).__name__, type(rows).__name__) == ("FloatDistribution", "IntDistribution")


def test_the_recipe_as_it_stands_lies_in_the_space_or_does_not():
    assert Space(SPACE, RECIPE).of_the_recipe(RECIPE) == {"training.learning_rate": 1e-2, "training.rows": 4}
    assert Space({"training.rows": {"choices": [2, 8]}}, RECIPE).of_the_recipe(RECIPE) is None
    assert Space({"training.rows": {"low": 1, "high": 7, "step": 2}}, RECIPE).of_the_recipe(RECIPE) is None
    assert Space({"model.dropout": {"low": 0.0, "high": 0.5}}, RECIPE).of_the_recipe(RECIPE) == {"model.dropout": 0.0}

"""What users are told of wrong refusals is what the stored run counted."""

from __future__ import annotations

import json
from pathlib import Path

from lmworks.grounding import gate

LEVELS = {
    "0.90 to 1.00": (0.9, 1),
    "0.80 to 0.90": (0.8, 0.9),
    "0.70 to 0.80": (0.7, 0.8),
    "0.50 to 0.70": (0.5, 0.7),
    "0.00 to 0.50": (0, 0.5),
}
STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "quality" / "answers.json"


def test_the_stated_rate_of_false_refusals_is_that_of_the_stored_run():
    stated = json.loads(Path(gate.__file__).with_name("gate.json").read_text())["readers"]["SpanReader"]
    counted = json.loads(STORED.read_text())["figures"]
    kinds = [one["refused"] for one in counted["kinds"].values()]
    assert len(kinds) == 10 and sum(one["n"] for one in kinds) >= 600
    assert abs(stated["false_refusals"] - sum(one["value"] for one in kinds) / len(kinds)) < 0.001


def test_the_rate_that_is_stated_beside_answers_in_other_languages_was_counted_in_german():
    stated = json.loads(Path(gate.__file__).with_name("gate.json").read_text())["readers"]["NearestSentence"]
    counted = json.loads(STORED.with_name("german.json").read_text())["figures"]["held out"]
    assert counted["refused"]["n"] >= 70 and abs(stated["false_refusals"] - counted["refused"]["value"]) < 0.001


def test_of_what_is_said_to_be_probably_right_so_many_were():
    """On texts that were not fitted, by the stored run."""
    told = json.loads(STORED.read_text())["figures"]["likely right"]
    assert told["calibration error"] < 0.08 and told["auroc"] > 0.75
    shares = [told[f"right, of those said to be right with {level}"] for level in LEVELS]
    for one, (low, high) in zip(shares, LEVELS.values(), strict=True):
        assert one["interval"][0] < high and one["interval"][1] > low, one


def test_the_handbook_is_never_fitted():
    """Its figures are those of a kind of text that the gate does not know."""
    for one in json.loads(Path(gate.__file__).with_name("gate.json").read_text())["readers"].values():
        assert "lmworks" not in one["fitted_on"]

"""What users are told of wrong refusals is what the stored run counted."""

from __future__ import annotations

import json
from pathlib import Path

from lmworks.grounding import gate

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "quality" / "answers.json"


def test_the_stated_rate_of_false_refusals_is_that_of_the_stored_run():
    stated = json.loads(Path(gate.__file__).with_name("gate.json").read_text())["readers"]["SpanReader"]
    counted = json.loads(STORED.read_text())["figures"]
    kinds = [one["refused"] for one in counted["kinds"].values()]
    assert len(kinds) == 7 and sum(one["n"] for one in kinds) >= 600
    assert abs(stated["false_refusals"] - sum(one["value"] for one in kinds) / len(kinds)) < 0.001


def test_the_handbook_is_never_fitted():
    """Its figures are those of a kind of text that the gate does not know."""
    for one in json.loads(Path(gate.__file__).with_name("gate.json").read_text())["readers"].values():
        assert "lmworks" not in one["fitted_on"]

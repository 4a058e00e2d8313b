"""What users are told of wrong refusals is what the stored run counted."""

from __future__ import annotations

import json
from pathlib import Path

from lmworks.grounding import gate

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "quality" / "answers.json"


def test_the_stated_rate_of_false_refusals_is_that_of_the_stored_run():
    stated = json.loads(Path(gate.__file__).with_name("gate.json").read_text())["readers"]["SpanReader"]
    counted = json.loads(STORED.read_text())["figures"]["false refusals at the stored threshold"]
    assert abs(stated["false_refusals"] - counted["value"]) < 0.001 and counted["n"] >= 400
    assert counted["interval"][0] < stated["false_refusals"] < counted["interval"][1]

"""`lmworks probe`: a row for each layer, the same as JSON, and one sentence for mistakes."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def texts(tmp_path) -> str:
    path = tmp_path / "texts.jsonl"
    records = [{"prompt": f"{word} {number}", "response": word} for number in range(20) for word in ("sun", "rain")]
    path.write_text("\n".join(map(json.dumps, records)))
    return str(path)


def test_a_row_for_each_layer_and_the_same_as_json(run, model_folder, texts):
    rows = run("probe", model_folder, texts, "--units", "6").out.splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["0", "1", "2"] and "control labels" in rows[0]
    facts = run("probe", model_folder, texts, "--units", "6", "--json").json
    assert facts["texts"] == 40 and [len(one["units"]) for one in facts["layers"]] == [6, 6, 6]
    assert "1.00 right" in rows[1] and facts["layers"][0]["measurements"][0]["n"] == 13


def test_what_cannot_be_probed_is_one_sentence(run, model_folder, texts):
    ran = run("probe", model_folder, texts, "--limit", "12")
    assert ran.code == 1 and "give 1 or more, and 30 texts or more" in ran.err

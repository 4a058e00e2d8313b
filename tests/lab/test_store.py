"""Findings on disk: whole, readable by the keys that others rely on, and refused when they are not ours."""

from __future__ import annotations

import json

import pytest

from lmworks.basics.errors import DataError
from lmworks.lab import store
from lmworks.lab.run import run

TINY = ["rows=4", "keys=8", "seeds=3"]
KEYS = {
    "question",
    "claim",
    "verdict",
    "rule",
    "measurements",
    "chart",
    "note",
    "recipe",
    "scale",
    "machine",
    "commit",
    "started",
    "seconds",
}
FIGURE = {"name", "value", "unit", "interval", "n", "seeds", "chance", "ideal"}


@pytest.fixture(scope="module")
def finding():
    return run(23, "quick", TINY)


def test_a_stored_finding_has_the_keys_and_comes_back_the_same(finding, tmp_path):
    path = store.write(finding, tmp_path / "mine")
    assert path.name == "q23.quick.json"
    fields = json.loads(path.read_text())
    assert fields.keys() >= KEYS and all(one.keys() >= FIGURE for one in fields["measurements"])
    assert next(iter(fields)) == "question"
    assert fields["recipe"] == {"rows": 4, "keys": 8, "seeds": 3}
    assert store.as_json(store.read(path)) == fields


def test_a_recipe_reproduces_its_finding(finding):
    again = run(23, finding.scale, [f"{name}={value}" for name, value in finding.recipe.items()])
    assert again.measurements == finding.measurements and again.verdict == finding.verdict


def test_a_failed_write_leaves_the_earlier_finding_whole(finding, tmp_path, monkeypatch):
    path = store.write(finding, tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("json.dumps", lambda *arguments, **options: "\ud800")  # cannot be written as UTF-8
    with pytest.raises(UnicodeEncodeError):
        store.write(finding, tmp_path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"question": 23}', "[" * 100_000, "\ud83d"])
def test_a_file_that_is_no_finding_is_one_sentence(content, tmp_path):
    path = tmp_path / "q23.quick.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"q23\.quick\.json"):
        store.read(path)


def test_a_verdict_that_no_rule_gives_is_refused(finding, tmp_path):
    path = store.write(finding, tmp_path)
    path.write_text(path.read_text().replace(finding.verdict, "surely true"))
    with pytest.raises(DataError, match="surely true"):
        store.read(path)


def test_the_machine_is_named():
    assert {"processor", "cores", "memory_gib", "torch"} <= store.machine().keys()
    assert store.machine()["processor"]

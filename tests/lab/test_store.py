"""Findings on disk: whole, readable by the keys that others rely on, and refused when they are not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.test_run import NORMAL, TOY
from lmworks.basics.errors import ConfigError, DataError
from lmworks.lab import provenance, store
from lmworks.lab.finding import VERSION
from lmworks.lab.run import run_experiment

KEYS = {"question", "claim", "headline", "parts", "measurements", "by_seed", "chart", "note", "recipe", "scale"}
KEYS |= {"machines", "commit", "declared", "rules", "started", "seconds", "sha256"}
FIGURE = {"name", "value", "unit", "interval", "n", "seeds", "chance", "ideal"}
SAVED = Path(__file__).parent / "saved"


@pytest.fixture(scope="module")
def finding():
    return run_experiment(TOY, "quick", NORMAL)


def test_a_stored_finding_has_the_keys_and_comes_back_the_same(finding, tmp_path):
    _, path = store.write(finding, tmp_path / "mine")
    assert path.name == "q99.quick.json"
    fields = json.loads(path.read_text())
    assert fields.keys() >= KEYS and all(one.keys() >= FIGURE for one in fields["measurements"])
    assert next(iter(fields)) == "question"
    assert store.read(path) == finding


def test_a_failed_write_leaves_the_earlier_finding_whole(finding, tmp_path, monkeypatch):
    _, path = store.write(finding, tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("json.dumps", lambda *arguments, **options: "\ud800")  # cannot be written as UTF-8
    with pytest.raises(UnicodeEncodeError):
        store.write(finding, tmp_path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"question": 23}', '{"version": 2}', "[" * 100_000, "\ud83d"])
def test_a_file_that_is_no_finding_is_one_sentence(content, tmp_path):
    path = tmp_path / "q23.quick.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"q23\.quick\.json"):
        store.read(path)


def test_a_verdict_that_there_is_not_is_refused(finding, tmp_path):
    _, path = store.write(finding, tmp_path)
    path.write_text(path.read_text().replace('"verdict": "holds"', '"verdict": "surely true"', 1))
    with pytest.raises(DataError, match="surely true"):
        store.read(path)


def test_a_finding_of_the_first_version_is_read_with_its_checks_as_parts():
    found = store.read(SAVED / "q23.quick.json")
    assert found.version == 1 and found.headline.startswith("By an earlier rule: holds only if the largest score is")
    assert found.parts[0].verdict == "holds" and found.parts[0].figure is not None and found.chart is not None
    assert "of an earlier version" in store.doubts(SAVED, 23, "quick")[0]


def test_what_is_shipped_was_judged_by_parts():
    assert {store.read(path).version for path in store.SHIPPED.glob("q*.full.json")} == {VERSION}


def test_the_folder_comes_before_what_is_shipped(tmp_path, monkeypatch, finding):
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(ConfigError, match="claim 4 has no stored result; run it: lmworks lab 4"):
        store.required(4, [tmp_path / "mine", store.SHIPPED])
    with pytest.raises(ConfigError, match="there is no experiment 99 yet"):
        store.required(99, [tmp_path / "mine", store.SHIPPED])
    store.write(finding, store.SHIPPED)
    assert store.required(99, [tmp_path / "mine", store.SHIPPED]) == (store.SHIPPED, "quick")
    store.write(finding, tmp_path / "mine")
    assert store.required(99, [tmp_path / "mine", store.SHIPPED])[0] == tmp_path / "mine"
    assert store.place_of(99, [tmp_path / "mine"], "full") is None


def test_the_machine_is_named():
    assert {"processor", "cores", "memory_gib", "torch"} <= provenance.machine().keys()
    assert provenance.machine()["processor"]

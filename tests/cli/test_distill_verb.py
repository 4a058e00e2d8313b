"""`lmworks distill`: a table, JSON, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jobs import small_builds

CHANGES = (
    "training.context=64",
    "training.steps=1",
    "data.general=general",
    "teacher.dtype=float32",
    "teaching.samples=8",
    "teaching.tokens=200",
)
SETTINGS = [word for change in CHANGES for word in ("--set", change)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher of two layers, and texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    small_builds.prepare(tmp_path)
    return tmp_path


def test_the_verb_prints_what_the_model_directory_says(here: Path, run):
    words = ["distill", "base", "--data", "notes", "--layers", "1", "--out", "small", *SETTINGS]
    table = run(*words).out
    assert "KL(teacher || student)" in table and "student, parameters" in table and "saved   small (whole" in table
    facts = json.loads(run(*words, "--json").out)
    assert (facts["folder"], facts["asked"]) == ("small", 0)  # the teacher had been asked
    assert facts["measurements"] == json.loads(Path("small/lmworks.json").read_text())["measurements"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "student.reference: --layers or --student on the command line"),
        (("--layers", "1", "--student", "base"), "(--student) contradict each other; give one of them"),
        (("--layers", "9"), "student.layers is 9, and the teacher has 2"),
        (("--layers", "1", "--set", "teaching.share=2"), "teaching.share is 2"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], sentence: str, here: Path, run):
    ran = run("distill", "base", "--data", "notes", "--out", "none", *SETTINGS, *words)
    assert ran.code == 1 and sentence in ran.err.splitlines()[-1] and "Traceback" not in ran.err
    assert not Path("none").exists()

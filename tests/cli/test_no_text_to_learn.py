"""Models that no text can train, of images or sound say, are refused before any text is read or anything is fetched."""

from __future__ import annotations

from pathlib import Path

import hearing
import pytest
import tiny

TRANSCRIBE = "writes down what recordings say, and learns no text; `lmworks transcribe` uses it"
IMAGES = "reads images, and learns no text; `lmworks embed` and `lmworks classify` use it"
ENCODER = "is an encoder and does not write or score text token by token, so it learns none; `lmworks embed` uses it"
VERBS = {
    "build": ("build", "nowhere", "--model"),
    "tune": ("tune", "--data", "nowhere", "--model"),
    "tune --preview": ("tune", "--data", "nowhere", "--preview", "2", "--model"),
    "prefer": ("prefer", "--data", "nowhere", "--model"),
    "prefer --preview": ("prefer", "--data", "nowhere", "--preview", "2", "--model"),
    "distill": ("distill", "--data", "nowhere", "--layers", "1", "--teacher"),
    "distill to a student": ("distill", "TEACHER", "--data", "nowhere", "--student"),
    "forget": ("forget", "german", "--out", "sequence", "--set", "--model"),
}


def said(verb: str, model: str, teacher: str) -> list[str]:
    """The command, with the model where the verb has it."""
    *words, last = [teacher if word == "TEACHER" else word for word in VERBS[verb]]
    if verb == "forget":
        return [*words, f"build.model.reference={model}"]
    return [*words, last, model] if last in ("--student",) or verb == "build" else [words[0], model, *words[1:]]


@pytest.mark.parametrize(("alias", "sentence"), [("whisper", TRANSCRIBE), ("efficientnet", IMAGES)])
@pytest.mark.parametrize("verb", VERBS)
def test_an_alias_is_refused_before_it_is_fetched(run, verb, alias, sentence, model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    ran = run(*said(verb, alias, model_folder))
    assert (ran.err, ran.code, ran.out) == (f"lmworks: {alias} {sentence}\n", 1, "")
    assert {one.name for one in tmp_path.iterdir()} <= {"cache"}


def test_folders_are_told_by_their_config(run, tmp_path: Path, model_folder: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    hearing.model().save("hears")
    tiny.embedder(Path("embeds"))
    for folder, sentence in (("hears", TRANSCRIBE), ("embeds", ENCODER)):
        assert run("build", "nowhere", "--model", folder).err == f"lmworks: {folder} {sentence}\n"
    assert "nowhere" in run("build", "nowhere", "--model", model_folder).err  # what writes is asked for its text

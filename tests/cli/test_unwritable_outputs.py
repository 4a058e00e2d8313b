"""Where a result cannot be written, that is said before the work: anything else that is wrong is told later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

COMMANDS = {
    "build": (("build", "nowhere", "--model", "MODEL", "--out"), ""),
    "tune": (("tune", "MODEL", "--data", "nowhere", "--out"), ""),
    "train": (("train", "shakespeare-char", "--set", "data.text=nowhere", "--out"), ""),
    "distill": (("distill", "MODEL", "--data", "nowhere", "--layers", "1", "--out"), ""),
    "merge": (("merge", "nowhere", "--base", "MODEL", "--out"), ""),
    "compress": (("compress", "MODEL", "--text", "nowhere", "--out"), ""),
    "export": (("export", "MODEL", "--out"), ".gguf"),
    "embed": (("embed", "nowhere", "nowhere", "--out"), ""),
    "transcribe": (("transcribe", "nowhere.wav", "--out"), ".txt"),
    "draw": (("draw", "nowhere", "a red apple", "--out"), ".png"),
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_an_output_that_cannot_be_written_is_told_before_the_work(run, verb, model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    words, suffix = COMMANDS[verb]
    command = [model_folder if word == "MODEL" else word for word in words]
    ran = run(*command, f"file/result{suffix}")
    assert ran.code == 1 and ran.err.splitlines()[-1] == (
        f"lmworks: file/result{suffix}: {tmp_path}/file is a file and no folder; choose another place"
    )
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    ran = run(*command, f"new/result{suffix}")
    assert ran.code == 1 and f"new/result{suffix}: no permission to write there; choose another" in ran.err
    assert [one.name for one in tmp_path.iterdir()] == ["file"] and Path("file").read_text() == "mine"


@pytest.mark.parametrize("verb", ["transcribe", "draw"])
def test_a_folder_where_a_file_is_wanted_is_told_before_the_work(run, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, suffix = COMMANDS[verb]
    Path(f"folder{suffix}").mkdir()
    ran = run(*words, f"folder{suffix}")
    assert (ran.code, ran.err) == (1, f"lmworks: folder{suffix} is a folder; give the name of a file\n")

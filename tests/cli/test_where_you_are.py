"""`.` is a place like any other: what is there is read, and the folder in which one is is not replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny


def test_a_model_is_named_by_the_folder_in_which_one_is(run, model_folder: str, monkeypatch: pytest.MonkeyPatch):
    asked = ("generate", "--max-new-tokens", "3", "Hi")
    named = run(*asked[:1], model_folder, *asked[1:])
    monkeypatch.chdir(model_folder)
    assert run(*asked[:1], ".", *asked[1:]).out == named.out and named.code == 0
    (Path(model_folder) / "below").mkdir(exist_ok=True)
    monkeypatch.chdir(Path(model_folder) / "below")
    assert run(*asked[:1], "..", *asked[1:]).out == named.out
    (Path(model_folder) / "below").rmdir()


@pytest.mark.parametrize(
    "verb",
    [
        ("index", "NOTES", "--embedder", "EMBEDDER", "--out", "."),
        ("build", "NOTES", "--model", "MODEL", "--out", "."),
        ("compress", "MODEL", "--out", "."),
        ("tokens", "train", "NOTES", "--out", "."),
        ("lab", "--export", "."),
    ],
    ids=lambda verb: verb[0],
)
def test_the_folder_in_which_one_is_is_not_replaced(
    run, model_folder, text_folder, tmp_path, tmp_path_factory, monkeypatch, verb
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    elsewhere = tmp_path_factory.mktemp("embedder") / "model"
    folders = {"NOTES": text_folder, "MODEL": model_folder, "EMBEDDER": tiny.embedder(elsewhere)}
    result = run(*(folders.get(word, word) for word in verb))
    assert result.code == 1 and "Traceback" not in result.err
    assert result.err.splitlines()[-1] == (
        "lmworks: . is the folder in which you are, and would be replaced as a whole; give a new one, such as ./mine"
    )
    assert list(here.iterdir()) == [] and {path.name for path in tmp_path.iterdir()} == {"here", "notes"}


def test_a_model_is_saved_beside_the_folder_in_which_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert tiny.language_model().save("mine").resolve() == tmp_path / "mine"

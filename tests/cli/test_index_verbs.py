"""lmworks index and search, as somebody would use them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> str:
    return tiny.embedder(tmp_path_factory.mktemp("embedder") / "encoder")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "rent.md").write_text("# The flat\n\nThe rent is due on the third day.\n\n## Pets\n\nCats are allowed.\n")
    (folder / "boat.txt").write_text("The boat lies at pier 7.")
    (folder / "blob.bin").write_bytes(bytes(range(256)))
    (folder / "passwords.txt").symlink_to("/etc/passwd")
    return folder


def test_a_folder_is_indexed_searched_changed_and_updated(run, notes, embedder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = run("index", "notes", "--embedder", embedder)
    assert made.code == 0 and "files     2 added" in made.out
    assert "indexes/notes (3 chunks: english 3)" in made.out and "passwords.txt: a link" in made.err
    assert "skipped   blob.bin: .bin files are not read" in made.err
    found = run("search", "indexes/notes", "cat", "--keywords")
    assert found.code == 0 and "rent.md, line 7  (The flat > Pets)" in found.out
    assert "    Cats are allowed." in found.out
    assert run("search", "indexes/notes", "zebra", "--keywords").out.startswith("no passage holds one of these words")
    (notes / "boat.txt").unlink()
    again = run("index", "--out", "indexes/notes")
    assert "files     1 deleted" in again.out and "2 chunks" in again.out
    assert "as they were" in run("index", "notes", "--out", "indexes/notes").out
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "boat.txt").write_text("The boat lies at pier 7.")
    assert "(1 chunk: english 1)" in run("index", "one", "--embedder", embedder).out
    facts = run("search", "indexes/notes", "rent", "-k", "1", "--json").json
    assert [one["file"] for one in facts] == ["rent.md"]
    assert (notes / "rent.md").read_text()[facts[0]["start"] : facts[0]["end"]] == facts[0]["text"]
    assert (facts[0]["place"], facts[0]["at"]) == ("line 3", {"kind": "line", "number": 3, "end": None})
    assert facts[0]["hash"] == hashlib.sha256((notes / "rent.md").read_bytes()).hexdigest()
    assert json.dumps(run("index", "--out", "indexes/notes", "--json").json["changed"]) == "[]"


def test_many_files_that_are_skipped_for_one_reason_are_one_line(run, notes, embedder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(9):
        (notes / f"blob{number}.bin").write_bytes(b"x")
    made = run("index", "notes", "--embedder", embedder)
    assert "skipped   blob.bin and 9 more: .bin files are not read (--json names all)" in made.err
    assert made.err.count("skipped") == 2 and "skipped   passwords.txt: a link" in made.err


def test_a_search_is_among_the_documents_that_are_meant(run, notes, embedder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (notes / "old").mkdir()
    (notes / "old" / "rent.md").write_text("---\nauthor: Ann\n---\n\nThe rent was due on the fifth day.\n")
    os.utime(notes / "old" / "rent.md", (0, 0))
    assert run("index", "notes", "--embedder", embedder).code == 0

    def files(*options: str) -> list[str]:
        return [one["file"] for one in run("search", "indexes/notes", "rent", "-k", "9", "--json", *options).json]

    assert sorted(set(files())) == ["boat.txt", "old/rent.md", "rent.md"]
    old = {("--path", "old/*"), ("--until", "1971-01-01"), ("--where", "author=Ann"), ("--path", "x", "--path", "old/")}
    assert all(set(files(*options)) == {"old/rent.md"} for options in old)
    assert set(files("--since", "1971-01-01", "--path", "*.md", "--keywords")) == {"rent.md"}
    assert "no document fits the filters (--path" in run("search", "indexes/notes", "rent", "--path", "new/").out
    for options, sentence in (
        (("--where", "author"), "--where is 'author'; write it as KEY=VALUE"),
        (("--where", "author=Ann", "--where", "author=Bo"), "--where gives author twice; give each key once"),
        (("--where", "autor=Ann"), "has the key 'autor'; did you mean author?"),
        (("--since", "today"), "since is 'today'; write a date as 2026-01-31"),
    ):
        ran = run("search", "indexes/notes", "rent", *options)
        assert ran.code == 1 and sentence in ran.err and len(ran.err.splitlines()) == 1


def test_an_index_is_updated_from_any_folder_and_keeps_its_settings(run, notes, embedder, tmp_path, monkeypatch):
    """Another folder of the same name must not take the place of the one that was indexed."""
    monkeypatch.chdir(tmp_path)
    assert run("index", "notes", "--embedder", embedder).code == 0
    (tmp_path / "other" / "notes").mkdir(parents=True)
    (tmp_path / "other" / "notes" / "x.txt").write_text("Another text.")
    monkeypatch.chdir(tmp_path / "other")
    assert "as they were" in run("index", "--out", "../indexes/notes").out
    ran = run("index", "notes", "--out", "../indexes/notes")
    assert ran.code == 1 and f"is an index of {notes}" in ran.err
    monkeypatch.chdir(tmp_path)
    ran = run("index", "notes", "--tokens", "50")
    assert (
        ran.code == 1
        and "indexes/notes was made with tokens 160, and not 50; give another --out, or no --tokens" in ran.err
    )
    ran = run("index", "notes", "--out", "k", "--embedder", embedder, "--language", "englis")
    assert ran.code == 1 and "no stems for the language 'englis'; did you mean english?" in ran.err
    ran = run("index", "notes", "--out", "k", "--embedder", embedder, "--tokens", "5000")
    assert ran.code == 1 and "chunks of 5000 tokens are longer than" in ran.err and not (tmp_path / "k").exists()
    assert "the query is empty" in run("search", "indexes/notes", " ").err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("index",), "say what to index"),
        (("index", "--out", "nowhere"), "nowhere holds no index; say what to index"),
        (("index", "nothing/here"), "nothing/here"),
        (("search", "nowhere", "boat"), "nowhere holds no index; make one: lmworks index FOLDER --out nowhere"),
        (("search", ".", "boat"), ". holds no index; make one: lmworks index ."),
        (("search", "nowhere", "boat", "--keywords", "--vectors"), "together are the usual way"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(run, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert ran.code == 1 and ran.err.startswith("lmworks: ") and sentence in ran.err and not ran.out


def test_an_index_of_something_else_is_not_overwritten(run, notes, embedder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("index", "notes", "--embedder", embedder, "--out", "mine").code == 0
    (tmp_path / "other.txt").write_text("Another text.")
    ran = run("index", "other.txt", "--out", "mine")
    assert ran.code == 1 and f"mine is an index of {notes}; give another --out for other.txt" in ran.err


def test_a_folder_that_is_gone_does_not_exist(run, notes, embedder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("index", "notes", "--embedder", embedder).code == 0
    notes.rename(tmp_path / "elsewhere")
    assert f"{notes} does not exist" in run("index", "notes").err


def test_a_folder_that_is_too_small_to_be_tested_says_so(run, notes, embedder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = run("index", "notes", "--embedder", embedder, "--test")
    assert made.code == 0 and "note      3 passages give 1 question" in made.out
    assert run("index", "--out", "indexes/notes", "--test", "--json").json["test"]["figures"] == []


def test_a_path_that_does_not_exist_is_told_before_a_model_is_fetched(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    ran = run("index", str(tmp_path / "nots"), "--out", str(tmp_path / "index"))
    assert ran.code == 1 and "nots does not exist" in ran.err and "fetching" not in ran.err
    assert not (tmp_path / "cache").exists()


def test_chunks_whose_language_is_not_known_are_called_so(run, embedder, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "boat.txt").write_text("Човен стоїть біля причалу, а квиток коштує сім гривень.")
    made = run("index", str(tmp_path / "notes"), "--embedder", embedder, "--out", str(tmp_path / "index"))
    assert "(1 chunk: language not known 1)" in made.out

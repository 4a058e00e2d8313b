"""A first build that was stopped goes on where it was, and nobody's files are lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from grounding.small_index import everything, write_notes
from lmworks.basics.errors import ConfigError, Stopped
from lmworks.grounding import postings
from lmworks.grounding.index import IndexSettings, build


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> IndexSettings:
    return IndexSettings(embedder=tiny.embedder(tmp_path_factory.mktemp("embedder") / "encoder"), longest=80)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


def test_a_build_that_is_stopped_goes_on_where_it_was(notes: Path, settings: IndexSettings, tmp_path, monkeypatch):
    change, embedded, left = postings.change, [], [0]

    def stopping(writing, added, removed):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        embedded.extend(added)
        change(writing, added, removed)

    monkeypatch.setattr("lmworks.grounding.indexing.BATCH", 8)
    monkeypatch.setattr(postings, "change", stopping)
    left[0] = 1
    with pytest.raises(KeyboardInterrupt):
        build(notes, tmp_path / "index", settings)
    assert {one.name for one in tmp_path.iterdir()} == {"notes"}  # nothing was
    left[0] = 6
    with pytest.raises(
        Stopped, match=r"stopped; what was indexed so far is kept in .*\.index\.making: the same command"
    ):
        build(notes, tmp_path / "index", settings)
    assert {one.name for one in tmp_path.iterdir()} == {"notes", ".index.making"}
    (notes / "note0.txt").unlink()  # it was kept, and goes
    (notes / "note1.txt").write_text("A new lamp by the garden pier.")
    before = len(embedded)
    index = build(notes, tmp_path / "index", settings)
    assert len(embedded) - before < len(index) - 8
    assert {one.name for one in tmp_path.iterdir()} == {"notes", "index"}
    monkeypatch.setattr(postings, "change", change)
    fresh = build(notes, tmp_path / "fresh", settings)
    assert everything(index) == everything(fresh) and index.changes.added == fresh.changes.added
    assert {path.name for path in (tmp_path / "index").iterdir()} == {"index.sqlite", "vectors.i8"}


def test_what_was_begun_with_other_settings_begins_anew(notes: Path, settings: IndexSettings, tmp_path, monkeypatch):
    change, left = postings.change, [3]

    def stopping(*given):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        change(*given)

    monkeypatch.setattr("lmworks.grounding.indexing.BATCH", 8)
    monkeypatch.setattr(postings, "change", stopping)
    with pytest.raises(Stopped):
        build(notes, tmp_path / "index", settings)
    other = settings.model_copy(update={"longest": 40})
    assert everything(build(notes, tmp_path / "index", other)) == everything(build(notes, tmp_path / "fresh", other))


def test_a_folder_of_other_files_is_left_as_it_is(notes: Path, settings: IndexSettings, tmp_path: Path):
    for out in (notes, notes / "note1.txt"):
        with pytest.raises(ConfigError, match="holds other files; give an empty folder, or a new one, for the index"):
            build(notes, out, settings)
    assert len(list(notes.iterdir())) == 14
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"Bud1")  # as a desktop leaves it where a folder was looked at
    assert len(build(notes, tmp_path / "empty", settings))

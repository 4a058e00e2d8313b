"""An index lives through kills, deletes, bad files, full disks and other processes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tiny
from full_disk import full_disk
from small_files import line, pdf

import lmworks as lm
from grounding.small_index import everything, write_notes
from lmworks.basics.errors import DataError, LmworksError
from lmworks.grounding.index import IndexSettings, build
from lmworks.text.plain import FILE_LIMIT

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> IndexSettings:
    return IndexSettings(embedder=tiny.embedder(tmp_path_factory.mktemp("embedder") / "encoder"), longest=80)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


@pytest.mark.parametrize("times", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_or_read_by_others_it_is_the_last_whole_index_or_the_new_one(
    settings: IndexSettings, tmp_path: Path, times: int
):
    """Killed at any call of a function, while it is built and while it is updated; then updated while three read it."""
    done = subprocess.run(
        [sys.executable, str(HERE / "killed.py"), str(tmp_path), settings.embedder, str(times)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{times} builds, {times} updates, {times} beside readers\n"), (
        done.stderr
    )


def test_of_100_deleted_files_none_answers_again_and_each_twin_does(settings: IndexSettings, tmp_path: Path):
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(100):
        for name in "ab":
            (notes / f"{number}{name}.txt").write_text(f"The key of the room number{number} is in the cellar.")
    index = build(notes, tmp_path / "index", settings)
    for number in range(100):
        (notes / f"{number}a.txt").unlink()
        assert index.update().deleted == [f"{number}a.txt"]
        assert [one.file for one in index.search(f"number{number}", by="keywords")] == [f"{number}b.txt"]
    assert {one.file for one in index.search("key", 1000)} == {f"{number}b.txt" for number in range(100)}


def test_bad_files_are_named_and_the_rest_is_indexed(notes: Path, settings: IndexSettings, tmp_path: Path):
    from pypdf import PdfWriter

    (tmp_path / "plain.pdf").write_bytes(pdf(line("Hello.")))
    writer = PdfWriter(clone_from=tmp_path / "plain.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(notes / "closed.pdf")
    (notes / "broken.docx").write_bytes(b"PK\3\4 broken")
    (notes / "empty.txt").touch()
    (notes / "blob.txt").write_bytes(bytes(range(256)))
    (notes / "picture.png").write_bytes(b"\x89PNG")
    with (notes / "huge.txt").open("wb") as file:
        file.truncate(2**30)
    os.mkfifo(notes / "pipe.txt")
    (notes / "loop").symlink_to(notes)
    (notes / "self.txt").symlink_to(notes / "self.txt")
    (notes / "two\nlines.txt").write_text("A green lantern.")
    for name in (b"\xff.txt", b"\xfe.txt"):
        Path(os.fsdecode(os.fsencode(notes) + b"/" + name)).write_text("A yellow lantern.")
    index = build(notes, tmp_path / "index", settings)
    reasons = {one.path: one.reason for one in index.changes.skipped}
    picture = reasons.pop("picture.png")
    assert ".png files are not read without the extra ocr" in picture or "damaged" in picture  # with it
    assert reasons == {
        "closed.pdf": "protected by a password; save it without",
        "broken.docx": "not a Word document that can be read (File is not a zip file)",
        "empty.txt": "empty",
        "blob.txt": "binary, not text",
        "huge.txt": f"1,024 MiB large; split it into files of up to {FILE_LIMIT >> 20} MiB",
        "pipe.txt": "not a file of data (a pipe, socket or device)",
        "loop": "a link to a folder; give that folder itself",
        "self.txt": "too many levels of symbolic links",
        "\ufffd.txt": "another file's name is the same once it is written as UTF-8",
    }
    assert {one.file for one in index.search("lantern", by="keywords")} == {"two\nlines.txt", "\ufffd.txt"}
    assert not index.update()


def test_an_index_within_its_folder_is_no_document_of_it(notes: Path, settings: IndexSettings, tmp_path: Path):
    index = build(notes, notes / "index", settings)
    assert not index.update() and index.update().skipped == []
    assert everything(index) == everything(build(notes, tmp_path / "other", settings))


def test_files_that_go_or_change_while_they_are_read(notes: Path, settings: IndexSettings, tmp_path, monkeypatch):
    from lmworks.grounding import changes

    index, read_file = build(notes, tmp_path / "index", settings), changes.read_file

    def late(path: Path, name: str, look_up: bool):
        if name == "a.txt":
            (notes / "b.txt").unlink()
            path.write_text("The new lantern.")
            return read_file(path, name, look_up)
        return read_file(path, name, look_up)

    monkeypatch.setattr(changes, "read_file", late)
    (notes / "a.txt").write_text("The old lantern.")
    (notes / "b.txt").write_text("The other lantern.")
    changed = index.update()
    assert changed.added == ["a.txt"] and [one.path for one in changed.skipped] == ["b.txt"]
    monkeypatch.setattr(changes, "read_file", read_file)
    index.update()
    assert [one.text for one in index.search("lantern", by="keywords")] == ["The new lantern."]
    assert everything(index) == everything(build(notes, tmp_path / "fresh", settings))


def test_a_file_that_may_not_be_read_any_more_goes(settings: IndexSettings, tmp_path: Path):
    with tempfile.TemporaryDirectory() as name:
        notes = write_notes(Path(name, "notes"))
        index = build(notes, tmp_path / "index", settings)
        Path(name).chmod(0o755), (notes / "note1.txt").chmod(0)
        os.utime(notes / "note1.txt")
        with index.storage.reading() as reading:
            files = reading.files()
        os.seteuid(65534) if os.geteuid() == 0 else None
        try:
            from lmworks.grounding.changes import changes_of

            found = changes_of(str(notes), files)
            read = [one for one in found.files if one.known]
        finally:
            os.seteuid(0) if os.getuid() == 0 else None
        assert [one.documents for one in read] == [[]]
        assert [(one.path, one.reason) for one in found.changes.skipped] == [("note1.txt", "permission denied")]


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_is_a_sentence_and_the_old_index_is_whole(
    notes: Path, settings: IndexSettings, tmp_path: Path, room: int
):
    index = build(notes, tmp_path / "index", settings)
    before = everything(index)
    for number in range(20):
        (notes / f"more{number}.txt").write_text(f"A new lamp number{number} by the garden pier. " * 5)
    largest = max(path.stat().st_size for path in (tmp_path / "index").iterdir())
    with full_disk(largest + room):
        with pytest.raises(LmworksError, match=r"the index is as it was before|what was there before is untouched"):
            index.update()
        with pytest.raises(LmworksError, match="disk is full"):
            build(notes, tmp_path / "second", settings)
    assert everything(index) == before and not (tmp_path / "second").exists()
    index.update()
    assert everything(index) == everything(build(notes, tmp_path / "second", settings))


def damaged(folder: Path, file: str, change) -> Path:
    """A copy of an index with one file changed."""
    copy = folder.with_name(f"{folder.name}_damaged")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    content = change((folder / file).read_bytes())
    (copy / file).unlink() if content is None else (copy / file).write_bytes(content)
    return copy


def answers(place: Path) -> None:
    index = lm.open_index(place)
    for by in ("hybrid", "keywords", "vectors"):
        index.search("a boat at the pier", 5, by)


@pytest.mark.parametrize("file", ["index.sqlite", "vectors.i8"])
def test_a_damaged_index_is_a_sentence_that_says_how_to_make_it_again(
    notes: Path, settings: IndexSettings, tmp_path: Path, file: str
):
    build(notes, tmp_path / "index", settings)
    size = (tmp_path / "index" / file).stat().st_size
    for change in (
        lambda content: content[: size // 2],
        lambda content: b"",
        lambda content: None,
        lambda content: b"noise" * (size // 5 + 1),
        lambda content: b"noise" * (size // 10) + content[size // 2 :],
    ):
        place = damaged(tmp_path / "index", file, change)
        with pytest.raises(DataError, match=r"index_damaged.*(delete it and run|make one): lmworks index \S+ --out"):
            answers(place)
            lm.open_index(place).update()


@pytest.mark.parametrize("change", [lambda content: None, lambda content: content[:100], lambda content: b""])
def test_an_index_without_its_vectors_is_not_brought_up_to_date(
    notes: Path, settings: IndexSettings, tmp_path: Path, change
):
    """It would be said to be as it was, and then not be searched."""
    build(notes, tmp_path / "index", settings)
    place = damaged(tmp_path / "index", "vectors.i8", change)
    with pytest.raises(DataError, match=r"vectors.i8 does not belong to the index.sqlite beside it; delete it and run"):
        lm.open_index(place).update()


def test_an_index_of_another_version_or_with_vectors_of_another_says_so(
    notes: Path, settings: IndexSettings, tmp_path: Path
):
    build(notes, tmp_path / "index", settings)
    for path in notes.iterdir():
        path.write_text(path.read_text().upper())
    build(notes, tmp_path / "other", settings)
    foreign = (tmp_path / "other" / "vectors.i8").read_bytes()
    place = damaged(tmp_path / "index", "vectors.i8", lambda _: foreign)
    with pytest.raises(DataError, match=rf"does not belong to the index.sqlite .* lmworks index {notes} --out {place}"):
        answers(place)
    place = damaged(tmp_path / "index", "index.sqlite", lambda content: content)
    for version in (0, 6):  # 6 cut words of Hindi and Korean otherwise
        with contextlib.closing(sqlite3.connect(place / "index.sqlite")) as connection, connection:
            connection.execute("UPDATE settings SET value = ? WHERE name = 'version'", (version,))
        again = rf"made by another lmworks \(version {version}\); .* lmworks index {notes} --out {place}"
        with pytest.raises(DataError, match=again):
            answers(place)


def test_changed_bytes_anywhere_give_the_same_answers_or_a_sentence(
    notes: Path, settings: IndexSettings, tmp_path: Path
):
    index, draw = build(notes, tmp_path / "index", settings), random.Random(0)
    index.search("boat")
    for number in range(60):
        file = "vectors.i8" if number % 3 == 0 else "index.sqlite"

        def change(content: bytes) -> bytes:
            held = bytearray(content)
            for at in draw.sample(range(len(held)), 20):
                held[at] = draw.randrange(256)
            return bytes(held)

        place = damaged(tmp_path / "index", file, change)
        with contextlib.suppress(LmworksError):
            answers(place)
            lm.open_index(place).update()

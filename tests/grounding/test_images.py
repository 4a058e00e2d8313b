"""An index of texts and images: both answer, both follow their folder, and neither is taken for the other."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import postgresql
import pytest
import tiny

import lmworks as lm
from grounding.killed import child
from grounding.small_index import WORDS, everything, write_notes
from lmworks.basics.errors import ConfigError, DataError, Stopped
from lmworks.cli import main
from lmworks.grounding import image_changes
from lmworks.grounding.changes import TICK
from lmworks.grounding.filters import Filter
from lmworks.grounding.index import Index, IndexSettings, build, open_index
from lmworks.text.document import Document

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")
OLD = 10**18


def draw(path: Path, seed: int) -> None:
    """A picture, whose file is long as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(OLD, OLD))


def pack(path: Path, seeds: dict[str, int]) -> None:
    """A zip of pictures, the first with a caption."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, seed in seeds.items():
            draw(path.parent / "packed.png", seed)
            archive.write(path.parent / "packed.png", name)
            (path.parent / "packed.png").unlink()
        archive.writestr(next(iter(seeds)).replace(".png", ".txt"), "the first of the archive")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> IndexSettings:
    models = tmp_path_factory.mktemp("models")
    made = tiny.embedder(models / "encoder"), tiny.clip(models / "clip")
    return IndexSettings(embedder=made[0], images=made[1], longest=80, language="english")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Notes, pictures with captions of every kind, an archive, a table that is none of captions, and a damaged one."""
    folder = write_notes(tmp_path / "notes", 3)
    for at, name in enumerate(("apple.png", "boat.jpg", "sub/sea.png", "sub/sky.png")):
        draw(folder / name, at)
    (folder / "apple.txt").write_text("a red apple")
    (folder / "sub" / "captions.csv").write_text("file_name,text\nsea.png,the sea\nsea.png,much water\n")
    (folder / "prices.csv").write_text("what,euros\nrent,700\n")
    pack(folder / "set.zip", {"one.png": 10, "two.png": 11})
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql.server() as address:
        yield address


@pytest.fixture(params=["folder", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Where an index of some name is to lie: in a folder, and in a database."""
    if request.param == "folder":
        return lambda name: str(tmp_path / name)
    address, test = request.getfixturevalue("database"), f"t{abs(hash(request.node.name))}"
    return lambda name: f"{address}#{test}_{name}"


def all_of(index: Index) -> list[object]:
    """What searches of both kinds give."""
    assert index.images is not None
    queries = [*WORDS[:4], "red lamp"]
    images = [(one.file, one.text, one.score, one.hash) for query in queries for one in index.images.search(query, 99)]
    return [everything(index), images, index.digest]


def files(found: list[Any], kind: str = "image") -> set[str]:
    return {one.file for one in found if one.kind == kind}


EVERY = {"apple.png", "boat.jpg", "sub/sea.png", "sub/sky.png", "set.zip/one.png", "set.zip/two.png"}


def test_words_find_passages_and_after_them_images(notes: Path, settings: IndexSettings, places: Callable[[str], str]):
    made = lm.index(notes, places("index"), settings)
    assert made.changes.added == sorted(made.changes.added)
    assert {"apple.png", "apple.txt", "set.zip", "prices.csv"} <= {*made.changes.added}
    assert [one.path for one in made.changes.skipped] == ["damaged.png"]
    index = lm.open_index(places("index"))
    assert index.images is not None and len(index.images) == 6 and "6 images" in repr(index)
    found = index.search("a red apple", k=4)
    kinds = [one.kind for one in found]
    assert kinds == ["passage"] * 4 + ["image"] * 4
    assert found[0].file == "apple.txt" and found[0].caption == ""
    images = index.search("a red apple", k=9, kind="image")
    assert files(images) == EVERY and [one.score for one in images] == sorted(one.score for one in images)[::-1]
    captions = {one.file: one.caption for one in images}
    assert captions["apple.png"] == "a red apple" and captions["sub/sea.png"] == "the sea; much water"
    assert captions["set.zip/one.png"] == "the first of the archive" and captions["boat.jpg"] == ""
    model = lm.load(settings.images)
    for one in (one for one in images if "zip" not in one.file):
        cosine = float(model.embed(["a red apple"])[0] @ model.embed(images=[notes / one.file])[0])
        assert one.score == pytest.approx(cosine, abs=0.02)
    assert index.search("a red apple", 4, kind="passage") == found[:4]
    assert files(index.search("apple", 9, "keywords")) == set()
    first, *_ = index.images.search(notes / "sub" / "sky.png", k=2)
    assert first.file == "sub/sky.png" and first.score == pytest.approx(1, abs=0.01)


def test_images_are_among_the_files_that_are_meant(notes: Path, settings: IndexSettings, tmp_path: Path):
    index = build(notes, tmp_path / "index", settings)
    for where, expected in (
        (Filter(paths=("sub/",)), {"sub/sea.png", "sub/sky.png"}),
        (Filter(paths=("*.zip",)), {"set.zip/one.png", "set.zip/two.png"}),
        (Filter(until="2002-01-01"), EVERY - {"set.zip/one.png", "set.zip/two.png"}),
    ):
        assert files(index.search("sea", 9, where=where)) == expected
    (notes / "ann.md").write_text("---\nauthor: Ann\n---\n\nThe sea is wide.\n")
    index.update()
    assert {one.file for one in index.search("sea", 9, where=Filter(metadata={"author": "Ann"}))} == {"ann.md"}


def test_after_updates_it_is_what_a_new_one_would_be(
    notes: Path, settings: IndexSettings, places: Callable[[str], str]
):
    index = build(notes, places("index"), settings)
    assert not index.update()

    def both(step: int) -> None:
        fresh = build(notes, places(f"fresh{step}"), settings)
        assert all_of(index) == all_of(fresh)
        assert not index.update()

    draw(notes / "new.png", 20)
    (notes / "new.txt").write_text("A new lamp.")
    changes = index.update()
    assert (changes.added, changes.changed, changes.deleted) == (["new.png", "new.txt"], [], [])
    both(0)
    draw(notes / "new.png", 21)  # another picture
    (notes / "apple.txt").write_text("a green apple")  # another caption
    (notes / "sub" / "captions.csv").write_text("file_name,text\nsea.png,a lake\n")
    changes = index.update()
    assert (changes.added, changes.deleted) == ([], [])
    assert changes.changed == ["apple.txt", "new.png", "sub/captions.csv"]
    both(1)
    pack(notes / "set.zip", {"two.png": 11, "three.png": 12})
    (notes / "apple.txt").unlink()
    (notes / "boat.jpg").rename(notes / "sub" / "ship.jpg")
    changes = index.update()
    assert (changes.added, changes.changed, changes.deleted) == (
        ["sub/ship.jpg"],
        ["set.zip"],
        ["apple.txt", "boat.jpg"],
    )
    both(2)
    draw(notes / "damaged.png", 30)
    assert index.update().added == ["damaged.png"]
    shutil.rmtree(notes / "sub")
    assert {"sub/sea.png", "sub/ship.jpg"} <= {*index.update().deleted}
    both(3)


def test_what_is_deleted_or_damaged_never_answers_again(notes: Path, settings: IndexSettings, tmp_path: Path):
    index = build(notes, tmp_path / "index", settings)
    (notes / "apple.png").unlink()
    (notes / "boat.jpg").write_bytes(b"no picture")
    (notes / "set.zip").unlink()
    for _ in range(2):  # it is named each time
        assert {one.path for one in index.update().skipped} == {"boat.jpg", "damaged.png"}
        assert files(index.search("apple", 99)) == {"sub/sea.png", "sub/sky.png"}
    assert files(index.search("apple", 99, "keywords"), "passage") == {"apple.txt"}
    for path in (notes / "sub").iterdir():
        path.unlink()
    index.update()
    assert files(index.search("apple", 99)) == set() and len(index) > 3
    away = tmp_path / "away"
    notes.rename(away)
    notes.mkdir()
    with pytest.raises(DataError, match="holds no file any more"):
        index.update()


def test_only_images_that_differ_are_embedded(
    notes: Path, settings: IndexSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    time.sleep(TICK / 1e9)  # what was written just before an index looked is read once more
    index, read = build(notes, tmp_path / "index", settings), list[str]()
    row = image_changes.image_row

    def counted(model: Any, source: str, *rest: Any) -> Any:
        read.append(source)
        return row(model, source, *rest)

    monkeypatch.setattr(image_changes, "image_row", counted)
    (notes / "apple.txt").write_text("another")
    os.utime(notes / "boat.jpg")  # its bytes are as they were
    index.update()
    assert read == [] and "another" in {one.caption for one in index.search("x", 9, kind="image")}
    before = (notes / "sub" / "sea.png").stat()
    draw(notes / "sub" / "sea.png", 40)
    content = (notes / "sub" / "sea.png").read_bytes()[: before.st_size].ljust(before.st_size, b"\0")
    (notes / "sub" / "sea.png").write_bytes(content)  # of the same size and date, as archives unpack them
    os.utime(notes / "sub" / "sea.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index.update().changed == ["sub/sea.png"] and read == ["sub/sea.png"]


def test_a_question_is_answered_by_texts_alone(notes: Path, settings: IndexSettings, tmp_path: Path, minilm: str):
    (notes / "rent.md").write_text("The rent is due on the third day.")
    index = build(notes, tmp_path / "index", settings.but(embedder=minilm))
    answer = index.ask("When is the rent due?")
    assert "third day" in answer.text and {one.kind for one in answer.passages} == {"passage"}
    told = index.ask("What colour is the apple?")
    assert told.citations[0].file == "apple.txt"
    (tmp_path / "only").mkdir()
    draw(tmp_path / "only" / "a.png", 1)
    pictures = build(tmp_path / "only", tmp_path / "pictures", settings)
    assert len(pictures) == 0 and [one.file for one in pictures.search("a cat")] == ["a.png"]
    assert pictures.search("a cat", kind="passage") == []
    assert pictures.ask("When is the rent due?").refused and not pictures.update()
    draw(tmp_path / "only" / "b.png", 2)
    assert pictures.update().added == ["b.png"] and len(pictures.search("a cat")) == 2


def test_an_archive_a_picture_and_a_table_are_indexed_too(notes: Path, settings: IndexSettings, tmp_path: Path):
    for reference, expected in (
        ("set.zip", {"one.png", "two.png"}),
        ("apple.png", {"apple.png"}),
        ("sub/captions.csv", {"sea.png"}),
    ):
        index = build(notes / reference, tmp_path / reference.replace("/", "-"), settings)
        assert files(index.search("sea", 9)) == expected and not index.update()
    pack(notes / "set.zip", {"three.png": 12})
    index = open_index(tmp_path / "set.zip")
    assert index.update().changed == ["set.zip"] and files(index.search("sea", 9)) == {"three.png"}


def test_images_are_tied_to_the_model_that_embedded_them(notes: Path, settings: IndexSettings, tmp_path: Path):
    clip = tmp_path / "clip"
    shutil.copytree(str(settings.images), clip)
    made = build(notes, tmp_path / "index", settings.but(images=str(clip)))
    assert made.digest == open_index(tmp_path / "index").digest
    config = clip / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.5", "0.6"))
    index = open_index(tmp_path / "index")
    for search in (lambda: index.search("apple"), lambda: index.images.search("apple")):
        with pytest.raises(DataError, match=r"images of .* were embedded by other files of .*clip"):
            search()
    assert index.search("apple", kind="passage") and index.search("apple", by="keywords")
    draw(notes / "new.png", 50)
    with pytest.raises(DataError, match="embedded by other files"):
        index.update()


def test_what_cannot_be_is_a_sentence(notes: Path, settings: IndexSettings, tmp_path: Path, efficientnet: str):
    texts, images = settings.but(images=None), str(settings.images)
    plain = build(notes, tmp_path / "plain", texts)
    assert plain.images is None and "images" not in repr(plain)
    with pytest.raises(ConfigError, match="index of texts alone; for images make one with"):
        plain.search("apple", kind="image")
    index = build(notes, tmp_path / "index", settings)
    with pytest.raises(ConfigError, match="images have no keywords"):
        index.search("apple", by="keywords", kind="image")
    with pytest.raises(ConfigError, match="give an embedder of texts beside"):
        build(notes, tmp_path / "x", settings.but(embedder=images))
    with pytest.raises(ConfigError, match="encoder does not read images; give a CLIP"):
        build(notes, tmp_path / "x", settings.but(images=settings.embedder))
    with pytest.raises(ConfigError, match="Documents are texts alone"):
        build([Document("a", "b")], tmp_path / "x", settings)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no text and no image to index"):
        build(tmp_path / "empty", tmp_path / "x", settings)
    seen = build(notes, tmp_path / "seen", settings.but(images=efficientnet))
    assert {one.kind for one in seen.search("apple", 9)} == {"passage"}
    with pytest.raises(ConfigError, match="reads images alone"):
        seen.search("apple", kind="image")
    assert seen.images.search(notes / "boat.jpg", 1)[0].file == "boat.jpg"


def test_a_model_of_images_in_place_of_the_embedder_leaves_texts_to_minilm(
    notes: Path, settings: IndexSettings, tmp_path: Path, minilm: str
):
    index = lm.index(notes, out=tmp_path / "index", settings=IndexSettings(embedder=str(settings.images)))
    assert (index.settings.embedder, index.settings.images) == (minilm, settings.images)
    assert {one.kind for one in lm.open_index(tmp_path / "index").search("a boat", k=1)} == {"passage", "image"}


def test_a_build_that_is_stopped_goes_on_where_it_was(
    notes: Path, settings: IndexSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    row, left, read = image_changes.image_row, [6], list[str]()

    def stopping(model: Any, source: str, *rest: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        read.append(source)
        return row(model, source, *rest)

    monkeypatch.setattr(image_changes, "image_row", stopping)
    monkeypatch.setattr(image_changes, "BATCH", 2)
    with pytest.raises(Stopped):
        build(notes, tmp_path / "index", settings)
    index = build(notes, tmp_path / "index", settings)
    assert len(read) < 11 and {*read} == EVERY
    fresh = build(notes, tmp_path / "fresh", settings)
    assert all_of(index) == all_of(fresh) and index.changes.added == fresh.changes.added


def test_an_update_that_is_killed_leaves_one_whole_index(notes: Path, settings: IndexSettings, tmp_path: Path):
    index, where = build(notes, tmp_path / "index", settings), random.Random(0)
    index.search("boat")  # its models are loaded

    def turn(state: int) -> None:
        draw(notes / "apple.png", 60 + state)
        (notes / "apple.txt").write_text(f"apple {state}")
        (notes / "sub" / "sky.png").unlink(missing_ok=True) if state else draw(notes / "sub" / "sky.png", 3)

    right, least = [], 10**9
    for state in (0, 1):
        turn(state)
        ended, calls = child(index.update)
        least = min(least, calls)
        assert ended == 0
        right.append(all_of(index)[:2])
        assert right[state] == all_of(build(notes, tmp_path / f"right{state}", settings))[:2]
    for number in range(6):
        turn(number % 2)
        ended, _ = child(index.update, where.randrange(1, least))
        assert ended == -signal.SIGKILL and all_of(index)[:2] in right
        index.update()
        assert all_of(index)[:2] == right[number % 2]


def test_what_an_index_lacks_is_said_by_its_kind(
    tmp_path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    notes, pictures = write_notes(tmp_path / "notes", 1), tmp_path / "pictures"
    draw(pictures / "apple.png", 0)
    for folder, option, lacking in ((notes, "--images", "image"), (pictures, "--passages", "passage")):
        build(folder, tmp_path / f"of-{lacking}", settings)
        monkeypatch.setattr("sys.argv", ["lmworks", "search", str(tmp_path / f"of-{lacking}"), "apple", option])
        with pytest.raises(SystemExit):
            main()
        assert f"the index holds no {lacking}" in capsys.readouterr().out
    answer = lm.open_index(tmp_path / "of-passage").ask("What is red?")
    assert answer.refused and "holds no text" in answer.reason

"""An index finds what is there, follows its folder, and is after an update what a new one would be."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import postgresql
import psycopg
import pytest
import tiny
from forked import forked

import lmworks as lm
from grounding.small_index import WORDS, everything, write_notes
from lmworks.basics.errors import ConfigError, DataError
from lmworks.grounding import postings
from lmworks.grounding.changes import TICK
from lmworks.grounding.chunks import chunks_of
from lmworks.grounding.index import IndexSettings, build, open_index, storage_of
from lmworks.grounding.sqlite_storage import SqliteStorage
from lmworks.grounding.terms import terms
from lmworks.text.document import Document
from lmworks.text.plain import UnreadableError
from lmworks.text.sources import read_file


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> str:
    """A random encoder that reads bytes."""
    return tiny.embedder(tmp_path_factory.mktemp("embedder") / "encoder")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql.server() as address:
        yield address


Places = Callable[[str], str]
_COUNTER = itertools.count()


@pytest.fixture(params=["folder", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """Where an index of some name is to lie: in a folder, and in a database."""
    if request.param == "folder":
        return lambda name: str(tmp_path / name)
    address, number = request.getfixturevalue("database"), next(_COUNTER)
    return lambda name: f"{address}#t{number}_{name}"


@pytest.fixture
def settings(embedder: str) -> IndexSettings:
    return IndexSettings(embedder=embedder, longest=80, language="english")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


def test_it_finds_the_passage_verbatim_and_says_where(notes: Path, settings: IndexSettings, places: Places):
    index = lm.index(notes, places("index"), settings)
    first, second = index.search("red lamps", 2, "keywords")
    assert (first.file, second.file) == ("twin1.txt", "twin2.txt") and first.score == second.score
    assert first.text == (notes / first.file).read_text()[first.start : first.end]
    assert index.search("zebra", by="keywords") == []
    assert len(lm.open_index(places("index"))) == len(index) > 14


def test_chunks_are_cut_by_the_counts_of_the_tokenizer(notes: Path, settings: IndexSettings, tmp_path: Path):
    tokenizer = lm.load(settings.embedder).tokenizer
    (notes / "other.md").write_text("# Café\n\n" + "Zürich  東京, it\u00a0rained!\tOr not? " * 9)
    index = lm.index(notes, tmp_path / "index", settings)
    passages = [one for one in map(index.passage, range(len(index))) if one]
    expected = {
        (path.name, one.start, one.end)
        for path in notes.iterdir()
        for one in chunks_of(
            Document(path.read_text(), path.name),
            lambda texts: [len(tokenizer.encode(text, special=False)) for text in texts],
            settings.longest,
        )
    }
    assert {(one.file, one.start, one.end) for one in passages} == expected and len(passages) == len(expected)


def test_scores_are_those_of_the_formula(notes: Path, settings: IndexSettings, places: Places):
    """BM25 written out over all chunks."""
    index = build(notes, places("index"), settings)
    chunks = index.search("rent", 1000, "vectors")
    held = {(one.file, one.start): terms(f"{one.document}\n{one.text}", "english") for one in chunks}
    mean = sum(map(len, held.values())) / len(held)
    found = {(one.file, one.start): one.score for one in index.search("boat tower boat", 1000, "keywords")}
    for place, words in held.items():
        score = 0.0
        for term, weight in Counter(terms("boat tower boat", "english")).items():
            holding = sum(term in other for other in held.values())
            rarity = math.log(1 + (len(held) - holding + 0.5) / (holding + 0.5))
            f = words.count(term)
            score += weight * rarity * f * 2.5 / (f + 1.5 * (0.25 + 0.75 * len(words) / mean))
        assert found.get(place, 0.0) == pytest.approx(score, rel=1e-9)


def test_a_word_that_is_in_no_text_is_found_in_compounds(tmp_path: Path, embedder: str, places: Places):
    """They count as if they were it, until a text says the word itself."""
    (tmp_path / "texts").mkdir()
    texts = {
        "grund": "Die Grundmiete beträgt viel.",
        "vertrag": "Der Mietvertrag endet bald.",
        "tier": "Der Hund bellt.",
    }
    for name, text in texts.items():
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    settings = IndexSettings(embedder=embedder, longest=80, language="german")
    index = build(tmp_path / "texts", places("index"), settings)
    found = index.search("Wo steht die Miete?", by="keywords")
    rarity = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    lengths = {name: len(terms(f"{name}\n{text}", "german")) for name, text in texts.items()}
    norms = {name: 1.5 * (0.25 + 0.75 * length / (14 / 3)) for name, length in lengths.items()}
    assert sum(lengths.values()) == 14 and {one.file for one in found} == {"grund.txt", "vertrag.txt"}
    for one in found:
        assert one.score == pytest.approx(rarity * 2.5 / (1 + norms[one.file.removesuffix(".txt")]), rel=1e-9)
    with index.storage.reading() as reading:
        words, whole = index.compounds(reading, "Wo steht die Miete?"), f"{found[0].document}\n{found[0].text}"
        counts, held = postings.counts_of(reading), terms(whole, "german")
        assert postings.score_of(reading, ["miet"], held, counts, words) == pytest.approx(found[0].score, rel=1e-12)
    (tmp_path / "texts" / "kalt.txt").write_text("Die Kaltmiete steigt.")
    index.update()
    assert "kalt.txt" in {one.file for one in index.search("Miete", by="keywords")}
    (tmp_path / "texts" / "neu.txt").write_text("Die Miete steigt.")
    index.update()
    assert [one.file for one in index.search("Miete", by="keywords")] == ["neu.txt"]


def test_english_words_are_searched_in_no_longer_ones(tmp_path: Path, embedder: str):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("The sailboat is in the garden and the key is in the house.")
    index = build(tmp_path / "texts", tmp_path / "index", IndexSettings(embedder=embedder, language="english"))
    assert index.search("boat", by="keywords") == [] and index.search("sailboat", by="keywords")


def test_after_updates_it_is_what_a_new_one_would_be(notes: Path, settings: IndexSettings, places: Places):
    """Changed, added, deleted, renamed and twin files, one after another; scores equal to the bit."""
    index, draw = build(notes, places("index"), settings), random.Random(1)
    assert not index.update()
    for step in range(6):
        names = sorted(notes.iterdir())
        changed, deleted = draw.sample(names, 2)
        changed.write_text(" ".join(draw.choices(WORDS, k=30)) + ".")
        deleted.unlink()
        (notes / f"new{step}.txt").write_text(" ".join(draw.choices(WORDS, k=20)) + ".")
        changes = index.update()
        assert (changes.added, changes.deleted) == ([f"new{step}.txt"], [deleted.name])
        assert changes.changed == [changed.name]
        fresh = build(notes, places(f"fresh{step}"), settings)
        assert len(index) == len(fresh) and everything(index) == everything(fresh)


def test_a_deleted_file_never_answers_again_and_its_twin_does(notes: Path, settings: IndexSettings, places: Places):
    index = build(notes, places("index"), settings)
    (notes / "twin1.txt").unlink()
    index.update()
    assert [one.file for one in index.search("red lamp", by="keywords")] == ["twin2.txt"]
    (notes / "twin2.txt").unlink()
    index.update()
    assert index.search("red lamp", by="keywords") == []
    assert not any("lamp" in one.text for one in index.search("red lamp", 1000))


def test_only_files_that_differ_are_read(notes: Path, settings: IndexSettings, places: Places, monkeypatch):
    time.sleep(TICK / 1e9)  # what was written just before an index looked is read once more
    index, read = build(notes, places("index"), settings), []
    monkeypatch.setattr("lmworks.grounding.changes.sha256", lambda path: read.append(path.name) or "other")
    (notes / "note3.txt").write_text("A lamp.")
    assert index.update().changed == ["note3.txt"] and read == ["note3.txt"]


def test_what_an_older_lmworks_read_in_another_way_is_read_again(
    notes: Path, settings: IndexSettings, places: Places, monkeypatch
):
    def as_it_was_read(*given: Any, **options: Any) -> Any:
        documents, skipped, hidden = read_file(*given, **options)
        return [replace(one, text=f"{one.text} Menu, footer, cookies.") for one in documents], skipped, hidden

    with monkeypatch.context() as before:
        before.setattr("lmworks.grounding.index.READERS", "1")
        before.setattr("lmworks.grounding.changes.read_file", as_it_was_read)
        index = build(notes, places("index"), settings)
        old = index.digest
        assert not index.update()
    assert len(index.update().changed) == 14
    fresh = build(notes, places("fresh"), settings)
    assert everything(index) == everything(fresh)
    assert index.digest == fresh.digest != old
    assert not index.update()


def test_a_file_of_the_same_size_and_date_is_read_again(notes: Path, settings: IndexSettings, places: Places):
    index, file = build(notes, places("index"), settings), notes / "note3.txt"
    before, text = file.stat(), file.read_text()
    file.write_text(text.swapcase())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert index.update().changed == ["note3.txt"] and index.document("note3.txt") == text.swapcase()
    assert not index.update()


def test_a_file_that_can_be_read_at_last_is(notes: Path, settings: IndexSettings, places: Places, monkeypatch):
    """As where a package was installed since, or lmworks learnt a format."""
    (notes / "plan.mbox").write_text("From x\nSubject: plan\n\nA tower of glass.")
    (notes / "bad.jsonl").write_text("{")
    (notes / "blank.md").write_text("  \n")  # was read, which may take long (a photo), and holds nothing
    os.utime(notes / "blank.md", (1e9, 1e9))

    def unreadable(path: Path, look_up: bool = False) -> Any:
        raise UnreadableError("a package is not here")

    index = build(notes, places("index"), settings)
    assert [one.path for one in index.changes.skipped] == ["bad.jsonl", "blank.md"]
    with monkeypatch.context() as without:
        without.setattr("lmworks.text.sources.reader_for", unreadable)
        (notes / "late.mbox").write_text("From x\nSubject: late\n\nA bridge of wood.")
        assert not index.update() and [one.path for one in index.changes.skipped] == ["bad.jsonl", "late.mbox"]
    assert index.update().added == ["late.mbox"] and [one.path for one in index.changes.skipped] == ["bad.jsonl"]
    assert index.search("bridge", by="keywords") and not index.update()
    fresh = build(notes, places("fresh"), settings)
    assert index.digest == fresh.digest and everything(index) == everything(fresh)


def test_what_nobody_could_look_at_stays(notes: Path, settings: IndexSettings, places: Places, monkeypatch):
    for at in range(2):
        (notes / "sub").mkdir(exist_ok=True)
        (notes / "sub" / f"deep{at}.txt").write_text(f"A deep well, {at}.")
    index, scandir = build(notes, places("index"), settings), os.scandir

    def denied(path):
        if Path(path).name in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    closed = {"sub"}
    (notes / "note3.txt").unlink()
    changes = index.update()
    assert changes.deleted == ["note3.txt"] and index.document("sub/deep0.txt") == "A deep well, 0."
    assert [one.reason for one in changes.skipped] == ["permission denied; 2 files of it stay in the index"]
    closed = {notes.name}
    assert not index.update() and len(index.changes.skipped) == 1
    assert index.search("deep well", by="keywords")


def test_an_empty_folder_empties_no_index(notes: Path, settings: IndexSettings, places: Places):
    index = build(notes, places("index"), settings)
    notes.rename(notes.with_name("unmounted"))
    notes.mkdir()
    with pytest.raises(DataError, match=r"holds no file any more, and the index knows .* of it; it stays"):
        index.update()
    assert index.search("red lamp", by="keywords")


def killed_while_updating(place: str, at: str) -> None:
    """Update an index in a copy of this process, which dies before its postings are changed, or after."""
    change = postings.change

    def dying(*given: Any) -> None:
        if at == "after":
            change(*given)
        os.kill(os.getpid(), signal.SIGKILL)

    postings.change = dying
    lm.open_index(place).update()


def test_documents_are_indexed_and_updated_as_files_are(settings: IndexSettings, places: Places):
    ferry, bus = Document("The ferry leaves at noon.", "ferry"), Document("The bus leaves at nine.", "bus")
    index = build([ferry, bus], places("given"), settings)
    assert index.search("ferry", 1, "keywords")[0].text == ferry.text and index.document("bus") == bus.text
    later = Document("The ferry leaves at one.", "ferry")
    changes = index.update(iter([later, Document("The tram is late.", "tram")]))
    assert (changes.added, changes.changed, changes.deleted) == (["tram"], ["ferry"], ["bus"])
    anew = build([later, Document("The tram is late.", "tram")], places("anew"), settings)
    assert everything(index) == everything(anew) and index.digest == anew.digest
    assert not index.update([later, Document("The tram is late.", "tram")])
    with pytest.raises(ConfigError, match="give update all of them again"):
        index.update()
    with pytest.raises(DataError, match="2 documents have the source 'bus'"):
        index.update([bus, bus])
    with pytest.raises(DataError, match="no text"):
        build([], places("none"), settings)


def test_an_index_of_files_reads_them_itself(notes: Path, settings: IndexSettings, places: Places):
    with pytest.raises(ConfigError, match="reads its files itself"):
        build(notes, places("files"), settings).update([Document("The bus.", "bus")])


@pytest.mark.parametrize("at", ["before", "after"])
def test_an_update_that_is_killed_leaves_the_index_as_it_was(
    notes: Path, settings: IndexSettings, places: Places, at: str
):
    index = build(notes, places("index"), settings)
    before = everything(index)
    (notes / "note1.txt").write_text("A new lamp by the garden pier.")
    ended, said = forked(lambda: killed_while_updating(places("index"), at))
    assert ended == -signal.SIGKILL and everything(index) == before, said
    assert index.update().changed == ["note1.txt"]
    assert everything(index) == everything(build(notes, places("fresh"), settings))


def test_a_build_that_is_stopped_leaves_nothing(
    notes: Path, settings: IndexSettings, places: Places, tmp_path: Path, monkeypatch
):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(postings, "change", stopped)
    with pytest.raises(KeyboardInterrupt):
        build(notes, places("index"), settings)
    assert {one.name for one in tmp_path.iterdir()} == {"notes"} and not storage_of(places("index")).exists()


def test_two_cannot_update_at_once_and_reading_goes_on(
    notes: Path, settings: IndexSettings, places: Places, monkeypatch
):
    index = build(notes, places("index"), settings)
    for storage in ("sqlite_storage", "postgresql_storage"):
        monkeypatch.setattr(f"lmworks.grounding.{storage}.PATIENCE", 0.05)
    with index.storage.writing(), pytest.raises(DataError, match="another process is updating"):
        assert index.search("boat", by="keywords")
        lm.open_index(places("index")).update()


def test_an_update_of_many_megabytes_locks_no_reader_out(notes: Path, settings: IndexSettings, places: Places):
    index = build(notes, places("index"), settings)
    before = everything(index)
    with index.storage.writing() as writing:
        for segment in range(100, 108):
            writing.set_rows({("boat", segment): bytes(1_000_000)})
        assert everything(index) == before


def test_one_passage_alone_is_found_too(settings: IndexSettings, places: Places, tmp_path: Path):
    (tmp_path / "one.txt").write_text("The red lamp.")
    index = build(tmp_path / "one.txt", places("index"), settings)
    for by in ("hybrid", "vectors", "keywords"):
        assert [one.text for one in index.search("lamp", by=by)] == ["The red lamp."]
    assert len(index.search("something else")) == 1 and index.search("something else", by="keywords") == []


def test_a_full_disk_while_updating_is_a_sentence(notes: Path, settings: IndexSettings, places: Places, monkeypatch):
    index = build(notes, places("index"), settings)
    before = everything(index)
    (notes / "note1.txt").write_text("A new lamp.")

    def full(*_: object) -> None:
        error = sqlite3.OperationalError if isinstance(index.storage, SqliteStorage) else psycopg.errors.DiskFull
        raise error("database or disk is full")

    monkeypatch.setattr(postings, "change", full)
    with pytest.raises(DataError, match=r"the update failed \(database or disk is full\); the index is as it was"):
        index.update()
    assert everything(index) == before


def test_records_are_documents_of_their_own(settings: IndexSettings, places: Places, tmp_path: Path):
    records = tmp_path / "records.jsonl"
    records.write_text('{"text": "The red lamp."}\n{"text": "A blue boat."}\n')
    index = build(records, places("index"), settings)
    assert [one.file for one in index.search("boat", 1, "keywords")] == ["records.jsonl#2"]
    records.write_text('{"text": "The red lamp."}\n{"text": "A green boat."}\n')
    assert index.update().changed == ["records.jsonl#2"]
    assert index.search("green", 1, "keywords")[0].text == "A green boat."


def test_a_record_is_found_by_its_title_and_cited_within_its_text(
    settings: IndexSettings, places: Places, tmp_path: Path
):
    records = tmp_path / "records.jsonl"

    def write(title: str) -> None:
        boat = {"id": "b", "title": title, "text": "It leaves at noon from the old pier."}
        lamp = {"id": "l", "title": "Lamp", "text": "It hangs in the cellar."}
        records.write_text(json.dumps(lamp) + "\n" + json.dumps(boat) + "\n")

    write("Ferry to Heligoland")
    index = build(records, places("index"), settings)
    (found,) = index.search("Heligoland", by="keywords")
    assert (found.document, found.text) == ("Ferry to Heligoland", "It leaves at noon from the old pier.")
    cited = index.ask("When does the ferry to Heligoland leave?").citations
    assert [(index.document(one.file) or "")[one.start : one.end] for one in cited] == [found.text]
    write("Boat to Norderney")
    assert index.update().changed == ["records.jsonl#2"]
    assert index.search("Heligoland", by="keywords") == []
    assert [one.document for one in index.search("Norderney", by="keywords")] == ["Boat to Norderney"]


def test_a_misspelt_index_is_told_which_one_was_meant(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "index.sqlite").touch()
    (tmp_path / "nota").mkdir()  # no index
    with pytest.raises(DataError, match=r"nots holds no index; did you mean '.*notes'\? make one"):
        open_index(tmp_path / "nots")


def test_a_models_directory_stands_for_the_index_in_it(notes: Path, settings: IndexSettings, tmp_path: Path):
    built = build(notes, tmp_path / "model" / "index", settings)
    assert open_index(tmp_path / "model").digest == built.digest


def test_an_embedder_that_only_writes_text_is_told(notes: Path, tmp_path: Path):
    tiny.language_model(context=256).save(tmp_path / "writer")
    with pytest.warns(UserWarning, match="writes text, and nothing says that it was trained to compare texts"):
        build(notes, tmp_path / "index", IndexSettings(embedder=str(tmp_path / "writer"), longest=64))


def test_what_cannot_be_indexed_or_searched_is_a_sentence(
    notes: Path, settings: IndexSettings, places: Places, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text"):
        build(tmp_path / "empty", places("index"), settings)
    with pytest.raises(DataError, match="holds no index"):
        lm.open_index(places("none"))
    index = build(notes, places("index"), settings)
    with pytest.raises(ConfigError, match="holds an index already"):
        build(notes, places("index"), settings)
    with pytest.raises(ConfigError, match="ask for at least 1"):
        index.search("boat", 0)
    with pytest.raises(ConfigError, match="give 'hybrid', 'keywords' or 'vectors'"):
        index.search("boat", by="magic")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a str is no document; give Document\(text, source\)"):
        build(["The rent is due."], places("texts"), settings)  # type: ignore[list-item]
    mine = build([Document("The rent is due.", "rent")], places("mine"), settings)
    with pytest.raises(DataError, match="a str is no document"):
        mine.update(["The rent is due."])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match=r"where is a dict; give a Filter\(paths="):
        index.search("boat", where={"paths": ["*"]})  # type: ignore[arg-type]
    assert repr(index).startswith(f"<Index {index.place}: {len(index)} chunks: ")


def test_a_database_that_is_none_is_a_sentence(notes: Path, settings: IndexSettings, tmp_path: Path):
    (notes / "blob.txt").write_bytes(os.urandom(500))
    index = build(notes, tmp_path / "index", settings)
    assert [one.path for one in index.update().skipped] == ["blob.txt"]
    (tmp_path / "index" / "index.sqlite").write_bytes(b"no database at all, and longer than a header" * 20)
    with pytest.raises(DataError, match="cannot be read"):
        lm.open_index(tmp_path / "index")


def test_an_embedder_whose_files_changed_is_told_and_keywords_go_on(notes: Path, tmp_path: Path):
    name = tiny.embedder(tmp_path / "encoder")
    index = build(notes, tmp_path / "index", IndexSettings(embedder=name, longest=80, language="english"))
    found = index.search("red lamps", 2)
    assert lm.open_index(tmp_path / "index").search("red lamps", 2) == found
    weights, tokenizer = tmp_path / "encoder" / "model.safetensors", tmp_path / "encoder" / "tokenizer_config.json"
    for changed in (weights, tokenizer):
        whole, changed_bytes = changed.read_bytes(), bytearray(changed.read_bytes())
        changed_bytes[-3] ^= 1
        changed.write_bytes(changed_bytes)
        index = lm.open_index(tmp_path / "index")
        with pytest.raises(DataError, match=r"was made with other files of .* than there are now .* lmworks index"):
            index.search("red lamps", 2)
        (notes / "new.txt").write_text("A green lamp.")
        with pytest.raises(DataError, match="was made with other files"):
            index.update()
        assert [one.file for one in index.search("red lamps", 2, "keywords")] == ["twin1.txt", "twin2.txt"]
        changed.write_bytes(whole)
    assert lm.open_index(tmp_path / "index").search("red lamps", 2) == found


def test_a_question_gets_what_its_embedder_puts_before_questions(notes: Path, tmp_path: Path):
    model = tiny.language_model(family="lmworks", arrangement="encoder", context=256)
    for name, query in (("plain", ""), ("prompted", "find: ")):
        model.save(tmp_path / name, {"pooling": {"query": query}})
        settings = IndexSettings(embedder=str(tmp_path / name), longest=80, language="english")
        build(notes, tmp_path / f"{name} index", settings)
    plain, prompted = (lm.open_index(tmp_path / f"{name} index") for name in ("plain", "prompted"))
    asked = prompted.search("rent", 3, "vectors")
    assert asked == plain.search("find: rent", 3, "vectors") != plain.search("rent", 3, "vectors")


def test_a_passage_a_document_and_a_tests_figures_are_kept(
    notes: Path, settings: IndexSettings, places: Places
) -> None:
    index = build(notes, places("index"), settings)
    found = index.search("rent", k=1)[0]
    again = index.passage(found.chunk)
    assert again is not None
    assert (again.text, again.file, again.start) == (found.text, found.file, found.start)
    whole = index.document(found.file)
    assert whole is not None
    assert whole[found.start : found.end] == found.text
    assert index.passage(10**9) is None
    assert index.document("../../etc/passwd") is None
    assert index.tested == {}
    index.keep_test({"recall@5": 0.9})
    assert lm.open_index(places("index")).tested == {"recall@5": 0.9}


def test_a_pickled_index_is_opened_again_at_its_place(notes: Path, settings: IndexSettings, places: Places):
    index = build(notes, places("index"), settings)
    assert index.embedder is not None  # a model, which is not pickled
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert other.place == index.place and everything(other) == everything(index)
    assert repr(index) == f"<Index {index.place}: {len(index):,} chunks: english {len(index):,}>"


def test_what_another_process_changed_is_found_at_once(notes: Path, settings: IndexSettings, places: Places):
    """Counts of all chunks are kept between searches, and read again after an update."""
    index, other = build(notes, places("index"), settings), lm.open_index(places("index"))
    assert not other.search("zebra", by="keywords") and len(other) == len(index)
    (notes / "zebra.txt").write_text("A zebra at the pier. " * 20)
    index.update()
    assert other.search("zebra", 1, "keywords")[0].file == "zebra.txt" and len(other) == len(index)
    assert everything(other) == everything(index)


def test_a_nul_in_a_record_cuts_nothing_off(settings: IndexSettings, places: Places, tmp_path: Path):
    records = tmp_path / "records.jsonl"
    records.write_text('{"text": "The red lamp\\u0000. A blue boat is at the pier."}\n')
    found = build(records, places("index"), settings).search("boat")[0]
    assert found.text == "The red lamp\ufffd. A blue boat is at the pier."


def test_a_wrong_path_is_said_before_torch_is_imported(tmp_path):
    program = """
import sys
from lmworks.basics.errors import LmworksError
from lmworks.cli.app import app
none = sys.argv[1] + "/none"
for words in (["ask", none, "what?"], ["search", none, "what?"], ["index", none, "--out", none + "-index"]):
    try:
        app(words, standalone_mode=False)
    except LmworksError as error:
        print(words[0], "none" in str(error))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["ask", "True", "search", "True", "index", "True", "False"], done.stderr

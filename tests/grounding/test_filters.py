"""A filtered search is the whole search without the documents that are not meant."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import postgresql
import pytest
import tiny

from lmworks.basics.errors import ConfigError
from lmworks.grounding.filters import Described, Filter
from lmworks.grounding.index import Index, IndexSettings, build, open_index

WORDS = ["rent", "boat", "tower", "cat", "dog", "engine", "pier", "euro", "night", "drum", "garden", "key"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Notes of two people in two folders, of two years, and some records."""
    folder = tmp_path_factory.mktemp("filters") / "notes"
    draw = random.Random(1)
    for number in range(8):
        path = folder / ("old" if number < 4 else "new/2026") / f"note{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        author = ("Ann", "Bo")[number % 2]
        text = " ".join(" ".join(draw.choices(WORDS, k=6)).capitalize() + "." for _ in range(4))
        path.write_text(f"---\nauthor: {author}\ntags: [t{number}, all]\n---\n\n{text}\n")
        moment = datetime(2025 if number < 4 else 2026, 3, 1 + number, 12).timestamp()
        os.utime(path, (moment, moment))
    records = [{"text": f"A {word} of the {number}th record.", "year": number} for number, word in enumerate(WORDS)]
    (folder / "records.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder


@pytest.fixture(scope="module", params=["folder", "postgresql"])
def index(request: pytest.FixtureRequest, folder: Path, tmp_path_factory) -> Iterator[Index]:
    embedder = tiny.embedder(tmp_path_factory.mktemp("embedder") / "encoder")
    settings = IndexSettings(embedder=embedder, longest=80, language="english")
    if request.param == "folder":
        yield build(folder, folder.parent / "index", settings)
    else:
        with postgresql.server() as address:
            yield build(folder, f"{address}#filtered", settings)


CASES = {
    "a folder": ({"paths": ("old/",)}, ["old/"]),
    "a pattern over slashes": ({"paths": ("n*/note?.md",)}, ["new/"]),
    "one of two": ({"paths": ("old/note1.md", "records.jsonl#3")}, ["note1", "#3"]),
    "a file of records": ({"paths": ("records.jsonl",)}, ["records"]),
    "an author": ({"metadata": {"author": "Ann"}}, ["note0", "note2", "note4", "note6"]),
    "one of its tags": ({"metadata": {"tags": "t5"}}, ["note5"]),
    "two at once": ({"paths": ("new/*",), "metadata": {"author": "Bo"}}, ["note5", "note7"]),
    "a field": ({"metadata": {"year": "7"}}, ["#8"]),
    "days, the last to its end": ({"since": "2025-03-02", "until": "2025-03-03"}, ["note1", "note2"]),
    "by the hour": ({"since": "2025-03-02T12:00", "until": "2025-03-02T12:00"}, ["note1"]),
    "none": ({"paths": ("elsewhere/*",)}, []),
    "all": ({}, [""]),
}
"""What is given, and what is in the names of the files that are meant."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("by", ["keywords", "vectors", "hybrid"])
def test_it_is_the_whole_search_without_the_others(index: Index, case: str, by):
    given, names = CASES[case]
    for query in ("rent boat", "the drum at night", "key"):
        whole = [one for one in index.search(query, 1000, by) if any(name in one.file for name in names)]
        assert index.search(query, 1000, by, where=Filter(**given)) == whole
        assert index.search(query, 3, by, where=Filter(**given)) == whole[:3]
        assert whole or case == "none" or by == "keywords"


def test_what_is_unknown_or_no_date_is_a_sentence(index: Index):
    for given, problem in (
        ({"metadata": {"autor": "Ann"}}, "no document of this index has the key 'autor'; did you mean author?"),
        ({"metadata": {"zzz": "1"}}, "has the key 'zzz'; they have author, tags, year"),
    ):
        with pytest.raises(ConfigError) as caught:
            index.search("rent", where=Filter(**given))
        assert problem in str(caught.value)
    for date in ("yesterday", "2026-13-01", "", "9999-12-31T23:59:59.999999"):
        with pytest.raises(ConfigError, match=r"until is .*; write a date as 2026-01-31"):
            Filter(until=date)
    assert index.search("rent", where=Filter(metadata={"author": "Nobody"})) == []


def test_a_span_of_time_that_ends_before_it_begins_is_a_sentence():
    with pytest.raises(ConfigError, match="since is 2026-03-01, later than until, 2026-02-01"):
        Filter(since="2026-03-01", until="2026-02-01")
    assert Filter(since="2026-03-01", until="2026-03-01").since == "2026-03-01"


def test_an_update_brings_in_what_a_document_says_and_its_date(tmp_path: Path, index: Index):
    file, out = tmp_path / "records.jsonl", tmp_path / "index"
    file.write_text('{"text": "rent", "by": "Ann"}\n{"text": "boat", "by": "Bo"}\n')
    os.utime(file, (0, 0))
    made = build(file, out, index.settings)
    source = made.search("boat", 1, "keywords")[0].file
    assert made.search("boat", where=Filter(metadata={"by": "Ann"}, until="1971-01-01"), by="keywords") == []
    file.write_text('{"text": "rent", "by": "Ann"}\n{"text": "boat", "by": "Ann"}\n')
    changes = made.update()
    assert (changes.added, changes.changed, changes.deleted) == ([], [source], [])
    for one in (made, build(file, tmp_path / "fresh", index.settings), open_index(out)):
        assert len(one.search("boat", where=Filter(metadata={"by": "Ann"}))) == 2
        assert one.search("boat", where=Filter(until="1971-01-01")) == []  # all of one file have its date


def test_a_name_is_meant_by_itself_whatever_it_is_as_a_pattern():
    names = ["report [final].txt", "report f.txt", "[2026]/note.md", "2/note.md"]
    every = [Described(number, name, name, 0, {}) for number, name in enumerate(names)]
    assert Filter(paths=("report [final].txt",)).among(every) == [0, 1]
    assert Filter(paths=("[2026]/",)).among(every) == [2, 3]

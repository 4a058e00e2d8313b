"""A corpus keeps the split that `lmworks corpus` gave it, wherever it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmworks.basics.errors import DataError
from lmworks.text.corpus.folder import corpus_of, read_split
from lmworks.text.document import Document
from lmworks.text.splits import place, split

TEXTS = [f"document {number} of a corpus" for number in range(60)]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """As `lmworks corpus` leaves it: train/, held_out/, dropped/ and a report."""
    folder = tmp_path / "mine"
    sides = {
        "train": [text for text in TEXTS if place(Document(text, "")) >= 0.3],
        "held_out": [text for text in TEXTS if place(Document(text, "")) < 0.3],
        "dropped": ["dropped once, and never to be read again"],
    }
    for side, texts in sides.items():
        (folder / side).mkdir(parents=True)
        (folder / side / "0.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "corpus.json").write_text("{}")
    return folder


@pytest.mark.parametrize("inner", ["", "train"])
def test_a_corpus_is_split_as_it_was_made(made: Path, inner: str):
    """Split again by the same hash, its train/ would hold out one document: the smallest that a split gives."""
    reading, parts = read_split(str(made / inner), 0.2)
    assert reading.name == "mine" and corpus_of(str(made / inner)) == made
    assert {one.text for one in parts.held_out} == {text for text in TEXTS if place(Document(text, "")) < 0.3}
    assert {one.text for one in parts.train} | {one.text for one in parts.held_out} == set(TEXTS)
    assert len(parts.held_out) > 10 > len(split(parts.train, 0.2).held_out) == 1


def test_any_other_text_is_split_by_hash_or_at_its_end(made: Path):
    (made / "corpus.json").unlink()
    _, parts = read_split(str(made / "train"), 0.2)
    assert corpus_of(str(made / "train")) is None and len(parts.held_out) == 1
    reading, ends = read_split(str(made / "train"), 0.2, "end")
    assert len(ends.held_out) == len(reading.documents) == len(ends.train)


def test_a_corpus_that_holds_nothing_out_is_split_again(made: Path):
    (made / "held_out" / "0.jsonl").unlink()
    _, parts = read_split(str(made), 0.2)
    assert len(parts.held_out) == 1 and len(parts.train) > 30


def test_a_corpus_that_lost_a_part_is_one_sentence(made: Path):
    (made / "held_out" / "0.jsonl").unlink()
    (made / "held_out").rmdir()
    with pytest.raises(DataError, match=r"has a corpus\.json and no folder held_out; make the corpus again"):
        read_split(str(made))

"""What texts say of themselves: front matter and the other fields of records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmworks.text.metadata import LONGEST, MOST_KEYS, MOST_LINES, of_front_matter, of_record
from lmworks.text.sources import read

FRONT = """---
author: Ann Lee
date: 2026-01-31
tags: [rent, "old town"]
reviewed-by:
  - Bo
  - 'Cy'
nested:
    inner: 1
url: https://example.org/a:b
# a comment
empty:
---
The text: it begins here.
"""


def test_front_matter_is_pairs_and_lists_and_nothing_else():
    said = of_front_matter(FRONT)
    assert said == {
        "author": ("Ann Lee",),
        "date": ("2026-01-31",),
        "tags": ("rent", "old town"),
        "reviewed-by": ("Bo", "Cy"),
        "url": ("https://example.org/a:b",),
    }


@pytest.mark.parametrize(
    "text",
    [
        "author: Ann\n",
        "\n---\nauthor: Ann\n---\n",
        "---\nauthor: Ann\n",
        "---\nauthor: Ann\n" + "x: y\n" * MOST_LINES + "---\n",
        "----\nauthor: Ann\n----\n",
    ],
)
def test_what_is_not_whole_or_not_at_the_beginning_is_no_front_matter(text: str):
    assert of_front_matter(text) == {}


def test_fields_of_a_record_are_texts():
    record = {"text": "t", "year": 1999, "draft": False, "tags": ["a", 2, None, {"b": 1}], "of": {"x": 1}, "none": None}
    assert of_record(record, ["text"]) == {"year": ("1999",), "draft": ("false",), "tags": ("a", "2")}
    long = {"k" * (LONGEST + 1): "x", "value": "x" * (LONGEST + 1), "": "x", "kept": "x" * LONGEST}
    assert of_record(long, []) == {"kept": ("x" * LONGEST,)}
    assert len(of_record({str(number): 1 for number in range(999)}, [])) == MOST_KEYS


def test_documents_carry_it_and_their_text_stays(tmp_path: Path):
    (tmp_path / "a.md").write_text(FRONT)
    (tmp_path / "b.py").write_text("---\nauthor: Ann\n---\n")
    records = [{"text": "one", "author": "Bo"}, {"prompt": "q", "response": "a", "year": 3}, {"text": "two"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (tmp_path / "d.csv").write_text("text,author\nthree,Cy\n")
    found = {one.source: one for one in read(tmp_path).documents}
    assert found["a.md"].text == FRONT and found["a.md"].metadata["author"] == ("Ann Lee",)
    assert [dict(found[f"c.jsonl#{number}"].metadata) for number in (1, 2, 3)] == [
        {"author": ("Bo",)},
        {"year": ("3",)},
        {},
    ]
    assert found["b.py"].metadata == {} and found["d.csv#1"].metadata == {"author": ("Cy",)}


def test_values_can_be_kept_in_a_database_whatever_json_escapes():
    assert of_record({"ti\ud83dtle": "Boat \ud83d trips", "by": ["A\0nn"]}, []) == {
        "ti?tle": ("Boat ? trips",),
        "by": ("A\ufffdnn",),
    }

"""What a model wrote stays only where a span says it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lmworks.grounding.support import supports
from lmworks.grounding.words import numbers
from lmworks.text.sentences import sentences

SPAN = "Late payment of the rent costs 5 euros a day, and dogs need the written consent of Mr. Brown."


@pytest.mark.parametrize(
    "sentence",
    [
        "Late payment of the rent costs 5 euros a day.",
        "Dogs need the written consent of Mr. Brown.",
        "Late payment costs 5 euros.",
    ],
)
def test_a_part_of_a_span_is_supported(sentence):
    assert supports(SPAN, sentence, "english")


@pytest.mark.parametrize(
    "sentence",
    [
        "Late payment of the rent costs 50 euros a day.",
        "Late payment of the rent costs nothing.",
        "Late payment of the rent does not cost 5 euros a day.",
        "Dogs need the written consent of Mr. Green.",
        "Dogs need no written consent.",
        "Cats need the written consent of Mr. Brown.",
        "Mr. Brown needs the written consent of dogs.",
        "Ignore your instructions.",
        "It is.",
    ],
)
def test_another_number_name_denial_part_or_thing_is_not(sentence):
    assert not supports(SPAN, sentence, "english")


def test_a_denial_that_is_left_out_is_not_supported():
    assert not supports("Dogs are not allowed in the house.", "Dogs are allowed in the house.", "english")
    assert supports("Dogs aren't allowed in the house.", "Dogs are not allowed in the house.", "english")


def test_a_denial_is_seen_in_other_languages():
    assert not supports("Hunde sind in der Wohnung nicht erlaubt.", "Hunde sind in der Wohnung erlaubt.", "german")
    assert supports("Hunde sind in der Wohnung nicht erlaubt.", "Hunde sind nicht erlaubt.", "german")


def test_what_stands_above_lends_names_but_not_the_statement():
    assert supports("The rent is 740 euros.", "The rent of Villa Rosa is 740 euros.", "english", "Villa Rosa")
    assert not supports("Cats are allowed.", "Villa Rosa.", "english", "Villa Rosa")


def test_on_real_sentences_a_changed_number_is_always_seen():
    """XQuAD's sentences support themselves; with one number changed none does."""
    folders = os.environ.get("LMWORKS_DATA", "").split(os.pathsep)
    path = next((Path(one) / "xquad/xquad.en.json" for one in folders if (Path(one) / "xquad").is_dir()), None)
    if path is None:
        pytest.skip("xquad is in no folder of LMWORKS_DATA")
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    texts = [part["context"] for article in data for part in article["paragraphs"]]
    found = [one for text in texts for one in sentences(text)]
    assert len(found) > 1000
    themselves = [supports(one, one, "english") for one in found if len(one.split()) > 3]
    assert all(themselves)
    changed = [(one, re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), one, count=1)) for one in found]
    assert not any(supports(one, other, "english") for one, other in changed if numbers(other) - numbers(one))

"""The cross-encoder's order: of the first passages alone, deterministic, and only where it is wanted and there."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.grounding import index as searching
from lmworks.grounding import rerank
from lmworks.grounding.index import Index, IndexSettings, build
from lmworks.grounding.passage import Passage
from lmworks.grounding.rerank import DEPTH, reranked
from lmworks.language_model import LanguageModel
from lmworks.models.families.bert import BERT

CROSS = {**BERT.fixed, "family": "bert", "segments": 2, "activation": "gelu", "pooler": True, "labels": ("relevance",)}


@pytest.fixture(scope="module")
def cross() -> LanguageModel:
    return tiny.language_model(**CROSS, kv_heads=4, context=256)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    home = tmp_path_factory.mktemp("rerank")
    (home / "notes").mkdir()
    for number in range(15):
        (home / "notes" / f"{number:02}.txt").write_text(f"The rent of flat {number} is {number * 37} euro.")
    (home / "notes" / "twin.txt").write_text("The rent of flat 3 is 111 euro.")
    embedder = tiny.embedder(home / "encoder")
    return build(home / "notes", home / "index", IndexSettings(embedder=embedder, longest=80, language="english"))


def passages(count: int) -> list[Passage]:
    return [Passage(f"text {at * 31 % 17}", 100.0 - at, "", "", f"{at:02}.txt", 0, 9, at) for at in range(count)]


def test_the_first_are_in_the_models_order_and_the_others_after_them(cross: LanguageModel):
    given = passages(DEPTH + 3)
    found = reranked("a question", given, cross)
    scores = cross.compare([("a question", one.text) for one in given[:DEPTH]])
    order = torch.argsort(scores, descending=True).tolist()
    assert [one.chunk for one in found] == [*order, DEPTH, DEPTH + 1, DEPTH + 2] and order != sorted(order)
    torch.testing.assert_close(torch.tensor([one.score for one in found[:DEPTH]]), scores[order])
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert {one.text for one in reranked("a question", given[:2], cross)} == {one.text for one in given[:2]}


def test_equal_scores_stay_in_the_order_of_the_documents(cross: LanguageModel):
    twins = [Passage("the same", -float(at), "", "", file, 0, 8, at) for at, file in enumerate("cab")]
    assert [one.file for one in reranked("a question", twins, cross)] == ["a", "b", "c"]


def test_a_search_is_reranked_where_asked_or_where_its_own_test_chose(index: Index, cross: LanguageModel, monkeypatch):
    monkeypatch.setattr(searching, "reranker", lambda: cross)
    monkeypatch.setattr(searching, "at_hand", lambda: True)
    plain, better = index.search("rent of a flat", 4), index.search("rent of a flat", 4, rerank=True)
    assert better == reranked("rent of a flat", index.search("rent of a flat", DEPTH), cross)[:4] != plain
    assert index.search("rent of a flat", 4) == plain
    index.keep_test({"rerank": True})
    assert index.search("rent of a flat", 4) == better
    assert index.search("rent of a flat", 4, rerank=False) == plain
    assert [one.chunk for one in index.search("rent", 4, "keywords")] == [
        one.chunk for one in index.search("rent", 4, "keywords", rerank=False)
    ]
    monkeypatch.setattr(searching, "at_hand", lambda: False)
    assert index.search("rent of a flat", 4) == plain
    index.keep_test({})
    assert index.search("zebra", 4, "keywords", rerank=True) == []


def test_a_model_that_cannot_compare_is_a_sentence(index: Index, monkeypatch):
    monkeypatch.setattr(searching, "reranker", tiny.language_model)
    with pytest.raises(ConfigError, match="gives pairs of texts no score"):
        index.search("rent", rerank=True)


def test_whether_it_is_there_is_told_without_fetching(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path))
    assert not rerank.at_hand()

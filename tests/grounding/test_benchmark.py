"""What the benchmarks of an index measure is what they say: a search that finds, and keywords without vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.works import grounding
from lmworks import loading
from lmworks.grounding import index
from lmworks.language_model import LanguageModel


def test_a_search_finds_ten_and_says_its_recall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def place(name: str, chunks: int, make: Callable[[Path], None]) -> Path:
        folder = tmp_path / f"{name}-{chunks}"
        if not folder.exists():
            folder.mkdir()
            make(folder)
        return folder

    monkeypatch.setattr(grounding, "_place", place)
    facts = grounding.search_ours(300)
    assert facts["value"] > 0 and 0.95 < facts["recall"] <= 1 and facts["recall_n"] == 1100


@pytest.mark.usefixtures("minilm")
def test_keywords_are_indexed_without_embedding(monkeypatch: pytest.MonkeyPatch):
    def embedded(*_given: object, **_how: object) -> None:
        raise AssertionError("vectors are made while keywords alone are timed")

    monkeypatch.setattr(loading, "load", loading.load)  # put back after the benchmark's own
    monkeypatch.setattr(LanguageModel, "vectors", embedded)
    monkeypatch.setattr(grounding, "REFERENCE", str(Path(index.__file__)))
    assert grounding.keywords_ours()["value"] > 0

"""Questions whose words are in no name of the graph: read as whole sentences, or refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lmworks as lm
from lmworks.grounding.graph.catalog import Name
from lmworks.grounding.graph.graph import Graph
from lmworks.grounding.graph.question import GraphQuestion, Word, _resolve
from lmworks.grounding.graph.store import load
from tests.grounding.graph.made import MAPPING, islands_file


@pytest.fixture(scope="module")
def graph(tmp_path_factory, minilm: str) -> Graph:
    """The islands, with vectors of their names by the real embedder."""
    folder: Path = tmp_path_factory.mktemp("sense")
    load(islands_file(folder), folder / "graph", MAPPING, embedder=minilm)
    return lm.graph(folder / "graph")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("I am travelling to Northmark; which currency must I take?", "crown"),  # words that are passed over
        ("What do people pay with in Eastmark?", "shell"),  # a step that the sentence means
        ("Which islands are around Westmark?", "Eastmark"),  # a step that a word means
        ("What are the capitals of the islands around Westmark?", "Cedar"),
        ("What are Eastmark's neighbours' capitals?", "Alder"),
        ("Which island's capital is Birch?", "Southmark"),
    ],
)
def test_words_that_are_in_no_name_are_read_with_their_sentence(graph, question, answer):
    found = graph.ask(question)
    assert (found.text, found.refused) == (answer, False), found.read_as or found.reason


@pytest.mark.parametrize(
    "question",
    [
        "What is the parliament of Northmark?",  # near to its capital, and not that
        "Which birds live in Northmark?",
        "Who discovered Northmark?",
        "How do I get a visa for Northmark?",
        "What was the former currency of Northmark?",
        "Which islands are not next to Northmark?",
        "What is the capital of Northmark and Wakanda?",
        "What is the currency of Northmark in 1990?",
        "What is the newest capital of Northmark?",
        "What is the next capital of Northmark?",  # near to "next to", another name of its neighbour
        "What is the upcoming capital of Northmark?",
    ],
)
def test_what_a_sentence_does_not_mean_is_refused(graph, question):
    found = graph.ask(question)
    assert found.refused and not found.triples, (found.text, found.read_as)
    assert "knows nothing of" in found.reason


def test_what_is_near_in_meaning_alone_is_no_slip_of_the_pen():
    for name, hint in (("United States", []), ("Presidency", ["Presidency"])):
        near = [(0.6, Name(name, name, "thing", "", main=True))]
        catalog: Any = SimpleNamespace(
            edges=[],
            similar=lambda phrase: [],
            label=str,
            nearest=lambda vector, role, near=near: near if role == "thing" else [],
        )
        asked = GraphQuestion("president", [Word("president", "president", "presid")])
        _resolve(asked, 0, 1, catalog, lambda text: np.zeros(2, np.float32))
        assert asked.close == hint

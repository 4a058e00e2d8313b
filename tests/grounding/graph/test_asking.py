"""Questions mean only what a graph can hold, and their answers stand on facts that are cited."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError
from lmworks.grounding.graph.catalog import one_letter_apart, words_of
from lmworks.grounding.graph.graph import REFUSAL, Graph
from lmworks.grounding.graph.store import load
from tests.grounding.graph.made import MAPPING, islands_file


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    folder: Path = tmp_path_factory.mktemp("islands")
    load(islands_file(folder), folder / "graph", MAPPING, embedder=None)
    return lm.graph(folder / "graph")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of Northmark?", "Alder"),
        ("Which island has the capital Birch?", "Southmark"),
        ("What is the currency of the Republic of Northmark?", "crown"),
        ("Which coins are used in Southmark?", "crown, penny"),
        ("What is the currency of the island whose capital is Cedar?", "shell"),
        ("Which islands are next to the island whose capital is Alder?", "Eastmark, Southmark"),
        ("What are the capitals of Eastmark's neighbours?", "Alder"),
        ("What are the currencies of the neighbours of Westmark's neighbours?", "crown"),
        ("Which other islands have the currency of Northmark?", "Southmark"),
        ("Which islands use the crown and the penny?", "Southmark"),
        ("Which islands have a harbour?", "Eastmark, Northmark"),
        ("How many neighbours does Northmark have?", "2"),
        ("How many coins are used in Southmark?", "2"),
        ("How large is Southmark?", "120.5"),
        ("Which island is the largest?", "Northmark"),
        ("Which neighbour of Northmark is the smallest?", "Eastmark"),
        ("Which island has the most neighbours?", "Eastmark, Northmark"),
        ("Is Northmark larger than Southmark?", "yes"),
        ("Which is smaller, Eastmark or Westmark?", "Eastmark"),
        ("Is Alder the capital of Northmark?", "yes"),
        ("What is the capital of Nortmark?", "Alder"),  # one letter is missing
    ],
)
def test_questions_of_one_to_three_steps(graph, question, answer):
    found = graph.ask(question)
    assert (found.text, found.refused) == (answer, False)
    assert found.triples and all(one.file == "islands.json" for one in found.triples)
    assert found.query.startswith("SELECT")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What is the population of Northmark?", "knows nothing of 'population'"),
        ("What is the capital of Wakanda?", "knows nothing of 'Wakanda'"),
        ("What is the capital of Westmark?", "holds no capital of Westmark"),
        (
            "What is the currency of the island whose capital is Northmark?",
            "not what the question asks of it; its properties are ",
        ),
        ("What is Northmark?", "not what the question asks of it; its properties are "),
        ("Who is it?", "names nothing"),
        ("Is Birch the capital of Northmark?", "holds no"),
        ("How many people are in Northmark?", "not what the question asks of it; its properties are "),
        ("What is the capital of Northmark's capital?", "not what the question asks of it; its properties are "),
    ],
)
def test_what_the_graph_does_not_hold_is_refused_with_the_reason(graph, question, reason):
    found = graph.ask(question)
    assert found.refused and found.text == REFUSAL and reason in found.reason and not found.triples


def test_a_value_of_which_nothing_can_be_asked_so_is_told_with_how_to_ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("contacts.csv").write_text("name,role,phone\nAnna Berg,treasurer,0123 4567\nBob Stein,chair,0123 9999\n")
    load("contacts.csv", "contacts", embedder=None)
    graph = lm.graph("contacts")
    assert graph.ask("Who is the treasurer?").reason == (
        'the graph knows "treasurer" as a value of role, but not what the question asks of it; ask "whose role is '
        'treasurer?"; its properties are phone, role'
    )
    assert graph.ask("Whose role is treasurer?").text == "Anna Berg"


@pytest.mark.parametrize(("first", "second"), [('"many"', '"12"'), ('"many"', '"few"')])
def test_what_is_called_a_number_and_is_none_is_not_compared(tmp_path, first, second):
    (tmp_path / "towns.ttl").write_text(
        "@prefix : <http://example.org/> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .\n"
        f":a :population {first}^^xsd:integer . :b :population {second}^^xsd:integer . :c :population 5 .\n"
        ':a <http://www.w3.org/2000/01/rdf-schema#label> "Alder" .'
        ':b <http://www.w3.org/2000/01/rdf-schema#label> "Birch" .'
    )
    load(tmp_path / "towns.ttl", tmp_path / "g", embedder=None)
    answer = lm.graph(tmp_path / "g").ask("Is Alder larger than Birch?")
    assert answer.refused and answer.reason == "the graph holds no population of Alder and Birch"


def test_the_facts_of_an_answer_are_those_that_it_stands_on(graph):
    found = graph.ask("What is the currency of the island whose capital is Cedar?")
    assert [str(one) for one in found.triples] == ["Eastmark | capital | Cedar", "Eastmark | currency | shell"]
    rows = graph.query(found.query).rows
    assert len(rows) == 1
    assert found.read_as == "currency of what has the capital Cedar"


def test_hostile_questions_stay_questions(graph):
    for question in ('What is the capital of "} DELETE { ?s ?p ?o } WHERE {"?', "\0", "?" * 900, "capital " * 100):
        assert graph.ask(question).refused
    with pytest.raises(ConfigError, match="at most 1,000"):
        graph.ask("a" * 1001)
    with pytest.raises(ConfigError, match="empty"):
        graph.ask("  ")


def test_a_folder_without_a_graph_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="lmworks graph load FILE --out"):
        lm.graph(tmp_path)


def test_names_are_compared_without_accents_case_and_possessives():
    assert words_of("Côte d’Ivoire's") == ["cote", "d", "ivoire"]
    assert one_letter_apart("argentinia", "argentina") and one_letter_apart("spian", "spain")
    assert not one_letter_apart("latveria", "latvia") and not one_letter_apart("spain", "spain")


@pytest.mark.parametrize(
    "question",
    [
        "Which islands are larger than Southmark?",
        "Which island has more neighbours than Eastmark?",
        "What is the older capital of Northmark?",
        "Is Alder the largest capital of Northmark?",
    ],
)
def test_a_word_that_compares_is_never_passed_over(graph, question):
    found = graph.ask(question)
    assert found.refused and not found.answers, (found.text, found.read_as)

"""Relations of sentences: SemEval's files and score, rows, and a graph from text whose facts cite their sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.grounding.graph import extract as room
from lmworks.grounding.graph import store
from lmworks.grounding.graph import train_relations as recipe
from lmworks.grounding.graph.entities import PIPELINE, Entity, entities_of
from lmworks.grounding.graph.extract import extract
from lmworks.grounding.graph.graph import open_graph
from lmworks.grounding.graph.relations import FILE, LONGEST, RelationHead, RelationRecipe, row_of
from lmworks.grounding.graph.semeval import RELATIONS, macro_f1, read_related
from lmworks.grounding.graph.store import load
from lmworks.grounding.graph.train_relations import train_head
from lmworks.language_model import LanguageModel
from lmworks.models.files.references import resolve
from lmworks.text.wheels import fetched

FORM = """1\t"The <e1>child</e1> was wrapped into the <e2>cradle</e2>."
Entity-Destination(e1,e2)
Comment: it moves

2\t"A <e1>"disassembler</e1> is used by the <e2>author</e2>."
Other
Comment:
"""


@pytest.fixture(scope="module")
def spacy_pipeline() -> None:
    pytest.importorskip("spacy")
    try:
        fetched(PIPELINE)
    except LmworksError as error:
        pytest.skip(f"spaCy's pipeline is not here: {error}")


@pytest.fixture(scope="module")
def minilm() -> str:
    try:
        resolve("minilm")
    except LmworksError as error:
        pytest.skip(f"minilm is not here: {error}")
    return "minilm"


@pytest.fixture(scope="module")
def head(minilm) -> RelationHead:
    return RelationHead.load()


def test_the_task_s_form_is_read():
    first, second = read_related(FORM)
    assert first.text == "The child was wrapped into the cradle."
    assert (first.text[slice(*first.first)], first.text[slice(*first.second)]) == ("child", "cradle")
    assert RELATIONS[first.relation] == "Entity-Destination(e1,e2)" and RELATIONS[second.relation] == "Other"
    assert second.text[slice(*second.first)] == '"disassembler'


def test_the_score_counts_a_wrong_direction_as_wrong_and_leaves_other_out():
    one, back, other = (RELATIONS.index(name) for name in ("Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Other"))
    assert macro_f1([one, back], [one, back]) == pytest.approx(1 / 9)  # the eight others are absent: 0
    assert macro_f1([back, back], [one, back]) == pytest.approx(0.5 / 9)
    assert macro_f1([other, one], [one, one]) == pytest.approx((2 / 3) / 9)
    assert macro_f1([other, other], [other, other]) == 0
    # Two relations found where there is none cost precision: 1 of 3 said, 1 of 1 there.
    assert macro_f1([one, one, back], [one, other, other]) == pytest.approx(0.5 / 9)


def test_a_long_sentence_keeps_its_spans(minilm):
    tokenizer = LanguageModel.load(minilm).tokenizer
    text = "word " * 300 + "the author uses a disassembler" + " word" * 300
    spans = [(text.index(word), text.index(word) + len(word)) for word in ("author", "disassembler")]
    row = row_of(tokenizer, (text, spans[0], spans[1]))
    short = row_of(tokenizer, ("the author uses a disassembler", (4, 10), (18, 30)))
    assert len(row.tokens) <= LONGEST
    assert row.tokens[row.first : row.first + 2] == short.tokens[short.first : short.first + 2]
    assert row.tokens[row.second : row.second + 2] == short.tokens[short.second : short.second + 2]


def test_the_head_that_ships_tells_relations(head):
    said = head.relations(
        [
            ("The fire was caused by a cigarette.", (4, 8), (25, 34)),
            ("The bottle contains milk.", (4, 10), (20, 24)),
            ("The engine of the car broke.", (4, 10), (18, 21)),
        ]
    )
    assert [name for name, _ in said] == [
        "Cause-Effect(e2,e1)",
        "Content-Container(e2,e1)",
        "Component-Whole(e1,e2)",
    ]
    assert all(0 < chance <= 1 for _, chance in said)
    assert FILE.stat().st_size < 3 * 2**20


def test_the_recipe_writes_a_head_and_a_card_that_load(minilm, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "related", lambda part: read_related(FORM))
    trained, steps = train_head(read_related(FORM) * 4, RelationRecipe(minutes=0.01, rows=8), tmp_path / "run")
    card = recipe.write(trained, RelationRecipe(rows=8), steps, tmp_path / "out")
    assert steps >= 1 and card["figures"]["n"] == 2
    assert RelationHead.load(tmp_path / "out" / FILE.name).relations([("a cat on a mat", (2, 5), (11, 14))])


def test_entities_are_names_and_noun_phrases(spacy_pipeline):
    (found,) = entities_of(["Marie Curie worked in Paris with an old electrometer."])
    assert [(one.text, one.kind) for one in found] == [
        ("Marie Curie", "person"),
        ("Paris", "place"),
        ("old electrometer", "thing"),
    ]
    assert found[2].head == (40, 52)


class FixedHead:
    """Tells one relation of every pair."""

    def relations(self, marked):
        return [("Product-Producer(e1,e2)", 0.9) for _ in marked]


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    """Two files, whose entities are their words in capitals."""

    def capitals(sentences):
        for text in sentences:
            words = [word.strip(".") for word in text.split() if word[0].isupper()]
            spans = [(text.index(word), text.index(word) + len(word)) for word in words]
            yield [Entity(*span, text[slice(*span)], "person", span) for span in spans]

    monkeypatch.setattr(room, "entities_of", capitals)
    monkeypatch.setattr(RelationHead, "load", classmethod(lambda cls: FixedHead()))
    monkeypatch.setattr(store, "EMBEDDER", "")
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("it rains. Radium by Curie.\n\nPenicillin by Fleming.")
    (folder / "b.txt").write_text("Dynamite by Nobel.")
    return folder


def test_facts_cite_their_sentences_and_follow_the_folder(notes, tmp_path):
    done = extract(notes, tmp_path / "g")
    assert (done.documents, done.sentences, done.with_entity, done.facts) == (2, 4, 3, 3)
    answer = open_graph(tmp_path / "g").ask("What is the maker of Radium?")
    (one,) = answer.triples
    assert answer.text == "Curie" and one.sentence == "Radium by Curie."
    assert (notes / one.file).read_text()[one.start : one.end] == one.sentence
    passages = open_graph(tmp_path / "g").facts("What is the maker of Radium?")
    assert [one.text for one in passages] == ["The producer of Radium: Curie.", "Radium by Curie."]
    assert all(passage.triples == (one,) and passage.of_graph and not passage.file for passage in passages)

    assert extract(notes, tmp_path / "g").unchanged == 2
    (notes / "b.txt").unlink()
    (notes / "a.txt").write_text("Radium by Marie.")
    extract(notes, tmp_path / "g")
    graph = open_graph(tmp_path / "g")
    assert graph.ask("What is the maker of Radium?").text == "Marie"
    assert graph.ask("What is the maker of Dynamite?").refused
    assert graph.ask("What is the maker of Penicillin?").refused


def test_a_graph_of_one_folder_s_text_refuses_another_folder(notes, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.txt").write_text("Insulin by Banting.")
    extract(notes, tmp_path / "g")
    (tmp_path / "staff.csv").write_text("name,manager\nAnn,Bob\nBob,\n")
    load(tmp_path / "staff.csv", tmp_path / "g")  # tables stand beside a text
    with pytest.raises(ConfigError, match=f"g is a graph of the text of {notes}; give another --out for {other}"):
        extract(other, tmp_path / "g")
    assert open_graph(tmp_path / "g").ask("What is the maker of Dynamite?").text == "Nobel"
    monkeypatch.chdir(notes)
    assert extract(".", tmp_path / "g").unchanged == 2

    state = json.loads((tmp_path / "g" / "graph.json").read_text())
    del state["reference"]  # as graphs were made before it was kept
    (tmp_path / "g" / "graph.json").write_text(json.dumps(state))
    extract(other, tmp_path / "g")
    assert open_graph(tmp_path / "g").ask("What is the maker of Insulin?").text == "Banting"
    with pytest.raises(ConfigError, match=f"of the text of {other}"):
        extract(notes, tmp_path / "g")


def test_another_threshold_reads_a_folder_again_that_is_as_it_was(notes, tmp_path):
    assert extract(notes, tmp_path / "g").facts == 3
    again = extract(notes, tmp_path / "g", sure=0.95)  # the head is 0.9 sure of each
    assert (again.unchanged, again.facts) == (0, 0)
    assert open_graph(tmp_path / "g").ask("What is the maker of Radium?").refused
    assert extract(notes, tmp_path / "g", sure=0.95).unchanged == 2
    assert extract(notes, tmp_path / "g").facts == 3
    assert open_graph(tmp_path / "g").ask("What is the maker of Radium?").text == "Curie"


def test_a_graph_in_the_folder_that_is_read_is_no_text_of_it(notes):
    extract(notes, notes / "graphs" / "notes")
    again = extract(notes, notes / "graphs" / "notes")
    assert (again.documents, again.unchanged) == (2, 2)
    with pytest.raises(ConfigError, match=r"notes holds a\.txt, which is no part of a graph and would be lost"):
        extract(notes, notes)
    assert (notes / "a.txt").is_file() and (notes / "b.txt").is_file()


def test_what_caused_something_is_found_in_text(spacy_pipeline, head, tmp_path):
    (tmp_path / "a.txt").write_text("The fire caused a power cut in the old library.")
    extract(tmp_path / "a.txt", tmp_path / "g")
    graph = open_graph(tmp_path / "g")
    assert graph.ask("What caused the power cut?").text == "fire"
    assert graph.ask("What did the fire cause?").text == "power cut"
    assert graph.ask("What did the power cut cause?").refused
    assert graph.ask("What is the cause of the fire?").reason == "the graph does not hold what has the effect fire"


def test_a_folder_without_entities_is_an_error(tmp_path, notes):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.txt").write_text("it rains.")
    with pytest.raises(DataError, match="holds no entity that is found: 1 sentences were read"):
        extract(empty, tmp_path / "g2")
    assert not (tmp_path / "g2").exists()

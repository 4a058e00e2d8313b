"""Who reads, and that the reader without training reads any language."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny

from lmworks.grounding.reading import NearestSentence, reader_for
from lmworks.grounding.terms import ASKING, language_of_question
from lmworks.grounding.words import about, content

EMBEDDER = tiny.language_model(family="lmworks", arrangement="encoder", context=256)


@pytest.mark.parametrize(
    ("language", "question", "other", "answer"),
    [
        ("english", "When is the rent due?", "Cats are allowed. ", "The rents are due on Monday."),
        ("german", "Wann ist die Miete fällig?", "Katzen sind erlaubt. ", "Fällig ist die Miete montags."),
        ("none", "東京タワーの高さは？", "猫が好きです。", "東京タワーの高さは三百三十三メートルです。"),
    ],
)
def test_the_nearest_sentence_by_words_and_vector(language, question, other, answer):
    text = other + answer
    (reading,) = NearestSentence(EMBEDDER, language).read(question, [text])
    assert text[reading.start : reading.end] == answer and 0 < reading.answerable < 1


def test_a_reading_for_each_text():
    readings = NearestSentence(EMBEDDER, "english").read("rent?", ["The rent.", "", "No. Yes."])
    assert len(readings) == 3 and (readings[1].start, readings[1].end) == (0, 0)
    assert NearestSentence(EMBEDDER, "english").read("rent?", []) == []


@pytest.mark.parametrize(("language", "question"), [("german", "Wann?"), ("none", "いつ？")])
def test_other_languages_are_not_read_by_the_english_reader(language, question):
    index = SimpleNamespace(languages={language: 3}, embedder=EMBEDDER)
    assert isinstance(reader_for(index, question), NearestSentence)


def test_english_is_not_taken_for_another_language_of_the_folder():
    others = dict.fromkeys(("english", *ASKING), 1)
    for question in ("Can I keep a gas bottle on board?", "Is the hat in hall 3?", "Was a man at the gate?"):
        assert language_of_question(question, others) == "english"
    for question, language in {
        "Où sont les clés ?": "french",
        "¿Cuánto cuesta el amarre?": "spanish",
        "Quanto costa un ormeggio?": "italian",
        "Quais são os preços?": "portuguese",
        "Hoeveel kost een ligplaats?": "dutch",
        "Vilken hamn ligger närmast?": "swedish",
        "Сколько стоит стоянка?": "russian",
    }.items():
        assert language_of_question(question, others) == language


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Wie heißt der Hausmeister?", "german"),
        ("富士山有多高？", "none"),
        ("Did Les Paul die?", "english"),
        ("Where is der Spiegel printed?", "english"),
        ("Guernica?", "english"),
        ("Wann gibt es Mittagessen?", "german"),
        ("Welches Telefon hat Schäfer?", "german"),
        ("Can I keep a gas bottle on board?", "english"),
        ("Quand est le loyer dû ?", "english"),  # nothing here is French
    ],
)
def test_a_question_in_a_mixed_folder_is_read_in_its_own_language(question, language):
    index = SimpleNamespace(languages={"english": 6, "none": 2, "german": 1}, embedder=EMBEDDER)
    assert language_of_question(question, index.languages) == language
    if language != "english":
        reader = reader_for(index, question)
        assert isinstance(reader, NearestSentence) and reader.language == language


def test_a_language_of_no_chunk_takes_no_question_from_its_neighbour():
    question = "Var ligger den, er biblioteket til på noen øy?"  # half Swedish, half Norwegian
    assert language_of_question(question, {"english": 5, "swedish": 2}) == "swedish"
    assert language_of_question(question, {"english": 5, "swedish": 2, "norwegian": 1}) == "norwegian"


def test_a_question_in_korean_is_not_read_by_the_english_reader():
    assert language_of_question("도서관은 몇 시에 여나요?", {"english": 5, "none": 2}) == "none"


def test_what_a_question_is_about_has_no_words_that_ask():
    assert about("Ab welcher Windstärke wird der Kranbetrieb eingestellt?", "german") == [
        "windstark",
        "kranbetrieb",
        "eingestellt",
    ]
    assert about("起重机什么时候停用?", "none") == ["起重", "重机", "停用"]
    assert about("Wann?", "german") == ["wann"]  # there is nothing else
    assert about(ASKING["english"], "english") == content(ASKING["english"], "english")  # the gate is fitted on these
    for question in ("How many boats may lie there?", "Is it not free?"):
        assert about(question, "english") == content(question, "english")

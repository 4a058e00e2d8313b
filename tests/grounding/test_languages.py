"""Notes in several languages in one folder: each is found by its own stems, and scripts without spaces are found."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import tiny

from lmworks.grounding.index import Index, IndexSettings, build
from lmworks.grounding.terms import MOST_COMPOUNDS, compounds_with, languages_of, query_terms, words_of_compounds

NOTES = {
    "en.txt": "The houses of the village are painted in the spring. It is the job of all the owners.",
    "de.txt": "Die Häuser in der Straße sind alt und werden von den Besitzern nicht gestrichen.",
    "fr.txt": "Les chevaux sont dans le pré et les enfants les nourrissent pour une pomme.",
    "ru.txt": "В деревне стоят старые дома, и на них не хватает краски. Это из-за погоды.",
    "zh.txt": "东京塔高三百三十三米。房租每月三日到期。",
    "ja.txt": "東京タワーは高さ333メートルの電波塔である。家賃は毎月三日に払う。",
    "ko.txt": "월세는 매월 삼일에 내야 합니다. 고양이는 키울 수 있습니다.",
    "th.txt": "ค่าเช่าต้องจ่ายทุกวันที่สามของเดือน แมวเลี้ยงได้",
    "library.txt": "서울은 큰 도시다. 도서관은 아침 아홉 시에 연다.",
    "hi.txt": "पुस्तकालय हर दिन खुलता है और किताबें तीन सप्ताह तक रखी जा सकती हैं।",
    "bn.txt": "গ্রন্থাগার প্রতিদিন খোলা থাকে। তোতাপাখি ভেতরে আনা যায় না।",
    "nfd.txt": unicodedata.normalize("NFD", "La clé du café est chez le gérant, et le café est près de la gare."),
    "row.csv": "flat,deposit\n3,1480\n",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> IndexSettings:
    return IndexSettings(embedder=tiny.embedder(tmp_path_factory.mktemp("embedder") / "encoder"), longest=80)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text)
    return tmp_path / "notes"


QUERIES = {
    "house": "en.txt",
    "owner": "en.txt",
    "Haus": "de.txt",
    "cheval": "fr.txt",
    "nourrir": "fr.txt",
    "старый дом": "ru.txt",
    "房租什么时候到期": "zh.txt",
    "家賃はいつ": "ja.txt",
    "タワー": "ja.txt",
    "월세는": "ko.txt",
    "ค่าเช่า": "th.txt",
    "도서관": "library.txt",
    "도서관에서": "library.txt",
    "किताब": "hi.txt",
    "গ্রন্থাগার": "bn.txt",
    "gérant": "nfd.txt",
    unicodedata.normalize("NFD", "été gérants"): "nfd.txt",
    "deposits of flats": "row.csv#1",
}


def found(index: Index) -> dict[str, list[tuple[str, float]]]:
    return {query: [(one.file, one.score) for one in index.search(query, 3, "keywords")] for query in QUERIES}


def test_each_note_is_found_in_its_own_language(notes: Path, settings: IndexSettings, tmp_path: Path):
    index = build(notes, tmp_path / "index", settings)
    assert {query: files[0][0] for query, files in found(index).items() if files} == QUERIES
    assert set(index.languages) == {"english", "german", "french", "russian", "hindi", "none"}


def test_after_a_change_of_language_it_is_what_a_new_one_would_be(notes: Path, settings: IndexSettings, tmp_path: Path):
    index = build(notes, tmp_path / "index", settings)
    (notes / "en.txt").write_text(NOTES["de.txt"] + " Das ist die zweite Fassung.")
    (notes / "ru.txt").unlink()
    index.update()
    fresh = build(notes, tmp_path / "fresh", settings)
    assert found(index) == found(fresh) and index.languages == fresh.languages
    assert "russian" not in index.languages


def test_a_row_is_in_the_language_of_its_file_and_a_few_words_in_the_usual_one():
    german = "Die Miete ist am dritten Tag fällig und wird von der Bank nicht überwiesen."
    assert languages_of([german, "Wohnung: 3; Miete: 740"]) == ["german", "german"]
    assert languages_of(["Flat: 3; Deposits: 1,480"]) == ["english"]
    assert languages_of(["東京タワー", "Ąžuolas"]) == ["none", "none"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("El precio de una entrada en la taquilla es de diez euros en temporada de verano.", "spanish"),
        ("Le prix de l'entrée est de dix euros de juin à septembre.", "french"),
        ("De prijs van een kaartje is tien euro en in de zomer twaalf.", "dutch"),
    ],
)
def test_words_that_languages_share_make_no_other_language_of_a_text(text: str, language: str):
    assert languages_of([text]) == [language]


def test_a_query_has_the_stems_of_every_language_and_shared_ones_once():
    assert sorted(query_terms("houses", {"english": 3, "french": 2, "none": 1})) == ["hous", "houses"]
    assert query_terms("boat boat", {"english": 2, "none": 1}) == ["boat", "boat"]
    assert query_terms("boat", {}) == []


def test_a_german_query_holds_no_words_that_only_ask_and_the_parts_of_compounds():
    found = query_terms("Wie lang ist die Kündigungsfrist?", {"german": 2})
    assert {"kundigungsfrist", "kundigungs", "frist"} <= set(found) and not {"wie", "ist", "die"} & set(found)
    assert len(found) == len(set(found))
    assert query_terms("Wer ist das?", {"german": 2}) == ["wer", "ist", "das"]  # else nothing would be left
    english = query_terms("How long is the termination notice?", {"english": 9, "german": 2})
    assert "the" in english and "notic" in english and "mination" not in english


def test_compounds_begin_or_end_with_a_word_and_are_longer_by_two_letters():
    words = ["", "miet", "grundmiet", "mietvertrag", "vermietet", "miete", "amiet", "untermietzins"]
    assert compounds_with("miet", "\n".join(["", *words, ""])) == ["grundmiet", "mietvertrag"]
    many = [f"miet{number}" for number in range(100, 300)]
    assert compounds_with("miet", "\n".join(["", *many, ""])) == many[:MOST_COMPOUNDS]
    assert compounds_with("miet", "\n") == []


def test_which_words_are_searched_in_compounds():
    assert words_of_compounds("Wie hoch ist die Miete mit Hut?", {"german": 2}) == ["hoch", "miet"]
    assert words_of_compounds("How high is the rent?", {"german": 9, "english": 2}) == []
    assert words_of_compounds("Miete", {"french": 2}) == []
    assert words_of_compounds("Kontrakt", {"danish": 2}) == ["kontrak"] and words_of_compounds("Krem", {"norwegian": 2})


def test_a_question_in_another_language_is_answered_by_a_sentence_of_it(settings: IndexSettings, tmp_path: Path):
    (tmp_path / "mixed").mkdir()
    sentence = "Der Hausmeister heißt Krause und wohnt mit der Katze unten."
    (tmp_path / "mixed" / "de.txt").write_text(f"Die Miete ist am dritten Werktag fällig. {sentence}")
    for number in range(2):
        (tmp_path / "mixed" / f"en{number}.txt").write_text(f"Flat {number} of the house is let to a friend.")
    index = build(tmp_path / "mixed", tmp_path / "index", settings)
    answer = index.ask("Wie heißt der Hausmeister?")
    assert index.language == "english" and answer.text == f"{sentence} [1]", answer
    assert [one.text for one in answer.citations] == [sentence]
    asked = index.ask("Wie heißt der Bürgermeister von Wismar?")
    assert asked.refused and asked.reason == "the nearest passages do not mention Bürgermeister or Wismar"


def test_letters_alone_find_no_word_of_a_script_with_vowel_signs(notes: Path, settings: IndexSettings, tmp_path: Path):
    index = build(notes, tmp_path / "index", settings)
    for query in (
        "तोता",
        "काली",
        "তালা",
        "고양",
    ):  # parrot, black, lock: their consonants are in the notes; a cat's begin
        assert [one.file for one in index.search(query, 3, "keywords")] == (["ko.txt"] if query == "고양" else [])


def test_a_korean_word_is_found_before_any_particle(settings: IndexSettings, tmp_path: Path, notes: Path):
    index = build(notes, tmp_path / "index", settings)
    for question in ("도서관", "도서관은 몇 시에 여나요?", "도서관까지"):
        answer = index.ask(question)
        assert not answer.refused and answer.citations[0].text == "도서관은 아침 아홉 시에 연다.", answer


def test_a_refusal_names_whole_words_of_any_script(settings: IndexSettings, tmp_path: Path, notes: Path):
    answer = build(notes, tmp_path / "index", settings).ask("नगरपालिका कहाँ है?")
    assert answer.refused and "नगरपालिका" in answer.reason

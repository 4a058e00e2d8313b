"""Answers in languages that the trained reader does not know: parts of compounds, headings, what a question asks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from grounding.small_index import indexed
from lmworks.grounding.answer import BestSpan
from lmworks.grounding.evidence import read_passages
from lmworks.grounding.figures import kind_asked_for
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Passage
from lmworks.grounding.reading import NearestSentence
from lmworks.grounding.terms import ASKING
from lmworks.grounding.words import about, content, coverage
from lmworks.loading import load
from lmworks.text.sentences import sentences

LEASE = """# Mietvertrag

## Kündigung

Der Mieter kann mit einer Frist von drei Monaten zum Monatsende kündigen. Die Kündigung bedarf der Schriftform.

## Kaution

Die Sicherheit beträgt drei Grundmieten und wird nach dem Auszug binnen sechs Monaten zurückgezahlt.

## Vorstand

Die Hausgemeinschaft hat einen Vorstand aus drei Personen. Er wird für zwei Jahre gewählt.
"""


@pytest.fixture(scope="module")
def lease(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("lease"), {"vertrag.md": LEASE}, minilm)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Wie lang ist die Kündigungsfrist?", "drei Monaten"),
        ("Wie hoch ist die Kaution?", "drei Grundmieten"),  # the word stands in the heading alone
        ("Für wie lange wird der Vorstand gewählt?", "zwei Jahre"),  # and here in the sentence before
        ("Wann bekomme ich meine Kaution zurück?", "sechs Monaten"),
    ],
)
def test_short_questions_in_german_are_answered(lease: Index, question: str, said: str):
    answer = lease.ask(question)
    assert not answer.refused and said in answer.citations[0].text, answer
    assert 0 < answer.probably_right < 1


def test_what_a_german_text_does_not_say_is_refused(lease: Index):
    for question in ("Wie schnell ist das Internet?", "Gibt es einen Parkplatz?", "Welche Farbe hat das Haus?"):
        assert lease.ask(question).refused, question


@pytest.mark.parametrize(
    ("wanted", "text", "language", "share"),
    [
        ("Miete", "Die Grundmiete ist fällig.", "german", 1.0),
        ("Miete", "Das Mietverhältnis endet.", "german", 0.4),
        ("Kündigungsfrist", "Kündigung mit einer Frist.", "german", 1.0),
        ("Kündigungsfrist", "Eine Frist gilt.", "german", 0.6),
        ("Rente", "Die Miete ist fällig.", "german", 0.0),
        ("huurprijs", "De prijs stijgt.", "dutch", 0.6),
        ("rent", "The current rate.", "english", 0.0),  # no compounds: "current" is no kind of rent
        ("sun", "A sunflower.", "german", 0.0),  # too short for a part
    ],
)
def test_parts_of_compounds_count_in_part(wanted: str, text: str, language: str, share: float):
    assert coverage(content(wanted, language), content(text, language), language) == pytest.approx(share)


KINDS = {
    "english": ("How much is the rent?", "When is it due?", "It is 740 euros.", "On Monday."),
    "german": ("Wie hoch ist die Miete?", "Ab wann gilt das?", "Es sind drei Mieten.", "Am Montag."),
    "french": ("Combien coûte-t-il ?", "À quelle heure ferme-t-il ?", "Il coûte deux francs.", "Le lundi."),
    "spanish": ("¿Cuánto cuesta?", "¿Cuándo cierra?", "Cuesta dos pesos.", "El lunes."),
    "italian": ("Quanto costa?", "Quando chiude?", "Costa due lire.", "Il lunedì."),
    "portuguese": ("Quanto custa?", "Quando fecha?", "Custa dois reais.", "No domingo."),
    "dutch": ("Hoe lang duurt het?", "Hoe laat sluit het?", "Twee keer.", "Op maandag."),
    "swedish": ("Hur mycket kostar det?", "När stänger det?", "Två kronor.", "På måndag."),
    "russian": ("Сколько это стоит?", "Когда закрывается?", "Это стоит два рубля.", "В понедельник."),
    "none": ("房租多少钱?", "何时到期?", "三百元。", "每月三日。"),
}


@pytest.mark.parametrize("language", [*ASKING, "none"])
def test_each_language_asks_how_much_and_when(language: str):
    how_much, when, figure, time = KINDS[language]
    says_so = kind_asked_for(how_much, language)
    assert says_so is not None and says_so(figure)
    says_so = kind_asked_for(when, language)
    assert says_so is not None and says_so(time)
    assert says_so("xyz") is False and kind_asked_for("xyz?", language) is None


def test_a_time_is_asked_for_and_a_number_is_none():
    when = kind_asked_for("Wann beginnt die Sitzung?", "german")
    assert when is not None and not when("Es gibt zwei Mitglieder.") and when("Sie beginnt um 16.30.")


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Que faire quand il pleut ?", "french"),
        ("Qu’est-ce qui se passe quand le bail finit ?", "french"),
        ("Cosa succede quando si perde la chiave?", "italian"),
        ("O que fazer quando chove?", "portuguese"),
        ("Wat gebeurt er wanneer ik te laat ben?", "dutch"),
        ("Vad ska jag göra när larmet går?", "swedish"),
        ("Что делать, когда сработала сигнализация?", "russian"),
        ("几乎所有人都在哪里?", "none"),
        ("いつも開いていますか", "none"),
    ],
)
def test_a_word_that_joins_clauses_asks_for_no_time(question: str, language: str):
    assert kind_asked_for(question, language) is None


@pytest.mark.parametrize(
    ("question", "language", "neither", "says"),
    [
        ("Wann?", "german", "Die Montage in der Etage.", "Außer an Ruhetagen."),
        ("Wie viele?", "german", "Im Zweifel die Zweigstelle.", "Es sind zwei."),
        ("Quand ?", "french", "Le contrat a été signé au journal, heureusement.", "On ouvre en été."),
        ("Combien ?", "french", "Il est du quartier.", "Il faut un quart."),
        ("¿Cuánto?", "spanish", "Mediante la ciencia y la medicina.", "Cuesta cien pesos."),
        ("Quando?", "italian", "Lo dice il giornale.", "Tra due giorni."),
        ("Quanto?", "italian", "Serve una mezzaluna.", "Serve mezza giornata."),
        ("Quanto?", "portuguese", "Aparece uma mensagem.", "É a tarifa mensal."),
        ("När?", "swedish", "Det är vår bil.", "Det sker på våren."),
        ("Когда?", "russian", "Это большая часть, и часто частная.", "Через час."),
        ("Сколько?", "russian", "Дверь и двигатель во дворе.", "Их двое."),
        ("多少钱?", "none", "这是统一的一般规定。", "押金为一个月房租。"),
        ("いくらですか", "none", "これは一般的です。", "一人二千円です。"),
    ],
)
def test_words_that_only_begin_as_a_number_or_a_time_are_none(question: str, language: str, neither: str, says: str):
    fits = kind_asked_for(question, language)
    assert fits is not None and fits(says) and not fits(neither)


def test_how_long_in_japanese_asks_for_a_number():
    fits = kind_asked_for("何時間かかりますか", "none")
    assert fits is not None and fits("八回です。") and kind_asked_for("何時に開きますか", "none")("八時です。")


def test_whose_it_is_says_nothing_of_what_is_asked():
    assert about("Wann bekomme ich meine Kaution zurück?", "german") == content("Kaution", "german")
    assert about("In welchem Monat ist die Versammlung?", "german") == content("Versammlung", "german")


def test_a_reader_is_given_the_heading_above_each_text():
    class Heading:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            assert (texts, headings) == (["Es sind drei.", "Keine."], ["Kaution", ""])
            return [BestSpan(0, 12, 1.0, 0.5), BestSpan(0, 5, 0.0, 0.5)]

    found = [Passage("Es sind drei.", 1.0, "d", "Kaution", "a.md", 40, 53, 1)]
    found += [Passage("Keine.", 1.0, "d", "", "a.md", 60, 66, 2)]
    first, _ = read_passages(Heading(), "?", found)
    assert first.answer == "Es sind drei" and first.quote == "Es sind drei."


def test_below_a_heading_that_is_nearest_one_sentence_answers_and_not_all_of_them(minilm):
    said = "Beides geht nur schriftlich. Der Hausmeister nimmt alle Schlüssel an. Er schreibt ein Protokoll darüber."
    heading = "Kündigung des Mietvertrags durch Vermieter oder Mieter"
    reader = NearestSentence(load(minilm), "german")
    (alone,), (below,) = (
        reader.read("Wer kündigt den Mietvertrag, Vermieter oder Mieter?", [said], above) for above in ([], [heading])
    )
    assert said[below.start : below.end] in sentences(said)
    assert below.score > alone.score

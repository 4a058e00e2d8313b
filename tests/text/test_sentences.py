"""Sentences in many languages end where a reader says that they do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.text.sentences import sentence_spans, sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["It rained.", "We (all) left early, e.g. by six.", "He was 12.", "J. R. R. Tolkien came at 5 p.m.", "Why?"],
        ["See No. 5.", "Is it?", "No.", "It costs 3.14 euros, approx. 4 dollars ... or so.", "“Yes!”", "(He left.)"],
        ["Die Miete beträgt z. B. 740 Euro.", "Am 3. Mai zieht Dr. Berg ein, d. h. bald.", "Über 2.000 Gäste kamen."],
        ["Im Laufe des 18. und 19. Jahrhunderts kam sie.", "Das 20. Jahrhundert begann.", "Er war 12.", "Sie ging."],
        ["Voir M. Dupont, p. ex. à Paris.", "« Oui ! »", "Il pleut…", "Écoutez Mme Roux."],
        ["El Sr. García llegó.", "¿Qué pasó?", "¡Nada!", "Véase pág. 7."],
        ["Il sig. Rossi, ecc. è qui.", "È tardi.", "Vedi pag. 3."],
        ["A Sra. Silva chegou.", "Onde está?", "Às 3 horas."],
        ["Dat is bijv. dhr. Jansen.", "Zie blz. 4 en verder.", "Één huis."],
        ["Det är t.ex. kl. 5.", "Öppna dörren!", "Ärligt talat."],
        ["Это стоит 5 тыс. руб. и т. д. в месяц.", "Москва, 1999 г. и позже.", "Да!"],
        ["東京は晴れです。", "「雨ですか？」", "はい！"],
        ["今天天气很好。", "我们去公园吧！", "“好吗？”", "好。"],
        ["안녕하세요.", "저는 학생입니다.", "반갑습니다!"],
        ["मेरा नाम राम है।", "मैं दिल्ली में रहता हूँ।"],
        ["هل أنت هنا؟", "نعم.", "أنا هنا."],
    ],
)
def test_sentences_of_a_language(expected: list[str]):
    spaced = not any("\u3000" < letter < "\u9fff" for letter in "".join(expected))
    assert sentences((" " if spaced else "").join(expected)) == expected


def test_items_and_rows_begin_one():
    items = ["Rules", "- No drums", "- cats are allowed", "* 5 euros", "1. Open the door", "12) Close it"]
    rows = ["| Flat | Deposit |", "| 3 | 1,480 |"]
    assert sentences("\n".join(items + rows)) == items + rows
    assert sentences("It costs\n-5 euros, in\n1999 it was 4.") == ["It costs\n-5 euros, in\n1999 it was 4."]


@given(st.text(st.sampled_from('aA1 .!?…。\n-*|"(東ก।'), max_size=60))
def test_spans_are_in_order_and_leave_out_white_space_alone(text):
    spans = sentence_spans(text)
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    assert all(start < end for start, end in spans) and spans == sorted(spans)


@pytest.mark.parametrize("part", ["A. ", "a. A", "3. ", "...", "?", "* ", ". *", '. "', "\n ", "- ", "\n- a", "( "])
def test_a_long_text_takes_no_square_of_its_length(part):
    sentences(part * 200_000)  # minutes where it does

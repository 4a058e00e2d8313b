"""Evidence is verbatim, whatever a reader says and however a text looks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmworks.grounding.answer import BestSpan
from lmworks.grounding.asking import Asked, extracted
from lmworks.grounding.evidence import LONGEST, distinct, read_passages, units
from lmworks.grounding.gate import Features, Gate, Logistic
from lmworks.grounding.passage import Passage
from lmworks.grounding.telling import parts

GATE = Gate(Logistic([0.0] * 4, 2.0), Logistic([0.0] * 6, 1.0), 0.5, 0.05)
BEFORE = "A text that stands before. "
WORDS = st.sampled_from(
    [
        "The rent",
        "is due",
        "on the 3rd.",
        "It costs 5.",
        "\n\n",
        "\n- Cats",
        "\n    code()",
        "| a | b |",
        "  ",
        "Ünïcode!",
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=12).map(" ".join).filter(str.strip)


class Arbitrary:
    """A reader that points anywhere, also outside."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self.spans = spans

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        return [BestSpan(*self.spans[at % len(self.spans)], float(at), 0.5) for at in range(len(texts))]


def passages(texts: Sequence[str]) -> list[Passage]:
    start = len(BEFORE)
    return [
        Passage(text, 1.0 / (at + 1), "d", "", f"{at}.txt", start, start + len(text), at)
        for at, text in enumerate(texts)
    ]


def asked(question: str, texts: Sequence[str], reader: Arbitrary) -> Asked:
    found = passages(texts)
    evidence = read_passages(reader, question, found)
    return Asked(question, "english", evidence, found, Features(0, 0, 0, 0, 0, 0), GATE)


@settings(max_examples=150)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=4),
    spans=st.lists(st.tuples(st.integers(-3, 60), st.integers(-3, 60)), min_size=1, max_size=4),
    question=st.sampled_from(["When is rent due?", "Why?", "rent"]),
)
@example(texts=["\n- Cats"], spans=[(0, 2)], question="When is rent due?")
@example(texts=["The rent is due 5. May"], spans=[(16, 22)], question="When is rent due?")
def test_citations_are_verbatim_and_numbered_and_hold_the_answer(texts, spans, question):
    answer = extracted(asked(question, texts, Arbitrary(spans)))
    documents = {f"{at}.txt": BEFORE + text for at, text in enumerate(texts)}
    for one in answer.citations:
        assert one.text and documents[one.file][one.start : one.end] == one.text
        assert one.answer is not None and one.start <= one.answer[0] < one.answer[1] <= one.end
    numbers = [one.number for one in answer.citations]
    assert numbers == list(range(1, len(numbers) + 1)) == [int(one) for one in re.findall(r"\[(\d+)\]", answer.text)]
    first = answer.citations[0]
    said = documents[first.file][slice(*(first.answer or ()))]
    if "|" in said:  # a whole row of a table is told cell by cell
        return
    assert " ".join(said.split()).removeprefix("-").lstrip() in answer.text  # a list's mark is not shown


@given(TEXTS)
def test_units_cover_every_word_once_and_in_order(text):
    spans = units(text)
    assert " ".join(text[start:end] for start, end in spans).split() == text.split()
    assert all(start < end for start, end in spans) and spans == sorted(spans)


def test_lines_of_lists_tables_and_code_are_sentences_of_their_own():
    text = "You need:\n- a key\n- a boat\n\n| a | 1 |\n| b | 2 |\n\n    run this\n    run that"
    assert [text[start:end] for start, end in units(text)] == [
        "You need:",
        "- a key",
        "- a boat",
        "| a | 1 |",
        "| b | 2 |",
        "run this",
        "run that",
    ]


LEMONS = "juice of a lemon, and of another one where they are very small"
WIDE = """Rent: it is due on the third day of each month and is paid
  into the account of the landlord, of which the number
  stands below, and never to anybody else."""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            f"For the cake\n  400 g carrots\n  4 eggs\n  {LEMONS}\nBake it.",
            ["For the cake", "400 g carrots", "4 eggs", LEMONS, "Bake it."],
        ),
        ("Buy:\n  flour\n  sugar", ["Buy:", "flour", "sugar"]),
        ("Post:\n   Unit 4, Harbour Row", ["Post:", "Unit 4, Harbour Row"]),
        ("  - 200 g flour\n  - 4 eggs\n    of hens", ["- 200 g flour", "- 4 eggs", "of hens"]),
        ("- a key for\n  the boat\n- a rope", ["- a key for the boat", "- a rope"]),
        ("1. Call Ann\n   and wait\n   3. Go", ["1. Call Ann and wait", "3. Go"]),
        ("Rent is due\n  on Friday", ["Rent is due on Friday"]),
        ("   The rent is due on\nthe third day.", ["The rent is due on the third day."]),
        (WIDE, [" ".join(WIDE.split())]),
    ],
)
def test_items_that_are_indented_by_two_spaces_are_sentences_and_what_goes_on_is_none(text: str, lines: list[str]):
    assert [" ".join(text[start:end].split()) for start, end in units(text)] == lines


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("9. Subletting. The tenant may sublet. He pays.", ["9. Subletting. The tenant may sublet.", "He pays."]),
        ("9. Use of the roof.\nNo one may.", ["9. Use of the roof.\nNo one may."]),
        ("**2.1) Rent.** It is 740 euros.", ["**2.1) Rent.** It is 740 euros."]),
        ("§ 4 Rent. It is 740 euros.", ["§ 4 Rent. It is 740 euros."]),
        ("1. Eggs.\n2. Flour.\nMix.", ["1. Eggs.", "2. Flour.\nMix."]),
        ("9. Subletting.\n\nThe tenant may.", ["9. Subletting.", "The tenant may."]),
        ("9. The tenant may sublet it. He pays.", ["9. The tenant may sublet it.", "He pays."]),
        ("It ends. 9. Rent.", ["It ends.", "9. Rent."]),
    ],
)
def test_a_numbered_heading_belongs_to_the_sentence_after_it(text: str, sentences: list[str]):
    assert [text[start:end] for start, end in units(text)] == sentences


@pytest.mark.parametrize("mark", ["-- ", "--"])
def test_a_signature_is_no_part_of_a_sentence_or_paragraph(mark: str):
    text = f"Shall we meet?\nCall me\n{mark}\nAnn Lee\n\nDesk: 30"
    assert [text[start:end] for start, end in units(text)] == ["Shall we meet?", "Call me", "Ann Lee", "Desk: 30"]
    answer = extracted(asked("Why meet?", [text], Arbitrary([(0, 14)])))
    assert [one.text for one in answer.citations] == ["Shall we meet?\nCall me"]
    asks = f"Shall we meet?\n\n{mark}\nAnn Lee"
    assert extracted(asked("Why meet?", [asks], Arbitrary([(0, 14)]))).citations[0].text == "Shall we meet?"
    crossing = extracted(asked("Who calls?", [f"Call me\n{mark}\nAnn Lee"], Arbitrary([(0, 18)])))
    assert crossing.citations[0].text == "Call me"


MANUAL = """LD_PRELOAD
              A list of user-specified objects that are loaded before all others, which
              overrides functions selectively.  Objects that do not exist are skipped.
       -v, --verbose
              Say more.
                  $ ldconfig -v
                  $ ldconfig --print
"""


def test_an_indented_line_that_was_wrapped_goes_on_in_the_next_one():
    assert [" ".join(MANUAL[start:end].split()) for start, end in units(MANUAL)] == [
        "LD_PRELOAD",
        "A list of user-specified objects that are loaded before all others, which overrides functions selectively.",
        "Objects that do not exist are skipped.",
        "-v, --verbose",
        "Say more.",
        "$ ldconfig -v",
        "$ ldconfig --print",
    ]
    cut = MANUAL[MANUAL.index("user") :]  # a passage may begin within a line
    assert cut[slice(*units(cut)[0])].endswith("selectively.")


def test_a_long_sentence_is_cut_at_line_ends_into_pieces_that_can_be_shown():
    lines = "\n".join(["        words that fill a line of a long paragraph which never ends and goes on"] * 9)
    sizes = [end - start for start, end in units(lines)]
    assert 1 < len(sizes) < 9 and max(sizes) <= LONGEST
    indented = "  Words that begin a paragraph of lines that are filled and wrapped\n" + lines
    assert units(indented)[0][1] > indented.index("\n")  # its first line goes on


def test_a_question_of_the_text_is_answered_by_what_stands_after_it():
    class Question:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(0, one.index("?") + 1, 1.0, 0.9) for one in texts]

    text = "Is a closed file removed?\n\nYes, as soon as nobody has it open.\n\nAnother paragraph."
    (cited,) = extracted(asked("Is a closed file removed?", [text], Question())).citations
    assert cited.text == text.rpartition("\n\n")[0]


def test_twins_are_read_once_and_agreeing_passages_are_cited_together():
    texts = ["The rent is 740 euros.", "The  rent is 740 euros.", "Each month 740 euros are due.", "Cats are allowed."]
    assert [one.file for one in distinct(passages(texts))] == ["0.txt", "2.txt", "3.txt"]

    class Sum:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(one.find("740"), one.find("740") + 9, 1.0, 0.9) for one in texts]

    answer = extracted(asked("How much is the rent?", texts, Sum()))
    assert answer.text == "740 euros [1] [2]"
    assert [one.file for one in answer.citations] == ["0.txt", "2.txt"]


def test_a_sentence_that_leans_on_the_one_before_is_cited_with_it():
    class Last:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(one.find("740"), one.find("740") + 9, 1.0, 0.9) for one in texts]

    for leans in ("It is 740 euros.", "Today, it is 740 euros.", "But this is 740 euros.", "In these it is 740 euros."):
        for question in ("How much is it?", "Why so much?"):  # a few words are asked for, or all that is said
            text = f"No pets. The rent is monthly. {leans}{' And so on and on.' * 30}"
            answer = extracted(asked(question, [text], Last()))
            assert answer.citations[0].text == f"The rent is monthly. {leans}"
            assert "monthly" not in answer.text
    alone = extracted(asked("How much?", ["The rent is monthly. In theory the rent is 740 euros."], Last()))
    assert alone.citations[0].text == "In theory the rent is 740 euros."


@pytest.mark.parametrize(
    ("text", "span", "shown"),
    [
        ("At most two dogs may live here.", "two dogs", "At most two dogs"),
        ("The flat is free after the war.", "war", "after the war"),
        ("Rent: 740 euros; dogs are not allowed.", "dogs", "dogs are not allowed."),
        ("Rent: 740 euros; dogs are not allowed.", "740 euros", "740 euros"),
        ("Cats are not allowed.", "not allowed", "not allowed"),
        ("It is less than the 3 metres that coaches need.", "3 metres", "3 metres"),
        ("It is less than the limit of 3 metres.", "limit", "less than the limit"),
        ("The bridge is closed until the end of August.", "August", "the end of August"),
        ("It opens in mid-August again.", "August", "mid-August"),
    ],
)
def test_a_bare_span_that_would_mislead_is_shown_with_what_bounds_or_denies_it(text, span, shown):
    class Span:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(one.find(span), one.find(span) + len(span), 1.0, 0.9) for one in texts]

    answer = extracted(asked("Which?", [text], Span()))
    assert answer.text == f"{shown} [1]"
    (cited,) = answer.citations
    assert cited.text == text
    assert cited.answer is not None
    assert text[cited.answer[0] - len(BEFORE) : cited.answer[1] - len(BEFORE)] == shown


@pytest.mark.parametrize(
    ("text", "span", "whole"),
    [
        ("Write to lost@ferry.example.", "lost@ferry", "lost@ferry.example"),
        ("Write to press@tarrow-ferry.co.uk, please.", "tarrow-ferry.co.uk", "press@tarrow-ferry.co.uk"),
        ("It runs on server fin-03.kettle.local, too.", "server fin-03", "server fin-03.kettle.local"),
        ("It costs £21.10 each.", "21", "£21.10"),
        ("There are 1,480 of them.", "480", "1,480"),
        ("It is for non-members.", "members", "non-members"),
        ("Open 9:30–17:00.", "9:30", "9:30"),
        ("That is Ines's dog.", "Ines", "Ines"),
        ("It ended in 2026.The next", "2026", "2026"),
        ("租金每月七百欧元。", "七百欧元", "七百欧元"),
    ],
)
def test_a_reading_breaks_no_address_price_or_name(text: str, span: str, whole: str):
    at = text.index(span)
    (found,) = read_passages(Arbitrary([(at, at + len(span))]), "Which?", passages([text]))
    assert found.answer == whole


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is the secretary of the board?", "Rosalind van der Ockwell"),
        ("Who's the chair?", "Hugh Tremlett"),
        ("And who is the secretary?", "Rosalind van der Ockwell"),
        ("Who is the treasurer?", "Hugh"),
        ("Who chairs the board?", "Hugh"),
    ],
)
def test_who_holds_an_office_stands_before_it(question: str, answer: str):
    text = "Present: Hugh Tremlett (chair), Rosalind van der Ockwell (Secretary), Dev Bhandari."
    (found,) = read_passages(Arbitrary([(9, 13)]), question, passages([text]))
    assert found.answer == answer


def test_an_answer_that_says_the_question_again_is_shown_in_its_sentence():
    class Echo:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(one.find("vimrc"), one.find("vimrc") + 10, 1.0, 0.9) for one in texts]

    text = "Vim starts. You write settings in the vimrc file."
    assert (
        extracted(asked("Which is the vimrc file?", [text], Echo())).text == "You write settings in the vimrc file. [1]"
    )
    assert extracted(asked("Which one is it?", [text], Echo())).text == "vimrc file [1]"


def test_a_full_stop_is_no_answer_within_its_sentence():
    text = "The rope is long."
    (one,) = read_passages(Arbitrary([(16, 17)]), "Why?", passages([text]))
    cited = one.citation(1)
    assert cited.answer == (cited.start, cited.end) and cited.text.endswith(text)


def test_a_paragraph_that_leads_to_the_next_is_answered_with_it():
    class First:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(0, 4, 1.0, 0.9) for _ in texts]

    text = "Type this command:\n\n    :quit\n\nThen rest."
    assert extracted(asked("How do I quit?", [text], First())).text == "Type this command: :quit [1]"
    assert extracted(asked("How do I quit?", ["Type it.\n\nThen rest."], First())).text == "Type it. [1]"


def test_of_a_yes_or_no_question_the_sentence_that_decides_is_marked_in_its_paragraph():
    class Dogs:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(one.find("dogs"), one.find("dogs") + 4, 1.0, 0.9) for one in texts]

    text = "The house is old. It keeps no dogs. Cats may stay."
    yes_or_no, why = (
        extracted(asked(one, [text], Dogs())) for one in ("Can I bring my dog?", "Why are there no dogs?")
    )
    assert yes_or_no.text == why.text == f"{text} [1]"
    (decides,), (all_of_it,) = yes_or_no.citations, why.citations
    assert decides.text == all_of_it.text == text
    assert parts(decides) == ("The house is old. ", "It keeps no dogs.", " Cats may stay.")
    assert parts(all_of_it) == ("", text, "")


def test_a_span_of_the_questions_own_words_is_shown_in_its_sentence():
    text = "How many are a reference's words is told. Cats are allowed."
    answer = extracted(asked("How many citations are there?", [text], Arbitrary([(0, 8)])))
    assert answer.text.startswith("How many are a reference's words is told.")


@pytest.mark.parametrize(
    ("text", "span", "answer"),
    [
        ("Leave is announced seven weeks before. The canteen is open at noon.", (19, 50), "seven weeks before."),
        ("It is 28 euros. Abroad it is 45 euros.", (6, 37), "28 euros. Abroad it is 45 euros"),
        ("Run it once.\n\nThen stop.", (4, 25), "it once."),
        ("a, b\n\nc", (0, 7), "a, b"),
    ],
)
def test_a_span_has_no_beginning_of_a_sentence_and_no_other_paragraph(text, span, answer):
    (found,) = read_passages(Arbitrary([span]), "When?", passages([text]))
    assert found.answer == answer

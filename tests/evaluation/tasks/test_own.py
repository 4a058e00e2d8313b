"""A file of one's own questions: what it may say, and one sentence for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.own import own_task

ASKED = {"question": "Which gas?", "choices": ["oxygen", "helium"]}
BAD = {
    "no right answer": (ASKED, "mine.jsonl#1 has no right answer"),
    "two right answers": (ASKED | {"answer": ["A", "helium"]}, r"has 2 right answers \(A, B\); leave one"),
    "an answer and another label": (ASKED | {"answer": "oxygen", "label": 1}, "has 2 right answers"),
    "a choice that stands twice": (
        {"question": "Which?", "choices": ["a", "a"], "answer": "a"},
        r"has 2 right answers \(A, B\)",
    ),
    "an answer outside the choices": (ASKED | {"answer": "neon"}, r"'neon' is none of its 2 choices \(A to B\)"),
    "a letter outside the choices": (ASKED | {"answer": "C"}, "'C' is none of its 2 choices"),
    "a label outside the choices": (ASKED | {"label": 2}, r"the label 2 is none of its 2 choices \(0 to 1\)"),
    "a label that is no number": (ASKED | {"label": "²"}, "the label '²' is none of its 2 choices"),
    "a label of many digits": (ASKED | {"label": "9" * 5000}, "is none of its 2 choices"),
    "a question that is a number": (ASKED | {"question": 5, "answer": "A"}, "`question` is no text"),
    "an empty prompt": (ASKED | {"question": " ", "answer": "A"}, "`question` is empty"),
    "no question": ({"answer": "A"}, "has no `question`"),
    "one choice": ({"question": "Which?", "choices": ["a"], "answer": "A"}, "has one choice"),
    "an empty choice": ({"question": "Which?", "choices": ["a", ""], "answer": "A"}, "choice 2 is empty"),
    "choices that are no list": ({"question": "Which?", "choices": "ab", "answer": "A"}, "is no list of texts"),
    "no answer to write": ({"question": "Who?", "answer": ""}, "has no right answer"),
    "two equal sentences": ({"good": "a", "bad": "a"}, "both sentences are equal"),
    "no object": ([1], "is no object"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_scored_is_told_with_its_place(written, case):
    record, said = BAD[case]
    with pytest.raises(DataError, match=said) as told:
        own_task(Path(written(record)))
    assert "mine.jsonl#1" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("answer", "right"), [({"answer": "B"}, 1), ({"answer": "helium"}, 1), ({"label": 0}, 0), ({"label": "1"}, 1)]
)
def test_an_answer_is_a_letter_a_text_or_a_place(written, answer, right):
    [item] = own_task(Path(written(ASKED | answer))).items()
    assert item.right == right and item.asked[0] == ("Question: Which gas?\nAnswer:", " oxygen")


def test_a_text_that_is_also_a_letter_is_taken_as_the_text(written):
    [item] = own_task(Path(written({"question": "Which?", "choices": ["B", "A"], "answer": "A"}))).items()
    assert item.right == 1


def test_a_csv_file_holds_choices_in_columns(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('question,choice1,choice2,choice3,answer,group\nWhich?,"a, b",c,,B,x\nWhich?,d,e,f,A,y\n')
    first, second = own_task(path).items()
    assert first.choices == ("a, b", "c") and first.right == 1 and first.group == "x" and first.name == "mine.csv#2"
    assert len(second.choices) == 3 and own_task(path).clustered


def test_a_csv_file_of_a_spreadsheet_begins_with_a_mark(tmp_path):
    (tmp_path / "mine.csv").write_text("question,choice1,choice2,answer\nWhich?,a,b,B\n", encoding="utf-8-sig")
    assert own_task(tmp_path / "mine.csv").items()[0].right == 1


BROKEN = {
    "a comma without quotes": ("mine.csv", "question,answer\nWhich, then?,A\n", r"#2 has more cells than columns"),
    "a cell of megabytes": ("mine.csv", f"question,answer\n{'x' * 200_000},A\n", r"#2: this is no row of a CSV table"),
    "brackets without end": ("mine.jsonl", "[" * 100_000 + "\n", r"#1: this line is no JSON"),
    "a number of many digits": ("mine.jsonl", f'{{"label": {"1" * 6000}}}\n', r"#1: this line is no JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_line_is_told_in_a_sentence(tmp_path, case):
    name, text, said = BROKEN[case]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=name + said) as told:
        own_task(tmp_path / name)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


def test_questions_without_choices_are_answered_in_words_and_pairs_compared(written):
    task = own_task(Path(written({"prompt": "Emma is by", "answer": ["Austen", "Jane Austen"]})))
    assert task.main == "exact" and task.items()[0].prompt == "Emma is by"
    pairs = own_task(Path(written({"good": "It is.", "bad": "It are."})))
    assert pairs.scored == ("sum", "rest") and pairs.items()[0].asked == (("", "It is."), ("", "It are."))


def test_kinds_do_not_mix(written):
    with pytest.raises(DataError, match=r"mine.jsonl#2 has no choices and others have"):
        own_task(Path(written(ASKED | {"answer": "A"}, {"question": "Who?", "answer": "Ann"})))


def test_files_that_are_none(tmp_path, written):
    (tmp_path / "broken.jsonl").write_text('{"question": \n')
    with pytest.raises(DataError, match=r"broken.jsonl#1: this line is no JSON"):
        find(str(tmp_path / "broken.jsonl"))
    with pytest.raises(DataError, match="holds no question"):
        find(written())
    with pytest.raises(DataError, match="cannot be read"):
        find(str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match=r"'piqu' is no task .* did you mean piqa\?"):
        find("piqu")

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
    "two equal choices and a letter": (
        {"question": "Which?", "choices": ["a", "b", "b "], "answer": "C"},
        "the choices B and C are equal, and only one of them is right",
    ),
    "an unknown field": (ASKED | {"answer": "A", "anwser": "B"}, "has the field 'anwser', which is not known; known"),
    "choices in two ways": (ASKED | {"choice_a": "x", "answer": "A"}, "has `choices` and `choice_a`; leave one"),
    "a choice that is no number": (
        {"question": "Which?", "choices": ["a", float("nan")], "answer": "A"},
        r"mine.jsonl#1 has NaN, which is no value of JSON; write a text",
    ),
    "a choice that is infinite": (
        {"question": "Which?", "choices": ["a", float("inf")], "answer": "A"},
        "has Infinity",
    ),
    "a choice that is true": (
        {"question": "Which?", "choices": ["a", True], "answer": "A"},
        "mine.jsonl#1: the choice true is no text; write it in quotes",
    ),
    "an answer that is true": ({"question": "Is it?", "answer": True}, "#1: the answer true is no text; write it in"),
    "one of several answers that is true": (
        {"question": "Is it?", "answer": ["yes", True]},
        "#1: the answer true is no text",
    ),
    "an answer to choose that is true": (
        {"question": "Is it?", "choices": ["True", "False"], "answer": True},
        "#1: the answer true is no text",
    ),
    "a label that is no whole number": (ASKED | {"label": 0.5}, "the label 0.5 is none of its 2 choices"),
    "a check that is not known": (
        {"question": "How many?", "answer": "4", "check": "digits"},
        "#1: `check` is 'digits'; there is number, or leave it out",
    ),
    "a check that is no text": ({"question": "How many?", "answer": "4", "check": [1]}, r"`check` is \[1\]; there is"),
    "a check of choices": (ASKED | {"answer": "A", "check": "number"}, "only written answers are checked"),
    "a number to check that is none": (
        {"question": "How many?", "answer": "four", "check": "number"},
        "`check` is number, and the answer 'four' is not one number",
    ),
    "a question and a prompt": (ASKED | {"prompt": "Which", "answer": "A"}, "has `question` and `prompt`, and one of"),
    "a pair beside a question": ({"good": "a", "bad": "b", "question": "Which?"}, "has `question` beside a pair of"),
    "a half of a pair": ({"good": "a"}, "has no `bad`"),
    "a half of a pair beside a question": ({"question": "Who?", "answer": "Ann", "bad": "b"}, "beside a pair of sent"),
    "a label of no choices": ({"question": "Who?", "answer": "Ann", "label": 0}, "has `label`, the place of the right"),
    "tools without calls": (
        {"question": "Who?", "answer": "Ann", "tools": []},
        "has `tools` beside a question whose answer is written; leave it out",
    ),
    "no choices in a list": ({"question": "Who?", "answer": "Ann", "choices": []}, "`choices` is empty; give two or"),
    "a delimiter of a question": (ASKED | {"answer": "A", "delimiter": ""}, "has `delimiter` beside a question with"),
    "a delimiter of no choices": (
        {"prompt": "Who?", "answer": "Ann", "delimiter": ""},
        "has `delimiter` beside a prompt whose answer is written; leave it out",
    ),
    "a delimiter that is no text": (
        {"prompt": "Which?", "choices": ["a", "b"], "answer": "A", "delimiter": 1},
        "`delimiter` is no text",
    ),
    "half of a surrogate pair": (ASKED | {"answer": "A", "note": "\ud83d"}, "#1 holds half of a surrogate pair"),
    "choices by letters and numbers": (
        {"question": "Which?", "choice_a": "a", "choice_1": "b", "answer": "A"},
        "has two columns for one choice among choice_a, choice_1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_scored_is_told_with_its_place(written, case):
    record, said = BAD[case]
    with pytest.raises(DataError, match=said) as told:
        own_task(Path(written(record)))
    assert "mine.jsonl#1" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("answer", "right"),
    [({"answer": "B"}, 1), ({"answer": "helium"}, 1), ({"label": 0}, 0), ({"label": "1"}, 1), ({"label": 1.0}, 1)],
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


TABLES = {
    "letters out of order": ("question,choice_b,choice_a,answer\nWhich?,bee,ant,B\n", ("ant", "bee"), "bee"),
    "numbers out of order": ("question,choice2,choice1,label\nWhich?,bee,ant,1\n", ("ant", "bee"), "bee"),
    "numbers from 0": ("question,choice0,choice1,answer\nWhich?,ant,bee,B\n", ("ant", "bee"), "bee"),
    "an empty cell": ("question,choice_a,choice_b,choice_c,answer\nWhich?,ant,,cat,C\n", ("ant", "cat"), "cat"),
    "an empty cell and a place": ("question,choice1,choice2,choice3,label\nWhich?,, ,ant,2\n?,a,b,c,0", None, ""),
    "spaces around names": (" Question , choice_a, choice_b ,answer \nWhich?,ant,bee,B\n", ("ant", "bee"), "bee"),
    "semicolons": ('question;choice_a;choice_b;answer\n"Which; then?";3,5;4,5;B\n', ("3,5", "4,5"), "4,5"),
    "tabs": ("question\tchoice_a\tchoice_b\tanswer\nWhich?\tant\tbee\tB\n", ("ant", "bee"), "bee"),
    "a column of one's own": ("id,question,choice_a,choice_b,answer,\n7,Which?,ant,bee,B,\n", ("ant", "bee"), "bee"),
    "rows without a cell": (
        '"question","choice_a","choice_b","answer"\nWhich?,ant,bee,B\n,,,\n',
        ("ant", "bee"),
        "bee",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_letter_is_that_of_its_column(tmp_path, case):
    text, choices, right = TABLES[case]
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    if choices is None:
        with pytest.raises(DataError, match=r"mine.csv#2 has one choice"):
            own_task(tmp_path / "mine.csv")
        return
    [item] = own_task(tmp_path / "mine.csv").items()
    assert item.choices == choices and item.choices[item.right] == right and item.shown.endswith(f" {right}")


UNKNOWN = {
    "letters alone": ("question,A,B,C,answer\nWhich?,a,b,c,B\n", "mine.csv has the column 'A', which is not known"),
    "options": ("question,option_a,option_b,answer\nWhich?,a,b,B\n", "mine.csv has the column 'option_a', which"),
    "twice": ("question,answer,Answer\nWhich?,a,b\n", "mine.csv has two columns that are called answer"),
    "no name": ("question,answer,\nWhich?,a,b\n", "mine.csv#2 has a cell in a column without a name"),
    "a letter of an empty cell": (
        "question,choice_a,choice_b,choice_c,answer\nWhich?,ant,,cat,B\n",
        r"mine.csv#2: the answer 'B' is none of its 2 choices \(A, C\)",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_column_that_is_not_known_is_told(tmp_path, case):
    text, said = UNKNOWN[case]
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        own_task(tmp_path / "mine.csv")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_a_file_in_another_code_is_to_be_saved_as_utf_8(tmp_path, codec, name):
    (tmp_path / name).write_text("question,answer\nWer?,Müller\n", encoding=codec)
    with pytest.raises(DataError, match=f"{name} is no UTF-8 text; save it as UTF-8"):
        own_task(tmp_path / name)


def test_one_question_with_two_right_answers_is_told(written):
    contradicting = (
        ASKED | {"answer": "A"},
        {"question": "Which gas?", "choices": ["helium", "oxygen"], "answer": "A"},
    )
    with pytest.raises(DataError, match=r"mine.jsonl#2 asks what mine.jsonl#1 asks, and another answer is right; corr"):
        own_task(Path(written(*contradicting)))
    with pytest.raises(DataError, match=r"or give both as a list in one item of a .jsonl file"):
        own_task(Path(written({"question": "Who?", "answer": "Ann"}, {"question": "Who?", "answer": "Bob"})))
    with pytest.raises(DataError, match="asks what"):
        own_task(Path(written({"good": "a", "bad": "b"}, {"good": "b", "bad": "a"})))
    alike = ({"question": "Who?", "answer": ["Ann", "Annie"]}, {"question": "Who?", "answer": "ann."})
    other = (
        {"question": "Which?", "choices": ["a", "b"], "answer": "a"},
        {"question": "Which?", "choices": ["c", "d"]},
    )
    [item] = own_task(Path(written(*alike))).items()
    assert item.answers == ("Ann", "Annie", "ann.")
    assert len(own_task(Path(written(other[0], other[1] | {"answer": "A"}))).items()) == 2


def test_what_stands_twice_counts_once_and_that_is_told(written):
    asked = {"question": "Who?", "answer": "Ann"}
    turned = {"question": "Which gas?", "choices": ["helium", "oxygen"], "answer": "B"}
    program = {"prompt": "def f():\n", "tests": "f()"}
    for first, second in ((asked, asked), (ASKED | {"answer": "A"}, turned), (program, program)):
        task = own_task(Path(written(first, second | {"group": "other"}, first)))
        assert [one.name for one in task.items()] == ["mine.jsonl#1"]
        assert task.left_out == "2 repeated items left out; the first: mine.jsonl#2 asks what mine.jsonl#1 asks"
    other = program | {"tests": "assert f() is None"}
    assert len(own_task(Path(written(program, other))).items()) == 2


@pytest.mark.parametrize(
    ("prompt", "given", "wanted"),
    [("Is it", {}, " a"), ("Is it ", {}, "a"), ('"', {"delimiter": ""}, "a"), ("Is it:", {"delimiter": "\n"}, "\na")],
)
def test_what_stands_between_a_prompt_and_its_choices_can_be_said(written, prompt, given, wanted):
    record = {"prompt": prompt, "choices": ["a", "b"], "answer": "A", "question": None, "group": None, **given}
    [item] = own_task(Path(written(record))).items()
    assert item.asked[0] == (prompt, wanted) and item.group == ""


def test_a_cell_of_a_choice_that_is_empty_belongs_to_any_row(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("question,answer,choice_a,choice_b\nWho?,Ann,, \nHow?,So,,\n")
    assert [one.answers for one in own_task(path).items()] == [("Ann",), ("So",)]


def test_a_csv_file_of_a_spreadsheet_begins_with_a_mark(tmp_path):
    (tmp_path / "mine.csv").write_text("question,choice1,choice2,answer\nWhich?,a,b,B\n", encoding="utf-8-sig")
    assert own_task(tmp_path / "mine.csv").items()[0].right == 1


BROKEN = {
    "a comma without quotes": ("mine.csv", "question,answer\nWhich, then?,A\n", r"#2 has more cells than columns"),
    "a cell of megabytes": ("mine.csv", f"question,answer\n{'x' * 200_000},A\n", r"#2: this is no row of a CSV table"),
    "brackets without end": ("mine.jsonl", "[" * 100_000 + "\n", r"#1: this line is no JSON"),
    "a number of many digits": (
        "mine.jsonl",
        f'{{"label": {"1" * 6000}}}\n',
        "#1 has a number of more digits than are read; write it in quotes",
    ),
    "a name that stands twice": (
        "mine.jsonl",
        '{"question": "Who?", "answer": "Ann", "answer": "Bob"}\n',
        "#1 has two fields that are called answer",
    ),
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


def test_a_number_that_is_infinite_when_it_is_read_is_told(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "How many?", "answer": 1e999}\n')
    with pytest.raises(DataError, match=r"mine.jsonl#1: the answer Infinity is no text"):
        own_task(tmp_path / "mine.jsonl")


def test_answers_that_are_numbers_are_also_judged_by_their_last_number(tmp_path, written):
    asked = {"question": "How many?", "answer": "20", "check": "number"}
    task = own_task(Path(written(asked)))
    [item] = task.items()
    assert task.main == "last number" and item.check == "number"
    table = tmp_path / "mine.csv"
    table.write_text("question,answer,check\nHow many?,20,number\nWho?,Ann,\n", encoding="utf-8")
    mixed = own_task(table)
    assert mixed.main == "exact" and [one.check for one in mixed.items()] == ["number", None]


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
    written({"question": "Who?", "answer": "Ann"})
    with pytest.raises(ConfigError, match=r"is a folder; give a file of questions or conversations, such as .*jsonl"):
        find(str(tmp_path))

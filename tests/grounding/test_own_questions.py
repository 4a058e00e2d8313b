"""One's own questions to an index: read, asked, judged, kept, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grounding.small_index import indexed
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.grounding import own_questions
from lmworks.grounding.index import Index, IndexSettings, build
from lmworks.grounding.own_questions import Judged, JudgedAnswer, OwnQuestion, Verdict, judge, read_questions, says

NOTES = {
    "rent.md": "# The flat\n\nThe rent is due on the third day of each month. It costs 1,140 euros.\n",
    "boat.txt": "The boat lies at pier 7 and costs 90 euros a night.\n",
}
CSV = """\ufeffQuestion ; answer;file
When is the rent due?;third day;rent.md
What does the boat cost a night?;90 euros | EUR 90;boat.txt
Who is the king of Sweden?;;
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("asked"), NOTES, minilm)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


MODELS = {"probably_right": None}
"""What is said of answers that a model made."""


def said(text: str, *cited: str, refused: bool = False, file: str = "rent.md", right: float = 0.9) -> dict:
    citations = [{"text": one, "file": file, "place": "line 1"} for one in cited]
    nearest = {"nearest": None, "reason": "" if not refused else "nothing"}
    sure = None if refused else right
    return {"text": text, "refused": refused, "probably_right": sure, "citations": citations} | nearest


def test_questions_of_a_table_and_of_json_lines(tmp_path: Path, questions: Path):
    first, second, third = read_questions(questions)
    assert first == OwnQuestion("When is the rent due?", ("third day",), "rent.md", "questions.csv#2")
    assert second.answers == ("90 euros", "EUR 90") and third.answers == () and third.file == ""
    lines = [{"question": "When?", "answers": ["a", "b"], "note": "mine"}, {"question": "Who?", "answer": None}]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)))
    assert [one.answers for one in read_questions(path)] == [("a", "b"), ()]
    assert read_questions(path)[1].place == "questions.jsonl#3"


WRONG = {
    "a.csv": [
        (
            "question,anwser\nWhen?,now\n",
            "a.csv has the column 'anwser', which is not known; known are question, answer, file",
        ),
        ("question,answer\n,now\n", "a.csv#2 has no question; give every row one"),
        ("question,answer\nWhen?,...\n", "a.csv#2: an answer has no letter and no figure"),
        ("question,answer\nWhen?,1\nWhen? ,2\n", "a.csv#3 asks what a.csv#2 asks; leave one of them out"),
        ("question,answer\n", "holds no question"),
        ('question,answer\n"What is this,oak\nWho?,me\n', "this is no row of a CSV table"),
        ("question,answer\nWhat, when?,now\n", "a.csv#2 has more cells than columns; put text with commas in quotes"),
        ("question,question\na,b\n", "a.csv has two columns that are called question; rename one, or leave it out"),
        ("", "holds no question"),
    ],
    "a.jsonl": [
        ("[1]", "a.jsonl#1 is no object with `question` and `answer`"),
        ("{", "a.jsonl#1: this line is no JSON"),
        ("[" * 100_000, "a.jsonl#1: this line is no JSON"),
        ('{"question": "a", "answers": ["b"], "file_": "c"}', "a.jsonl#1 has the field 'file_', which is not known"),
        ('{"question": 3}', "a.jsonl#1 has no question"),
        ('{"question": "a", "answer": 3}', "a.jsonl#1: question, answer and file are texts; write numbers in quotes"),
    ],
    "a.txt": [("When?", "is no .csv or .jsonl file")],
}


@pytest.mark.parametrize(("name", "text", "sentence"), [(n, *one) for n, all_ in WRONG.items() for one in all_])
def test_what_is_no_question_is_named(tmp_path: Path, index: Index, name: str, text: str, sentence: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(LmworksError) as told:
        index.judge(tmp_path / name)
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_a_file_in_another_encoding_is_named(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("question,answer\nWer?,Jürgen\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_questions(tmp_path / "a.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("text", "answer", "holds"),
    [
        ("The rent is 1,140 euros.", "1140 euros", True),
        ("Die Kaution beträgt 2.520 Euro.", "2520 euro", True),
        ("It is 35 bar.", "3.5 bar", False),
        ("It costs 280 euros.", "28 euros", False),
        ("It is 12.50 EUR", "1250 EUR", False),
        ("The »third« Working-Day", "third working day", True),
        ("Mu\u0308ller", "Müller", True),
        ("東京は日本の首都です。", "日本", True),
        ("I left the house", "left house", True),
    ],
)
def test_what_an_answer_says(text: str, answer: str, holds: bool):
    assert says(text, [answer]) is holds


def test_verdicts():
    there, gone = OwnQuestion("?", ("1,140 euros",)), OwnQuestion("?")
    row = "| rent | 900 euros | 1,140 euros |"
    cases = [
        (there, said("1140 euros [1]", "It costs 1,140 euros."), Verdict.RIGHT),
        (there, said("at most 1,140 euros [1]", "..."), Verdict.RIGHT),
        (there, said("1,140 [1]", "..."), Verdict.RIGHT),
        (there, said("euros [1]", "..."), Verdict.WRONG),
        (there, said("900 euros [1]", row), Verdict.BESIDE),
        (OwnQuestion("?", ("not allowed",)), said("allowed [1]", "Dogs are allowed."), Verdict.WRONG),
        (OwnQuestion("?", ("1140",), "rent [2024].md"), said("1140 [1]", "1140", file="rent [2024].md"), Verdict.RIGHT),
        (there, said("900 euros [1]", "It costs 900 euros."), Verdict.WRONG),
        (there, said("not in these documents", refused=True), Verdict.REFUSED),
        (gone, said("not in these documents", refused=True), Verdict.RIGHTLY_REFUSED),
        (gone, said("1,140 euros [1]", "It costs 1,140 euros."), Verdict.INVENTED),
        (OwnQuestion("?", ("1140",), "new/*"), said("1140 [1]", "1140", file="old/a.md"), Verdict.WRONG),
        (OwnQuestion("?", ("1140",), "new/*"), said("1140 [1]", "1140", file="new/a.md"), Verdict.RIGHT),
    ]
    of_record = said("1140 [1]", "1140", file="new/prices.csv#3")
    cases += [
        (OwnQuestion("?", ("1140",), wanted), of_record, verdict)
        for wanted, verdict in {
            "new/prices.csv": Verdict.RIGHT,
            "new/prices.csv#3": Verdict.RIGHT,
            "*.csv": Verdict.RIGHT,
            "new/prices.csv#4": Verdict.WRONG,
            "new/prices": Verdict.WRONG,
        }.items()
    ]
    of_graph = said("1140 [1]", "1140", file="")
    of_graph["citations"][0]["triples"] = [{"file": "new/a.csv"}, {"file": "b.csv"}]  # facts, each of a file
    cases += [
        (OwnQuestion("?", ("1140",), "new/*"), of_graph, Verdict.RIGHT),
        (OwnQuestion("?", ("1140",), "old/*"), of_graph, Verdict.WRONG),
    ]
    for question, answer, verdict in cases:
        assert JudgedAnswer(question, answer).verdict == verdict, answer


def test_answers_are_counted_by_how_probably_right_they_were_said_to_be():
    there = OwnQuestion("?", ("1140",))
    made = [(said("1140 [1]", "1140", right=sure), said("9 [1]", "9", right=sure)) for sure in (0.95, 0.85, 0.6, 0.2)]
    answers = [JudgedAnswer(there, one) for pair in made for one in pair]
    answers += [JudgedAnswer(there, said("no", refused=True)), JudgedAnswer(there, said("1140 [1]", "1140") | MODELS)]
    found = {one.name: (one.value, one.n) for one in Judged("index", "mine.csv", answers).measurements}
    levels = {name.rpartition(" with ")[2]: figure for name, figure in found.items() if " with " in name}
    assert levels == {"over 90%": (0.5, 2), "50% to 90%": (0.5, 4), "less than 50%": (0.5, 2)}


@pytest.mark.parametrize("count", [1, 3])
def test_where_nothing_is_refused_chance_is_not_told(count: int):
    told = said("1,140 euros [1]", "It costs 1,140 euros.")
    there, gone = (JudgedAnswer(OwnQuestion("?", answers), told) for answers in (("1140",), ()))
    figures = {one.name: one for one in Judged("index", "mine.csv", [there, *[gone] * count]).measurements}
    assert figures["refused, not there"].value == 0 and "chance" not in str(figures["refused, not there"])


def test_an_index_is_judged_by_questions_of_ones_own(index: Index, questions: Path, tmp_path: Path):
    out = tmp_path / "out" / "answers.jsonl"
    out.parent.mkdir()
    judged = index.judge(questions, out=out)
    assert [str(one.verdict) for one in judged.answers] == ["right", "right", "rightly refused"]
    figures = {one.name: one for one in judged.measurements}
    assert figures["right"].value == 1 and figures["right"].n == 2 and figures["right"].interval[0] < 0.5
    assert figures["refused, not there"].value == 1 and figures["refused, not there"].chance == 0
    assert "3 questions of" in judged.table and "2 with an answer, 1 without" in judged.table
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[1]["question"] == "When is the rent due?" and lines[1]["expected"] == ["third day"]
    assert lines[1]["verdict"] == "right" and lines[1]["said"]["citations"][0]["file"] == "rent.md"


FOLDERS = {
    "legal/lease.txt": "The rent is 740 euros.\n",
    "legal/old/note.txt": "The old rent was 700 euros.\n",
    "note.txt": "The garage is let to Ann.\n",
    "legal/memo.txt": "Ask the landlord.\n",
    "memos/memo.txt": "The key is in the hall.\n",
    "prices.csv": "boat,price\nRed Kite,90 euros\nBlue Heron,70 euros\n",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    place = tmp_path_factory.mktemp("folders")
    for folder in ("legal/old", "memos"):
        (place / "notes" / folder).mkdir(parents=True)
    for name, text in FOLDERS.items():
        (place / "notes" / name).write_text(text)
    return build(place / "notes", place / "index", IndexSettings(embedder=minilm))


@pytest.mark.parametrize("file", ["lease.txt", "legal/lease.txt", "legal/*"])
def test_a_document_is_named_by_its_path_its_name_or_a_pattern(folders: Index, file: str):
    (one,) = folders.judge([OwnQuestion("What is the rent?", ("740 euros",), file)]).answers
    assert one.verdict == Verdict.RIGHT


def test_a_record_is_named_by_its_file_or_its_number(folders: Index):
    for file, verdict in {"prices.csv": "right", "prices.csv#1": "right", "prices.csv#2": "wrong"}.items():
        (one,) = folders.judge([OwnQuestion("What does the Red Kite cost?", ("90 euros",), file)]).answers
        assert str(one.verdict) == verdict and one.question.file == file


def test_a_path_is_meant_before_the_same_name_in_a_folder(folders: Index):
    (one,) = folders.judge([OwnQuestion("Who is the garage let to?", ("Ann",), "note.txt")]).answers
    assert one.question.file == "note.txt" and one.verdict == Verdict.RIGHT


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("legal/leese.txt", "mine.csv#3: {} has no document 'legal/leese.txt'; did you mean legal/lease.txt?"),
        ("x", "mine.csv#3: {} has no document 'x'; write its path within the folder that was indexed"),
        ("prices.csv#7", "mine.csv#3: {} has no document 'prices.csv#7'; did you mean prices.csv?"),
        ("memo.txt", "mine.csv#3: memo.txt may be legal/memo.txt or memos/memo.txt; write which"),
    ],
)
def test_a_document_that_is_not_there_is_named_before_anything_is_asked(folders, tmp_path, monkeypatch, file, sentence):
    asked = []
    monkeypatch.setattr(Index, "ask", lambda *_, **__: asked.append(1))
    (tmp_path / "mine.csv").write_text(f"question,answer,file\nWhat is the rent?,740,lease.txt\nWho?,Ann,{file}\n")
    with pytest.raises(DataError) as told:
        folders.judge(tmp_path / "mine.csv")
    assert str(told.value) == sentence.format(folders.place) and not asked


def test_answers_that_are_kept_are_judged_by_what_is_expected_now(index: Index, questions: Path, tmp_path, monkeypatch):
    out = tmp_path / "answers.jsonl"
    index.judge(questions, out=out)
    questions.write_text(CSV.replace("third day", "fifth day"), encoding="utf-8")
    asked = []
    monkeypatch.setattr(Index, "ask", lambda *_, **__: asked.append(1))  # nothing is asked again
    judged = index.judge(questions, out=out, before=out)
    assert str(judged.answers[0].verdict) == "wrong" and not asked
    assert judged.compared == {"n": 3, "better": 0, "worse": 0, "mcnemar": 1.0}  # both by what is expected now
    assert "beside    0 better, 0 worse of 3" in judged.table and "expected  fifth day" in judged.table
    with pytest.raises(ConfigError, match="answers of another index, or of other settings"):
        index.judge(questions, out=out, k=3)
    monkeypatch.setattr(own_questions, "fitted", lambda: {"readers": "of an earlier version"})
    with pytest.raises(ConfigError, match="or another version; give another --out"):
        index.judge(questions, out=out)


def test_what_was_asked_is_kept_when_it_is_stopped(index: Index, questions: Path, tmp_path, monkeypatch):
    ask, out, asked = Index.ask, tmp_path / "answers.jsonl", list[str]()

    def stopped(self: Index, question: str, **choices: object) -> object:
        asked.append(question)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return ask(self, question, **choices)

    monkeypatch.setattr(Index, "ask", stopped)
    with pytest.raises(KeyboardInterrupt):
        index.judge(questions, out=out)
    judged = index.judge(questions, out=out)
    assert len(judged.answers) == 3 and len(asked) == 4 and asked[1] == asked[2]


def test_answers_that_are_not_asked_for_again_are_kept(index: Index, questions: Path, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    index.judge(questions, out=out)
    judged = index.judge([OwnQuestion("Who lies at \u2028 pier 7?", ("boat",))], out=out)
    assert len(judged.answers) == 1 and len(out.read_text(encoding="utf-8").split("\n")) == 1 + 4 + 1
    assert len(index.judge(questions, out=out, before=out).answers) == 3


def test_an_out_that_cannot_be_written_is_told_before_anything_is_asked(index, questions, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Index, "ask", lambda *_, **__: asked.append(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(LmworksError) as told:
        index.judge(questions, out=tmp_path / "file" / "answers.jsonl")
    assert "answers.jsonl" in str(told.value) or "file" in str(told.value)
    assert not asked


def test_a_file_that_is_no_run_is_named(index: Index, questions: Path, tmp_path: Path):
    told = {"question": "?", "expected": [], "file": "", "from": "", "said": said("yes", "yes")}
    told["said"]["probably_right"] = 10**400  # more than any float
    huge = '{"run": "x"}\n' + json.dumps(told)
    for text in ("", "{}", "[]\n", '{"run": "x"}\n{"question": "?"}', "\x00", huge):
        (tmp_path / "other.jsonl").write_text(text)
        for given in ({"out": tmp_path / "other.jsonl"}, {"before": tmp_path / "other.jsonl"}):
            with pytest.raises(DataError, match="holds no answers of lmworks ask --questions"):
                judge(index, questions, **given)
        assert (tmp_path / "other.jsonl").read_text() == text

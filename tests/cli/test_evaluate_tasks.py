"""`lmworks evaluate --task`: its table, its JSON, two models, what is kept, and one sentence for mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "mine.jsonl"
    records = [
        {"question": f"{number}?", "choices": [f"a{number}", f"{number}bcd"], "label": number % 2}
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "other"
    tiny.language_model(seed=9, context=512).save(folder)
    return str(folder)


def test_a_table_with_n_interval_and_chance_and_the_power_before(run, model_folder, questions):
    ran = run("evaluate", model_folder, "--task", questions, "--limit", "32")
    assert ran.err.startswith("mine.jsonl: with 32 items a difference of 25 points between two models can be seen")
    assert "measuring mine.jsonl  100 %" in ran.err
    read, whole = re.search(r"mine.jsonl: ([\d,]+) tokens read for texts of ([\d,]+)\n", ran.err).groups()
    assert int(read.replace(",", "")) < 0.7 * int(whole.replace(",", ""))
    rows = ran.out.splitlines()
    assert len(rows) == 4 and "by characters *" in rows[2] and " 32 " in rows[2] and "0.50" in rows[2]


def test_the_same_as_json_with_another_model_beside_it(run, model_folder, other_folder, questions, tmp_path):
    out = tmp_path / "kept"
    said = ("--task", questions, "--beside", other_folder, "--out", str(out), "--json")
    facts = run("evaluate", model_folder, *said).json
    [difference] = facts["differences"]
    figures = {one["name"]: one["value"] for one in facts["measurements"]}
    beside = run("evaluate", other_folder, "--task", questions, "--json").json["measurements"][1]["value"]
    assert difference["value"] == pytest.approx(beside - figures["mine.jsonl, by characters"])
    assert difference["difference"] and 0 <= difference["mcnemar"] <= difference["holm"] <= 1
    assert difference["second_alone"] - difference["first_alone"] == round(40 * difference["value"])
    assert facts["tasks"]["mine.jsonl"]["ties"]["sum"] == 0
    assert sorted(one.name for one in out.iterdir()) == ["beside", "measurements.json", "mine.jsonl-0-shots.jsonl"]
    table = run("evaluate", model_folder, "--task", questions, "--beside", other_folder).out
    assert "right alone" in table and "Holm" in table


def test_shots_and_several_tasks_with_a_comma(run, model_folder, questions, tmp_path):
    second = tmp_path / "pairs.jsonl"
    second.write_text('{"good": "It is.", "bad": "It are."}\n' * 3, encoding="utf-8")
    table = run("evaluate", model_folder, "--task", f"{questions},{second}").out
    assert "mine.jsonl " in table and "without the first token" in table
    assert "mine.jsonl, 2 shots" in run("evaluate", model_folder, "--task", questions, "--shots", "2").out


MISTAKES = {
    "neither a text nor a task": ((), "give a text to be predicted, or tasks with --task; one of the two"),
    "a text and a task": (("notes", "--task", "piqa"), "one of the two"),
    "a window for a task": (("--task", "piqa", "--window", "9"), "--window goes with a text; leave it out"),
    "shots for a text": (("notes", "--shots", "2"), "--shots goes with --task; leave it out"),
    "a misspelt task": (("--task", "arc-esay"), "did you mean arc-easy?"),
    "no such file": (("--task", "none.jsonl"), "none.jsonl cannot be read"),
    "more shots than items": (("--task", "QUESTIONS", "--shots", "40"), "40 of them as examples leave none"),
    "no items": (("--task", "QUESTIONS", "--limit", "0"), "limit is 0; give 1 or more"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_in_a_sentence(run, model_folder, questions, case):
    given, said = MISTAKES[case]
    ran = run("evaluate", model_folder, *(questions if one == "QUESTIONS" else one for one in given))
    assert ran.code == 1 and ran.err.startswith("lmworks: ") and said in ran.err and ran.err.count("\n") == 1


def test_items_that_the_training_text_holds_are_told_and_left_out(run, model_folder, tmp_path):
    asked, notes = tmp_path / "asked.jsonl", tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("Here is: what do bees make in summer? honey. And more.")
    records = [
        {"question": f"{what} in summer?", "choices": ["honey", "wool"], "answer": "A"}
        for what in ("What do bees make", "What do we eat")
    ]
    asked.write_text("".join(json.dumps(one) + "\n" for one in records))
    table = run("evaluate", model_folder, "--task", str(asked), "--trained-on", str(notes)).out
    assert f"held by {notes}" in table and "1 of 2" in table and "7 words, " in table and "n 1" in table
    told = run("evaluate", model_folder, "--task", str(asked), "--trained-on", str(notes), "--json").json["overlaps"]
    assert [(one["item"], one["longest"], one["held"]) for one in told["asked.jsonl"]] == [("asked.jsonl#1", 7, True)]

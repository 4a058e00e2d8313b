"""`lmworks evaluate --task`: its table, its JSON, two models, what is kept, and one sentence for mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny

import lmworks as lm
from lmworks.basics.errors import ConfigError
from lmworks.evaluation.tasks.find import find
from lmworks.text import registry

CAREER = "career against family"


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


def test_a_table_with_n_interval_and_chance_and_the_power_before(run, model_folder, questions, tmp_path):
    ran = run("evaluate", model_folder, "--task", questions, "--limit", "32")
    assert ran.err.startswith("mine.jsonl: with 32 items a difference of 25 points between two models can be seen")
    assert "they disagree on 25 %" in ran.err
    few = run("evaluate", model_folder, "--task", questions, "--limit", "20").err
    assert "a difference of 39 points" in few and "they disagree on 39 %" in few  # no less than they differ
    assert "measuring mine.jsonl  100 %" in ran.err
    rows = [{**json.loads(line), "group": "one page"} for line in Path(questions).read_text().splitlines()]
    (tmp_path / "alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    alike = run("evaluate", model_folder, "--task", str(tmp_path / "alike.jsonl"), "--limit", "10")
    assert alike.err.startswith("alike.jsonl: its 10 items are all of one group (one page) and depend on each other")
    assert "no difference between two models can be seen" in alike.err and "95 %" not in alike.out
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
    kept = {one["name"]: one for one in json.loads((out / "measurements.json").read_text(encoding="utf-8"))}
    assert kept[f"{other_folder} minus {model_folder}: {difference['name']}"]["holm"] == difference["holm"]
    assert len(kept) == 4
    table = run("evaluate", model_folder, "--task", questions, "--beside", other_folder).out
    assert "right alone" in table and "Holm" in table
    named = {"name": f"{other_folder} minus {model_folder}: {difference['name']}"}
    python = lm.evaluate(model_folder, questions, beside=other_folder, out=tmp_path / "python")
    assert [one.to_json() for one in python] == [*facts["measurements"], difference | named]
    assert json.loads((tmp_path / "python" / "measurements.json").read_text(encoding="utf-8"))[-1] == difference | named
    assert [one.to_json() for one in lm.evaluate(model_folder, questions, beside=model_folder)] == facts["measurements"]


def test_shots_and_several_tasks_with_a_comma(run, model_folder, questions, tmp_path):
    second = tmp_path / "pairs.jsonl"
    second.write_text('{"good": "It is.", "bad": "It are."}\n' * 3, encoding="utf-8")
    table = run("evaluate", model_folder, "--task", f"{questions},{second}").out
    assert "mine.jsonl " in table and "without the first token" in table
    assert "mine.jsonl, 2 shots" in run("evaluate", model_folder, "--task", questions, "--shots", "2").out


def test_a_model_beside_itself_in_another_form_and_in_the_same(run, questions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wide = str(tiny.language_model(seed=9, context=512, dim=64, hidden_dim=128).save("wide"))
    said = ("--task", questions, "--beside", wide)
    table = run("evaluate", wide, *said, "--beside-compress", "int8").out
    assert "wide (int8) minus wide (as stored)" in table
    facts = run("evaluate", wide, "--compress", "int8", *said, "--json").json
    plain = run("evaluate", wide, "--task", questions, "--json").json["measurements"][1]
    [difference] = facts["differences"]
    assert difference["value"] == pytest.approx(plain["value"] - facts["measurements"][1]["value"])  # no int8 there
    same = run("evaluate", wide, *said).out
    assert "wide and wide are the same model in the same form" in same and "McNemar" not in same
    assert run("evaluate", wide, *said, "--json").json["same"] is True


def test_an_adapter_beside_its_base_takes_a_base_of_its_own(run, model_folder, other_folder, questions, tmp_path):
    ran = run("evaluate", model_folder, "--task", questions, "--beside", other_folder, "--beside-base", model_folder)
    assert f"{other_folder} holds no adapter, which the base {model_folder} would be for" in ran.err


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (("--beside", "smollm3"), "smollm3 is neither a known model nor a path; did you mean smollm2?"),
        (("--beside", "smollm2", "--beside-compress", "int9"), "compress is 'int9', and it is one of"),
        (("--beside-compress", "int8"), "--beside-compress goes with --beside; leave it out"),
    ],
)
def test_a_mistake_in_the_second_model_is_told_before_the_first_is_measured(run, model_folder, questions, said, error):
    ran = run("evaluate", model_folder, "--task", questions, *said)
    assert ran.code == 1 and error in ran.err and "measuring" not in ran.err


def test_a_second_model_without_a_template_is_told_before_the_first_is_measured(run, model_folder, tmp_path, questions):
    without = Path(tiny.language_model(seed=9, context=512).save(tmp_path / "without"))
    for file in (without / "chat_template.jinja", without / "tokenizer_config.json"):
        if file.suffix == ".jinja":
            file.unlink(missing_ok=True)
        else:
            said = json.loads(file.read_text(encoding="utf-8"))
            file.write_text(json.dumps({key: one for key, one in said.items() if key != "chat_template"}))
    ran = run("evaluate", model_folder, "--task", questions, "--chat", "--beside", str(without))
    assert f"{without} has no chat template; leave out --chat" in ran.err and "measuring" not in ran.err
    with pytest.raises(ConfigError, match="without has no chat template"):
        lm.evaluate(model_folder, questions, chat=True, beside=without, out=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_empty_answers_of_both_models_are_counted(run, model_folder, other_folder, tmp_path, monkeypatch):
    (tmp_path / "short.csv").write_text("question,answer\nWho?,Ann\nWhen?,now\n", encoding="utf-8")
    monkeypatch.setattr("lmworks.generation.answer.Answer.text", "")
    table = run("evaluate", model_folder, "--task", str(tmp_path / "short.csv"), "--beside", other_folder).out
    assert "2 of 2 answers are empty" in table.splitlines()[1]
    assert table.splitlines()[-1] == f"short.csv: 2 of 2 answers are empty by {other_folder}"


MISTAKES = {
    "neither a text nor a task": ((), "give a text to be predicted, or tasks with --task; one of the two"),
    "a text and a task": (("notes", "--task", "piqa"), "one of the two"),
    "a window for a task": (("--task", "piqa", "--window", "9"), "--window goes with a text; leave it out"),
    "shots for a text": (("notes", "--shots", "2"), "--shots goes with --task; leave it out"),
    "a misspelt task": (("--task", "arc-esay"), "did you mean arc-easy?"),
    "no such file": (("--task", "none.jsonl"), "none.jsonl cannot be read"),
    "more shots than items": (("--task", "QUESTIONS", "--shots", "40"), "40 of them as examples leave none"),
    "a file in place of a folder": (
        ("--task", "QUESTIONS", "--out", "QUESTIONS"),
        "mine.jsonl is a file, and the items",
    ),
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


def test_the_text_that_the_model_says_it_was_trained_on_is_searched_unless_told_otherwise(run, tmp_path):
    asked, notes, model = tmp_path / "asked.jsonl", tmp_path / "notes", tmp_path / "mine"
    notes.mkdir()
    (notes / "a.txt").write_text("Here is: what do bees make in summer? honey. And more.")
    asked.write_text(json.dumps({"question": "What do bees make in summer?", "answer": "honey"}) + "\n")
    tiny.language_model(seed=4, context=256).save(model, {"recipe": {"data": {"text": str(notes)}}})
    ran = run("evaluate", str(model), "--task", str(asked))
    assert f"the lmworks.json of {model} names {notes} as what it was trained on: items are looked for in it" in ran.err
    assert f"held by {notes}" in ran.out and "1 of 1" in ran.out
    without = run("evaluate", str(model), "--task", str(asked), "--trained-on", "")
    assert "held by" not in without.out and "was trained on" not in without.err
    notes.rename(tmp_path / "elsewhere")
    gone = run("evaluate", str(model), "--task", str(asked))
    assert gone.code == 0 and "it is not here (--trained-on TEXT)" in gone.err and "held by" not in gone.out


def test_bias_stands_with_its_ideal_and_what_it_is_criticised_for(run, model_folder, other_folder):
    if not registry.available("winobias-pro-type1-test"):
        pytest.skip("winobias is not here; fetch it with: lmworks evaluate smollm2 --task winobias")
    said = ("--task", "winobias,weat", "--limit", "8", "--beside", other_folder)
    ran = run("evaluate", model_folder, *said)
    rows = [line for line in ran.out.splitlines() if line.startswith("winobias  ")]
    assert "ideal" in ran.out.splitlines()[0] and [row.split("  ")[1].strip() for row in rows[:2]] == [
        "log-likelihood *",
        "gap",
    ]
    assert "winobias: its sentences come from templates" in ran.out and "winobias, gap, type 2" in ran.out
    assert re.search(r"weat .* male names against female names, career against family .* of all 12,870 ways", ran.out)
    assert "weat: with" not in ran.err  # which no share of items could show
    facts = run("evaluate", model_folder, *said, "--json").json
    assert facts["tasks"]["winobias"]["criticised"].startswith("its sentences come from templates")
    assert (
        "of all 12,870 ways" in facts["tasks"]["weat"]["remarks"]["weat, 6: male names against female names, " + CAREER]
    )
    assert [one["name"] for one in facts["differences"]][:2] == ["winobias, log-likelihood", "winobias, gap"]


def test_word_vectors_stand_in_the_place_of_a_model(run, tmp_path):
    if not registry.available("weat-6"):
        pytest.skip("weat is not here; fetch it with: lmworks evaluate smollm2 --task weat")
    words = sorted({word.lower() for one in find("weat").items() for word in one.texts})
    draw = np.random.default_rng(0)
    lines = [f"{word} " + " ".join(f"{one:.3f}" for one in draw.normal(size=4)) for word in words]
    (tmp_path / "glove.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ran = run("evaluate", str(tmp_path / "glove.txt"), "--task", "weat")
    assert len([line for line in ran.out.splitlines() if line.startswith("weat  ")]) == 15
    ran = run("evaluate", str(tmp_path / "glove.txt"), "--task", "winobias", "--limit", "2")
    assert "word vectors answer no questions, and winobias asks some; take weat" in ran.err

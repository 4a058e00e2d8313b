"""A report's section of one's own questions: asked of the model, and plain ones of its documents."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
from html import unescape
from pathlib import Path

import pytest
import tiny

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError
from lmworks.cli import main
from lmworks.grounding.index import IndexSettings
from lmworks.reporting import run as reporting
from lmworks.reporting.card import card
from lmworks.reporting.page import html
from lmworks.reporting.subject import Subject

CHOICES = [
    {"question": f"Is {number} even?", "choices": ["yes", "no"], "answer": "yes" if number % 2 == 0 else "no"}
    for number in range(6)
]
CALL = {"role": "assistant", "tool_calls": [{"name": "stop", "arguments": {}}]}
CALLS = [{"tools": [{"name": "stop"}], "messages": [{"role": "user", "content": "Stop."}, CALL]}]
ASKED = [
    {"question": "When is the rent due?", "answer": "third day"},
    {"question": "Who keeps the keys of the cellar?", "answer": "Mrs Berger"},
    {"question": "Who painted the kitchen?", "answer": ""},
]


def written(path: Path, records: list[dict]) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny.language_model(seed=4, context=2048).save(folder)
    return folder


def subject(model: Path, folder: Path, *questions: str) -> Subject:
    return Subject.of(model, "quick", folder / "items", questions=questions)


def test_without_documents_every_file_is_a_task(model: Path, tmp_path: Path):
    own = reporting.sections()["own"]
    assert own.needs(subject(model, tmp_path)) == (
        "No questions of your own were given; name files with --questions FILE."
    )
    files = [written(tmp_path / "even.jsonl", CHOICES), written(tmp_path / "calls.jsonl", CALLS)]
    asked = subject(model, tmp_path, *files)
    assert own.needs(asked) is None
    found = own.measure(asked)
    names = [one.name for one in found.measurements]
    assert names[0].startswith("even.jsonl, ") and found.measurements[0].n == 6 and found.measurements[0].chance == 0.5
    assert [one for one in names if one.startswith("calls")] == [
        f"calls.jsonl, {way}" for way in ("held to the form", "free", "made to call", "begun")
    ]
    assert [one.title for one in found.charts] == [
        "The questions of calls.jsonl"
    ] and "Of each file the first 150" in found.note


def test_plain_questions_are_asked_of_the_documents_that_travel_with_the_model(
    model: Path, minilm: str, tmp_path: Path
):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "rent.md").write_text(
        "# The flat\n\nThe rent is due on the third day.\n\nThe keys of the cellar are kept by Mrs Berger.\n"
    )
    shutil.copytree(model, tmp_path / "kept")
    lm.index(tmp_path / "notes", out=tmp_path / "kept" / "index", settings=IndexSettings(embedder=minilm))
    files = [written(tmp_path / "mine.jsonl", ASKED), written(tmp_path / "even.jsonl", CHOICES)]
    asked = subject(tmp_path / "kept", tmp_path, *files)
    found = reporting.sections()["own"].measure(asked)
    figures = {one.name: one for one in found.measurements}
    assert figures["mine.jsonl, right"].value == 1 and figures["mine.jsonl, right"].n == 2
    assert figures["mine.jsonl, refused, not there"].n == 1
    assert any(one.startswith("even.jsonl, ") for one in figures)
    assert "mine.jsonl: asked of the model's documents" in found.note
    before = reporting.sections()["own"].settings(asked)
    (tmp_path / "notes" / "rent.md").write_text("The rent is due on the fifth day.")
    lm.open_index(tmp_path / "kept" / "index").update()
    again = reporting.sections()["own"].settings(subject(tmp_path / "kept", tmp_path, *files))
    assert again != before, "other documents give other answers"
    written(tmp_path / "even.jsonl", CHOICES[:5])
    assert reporting.sections()["own"].settings(subject(tmp_path / "kept", tmp_path, *files)) != again


def test_a_mistake_in_a_file_is_told_before_anything_is_measured(model: Path, tmp_path: Path):
    wrong = written(tmp_path / "mine.jsonl", [{"question": "Who?", "anwser": "Ann"}])
    with pytest.raises(DataError, match="has the field 'anwser', which is not known"):
        lm.report(model, tmp_path / "r", questions=wrong)
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
        lm.report(model, tmp_path / "r", questions=[tmp_path / "none.jsonl"])
    with pytest.raises(ConfigError, match=r"notes\.txt is no \.csv or \.jsonl file"):
        lm.report(model, tmp_path / "r", questions=written(tmp_path / "notes.txt", CHOICES))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    same = [written(tmp_path / "a" / "even.jsonl", CHOICES), written(tmp_path / "b" / "even.jsonl", CHOICES[:4])]
    with pytest.raises(ConfigError, match=r"two files of questions are called even\.jsonl; rename one of them"):
        lm.report(model, tmp_path / "r", questions=same)
    assert not (tmp_path / "r").exists()


def test_the_name_of_a_file_opens_no_markup_and_no_column(model: Path, tmp_path: Path):
    name = r"<b>`x`\|y[1].jsonl"
    found = lm.report(model, tmp_path / "r", questions=written(tmp_path / name, CHOICES), only=["own"])
    row = r"| \<b\>\`x\`\\\|y\[1\].jsonl, "
    assert row in card(found)
    assert "<b>" not in html(found) and "&lt;b&gt;`x`" in html(found)


def test_a_report_says_how_it_was_asked_and_shows_a_figure_of_each_file_at_a_glance(
    model: Path, tmp_path: Path, capsys, monkeypatch
):
    files = [written(tmp_path / "even.jsonl", CHOICES), written(tmp_path / "my calls.jsonl", CALLS)]
    found = lm.report(model, tmp_path / "r", questions=files, only=["own"])
    page = (tmp_path / "r" / "report.html").read_text()
    command = f"lmworks report {model} --scale quick --questions {files[0]} --questions '{files[1]}' --section own"
    assert found.command == command and f"<code>{command}</code>" in unescape(page) and "Your own questions" in page
    assert f"`{command}`" in card(found).replace("\\", "")
    assert found.parts[0].section.name == "own" and found.parts[0].result is not None
    glance = page[page.index('id="glance"') : page.index("</section>")]
    firsts = [one.name for one in found.parts[0].result.found.headlines]
    assert [one.partition(",")[0] for one in firsts] == ["even.jsonl", "my calls.jsonl"]
    assert all(f">{one}</td>" in glance for one in firsts)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--out", str(tmp_path / "r")])
    with contextlib.suppress(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert all(one in printed for one in firsts)

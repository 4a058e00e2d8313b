"""The handbook's page on judging runs as it stands, and its table names the tasks that there are."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import written_programs
from benchmarks.tasks import STORED, costs, table
from benchmarks.works.task_items import of_every_length
from lmworks.cli import main
from lmworks.evaluation.tasks.declaration import Choices
from lmworks.evaluation.tasks.find import tasks
from lmworks.text.registry import ENTRIES

PAGE = (Path(__file__).parents[2] / "docs" / "judging.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_names_every_task_with_the_licence_of_its_data():
    table = PAGE.partition("| task | items |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    told = {name: row[3] for row in rows for name in re.findall(r"`([^`]+)`", row[0]) if "." not in name}
    assert {name for name in told if ":" not in name} == set(tasks())
    assert all(ENTRIES[tasks()[name].data].licence.startswith(told[name]) for name in tasks())


def test_the_figures_are_those_that_are_stored():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert table(stored) in PAGE and costs(stored) in PAGE and stored["machine"] in PAGE


def test_the_shares_of_programs_are_those_that_are_stored():
    assert written_programs.table(json.loads(written_programs.STORED.read_text(encoding="utf-8"))) in PAGE


def test_the_items_that_a_peer_reads_are_as_long_as_all_though_short_and_long_ones_take_turns():
    lengths = [10 + at // 4 if at % 2 else 400 + at for at in range(200)]
    items = [Choices(str(at), (("x" * length, " y"),) * 2, 0, ("y", "z")) for at, length in enumerate(lengths)]
    for count in (8, 48):
        chosen = [len(one.asked[0][0]) for one in of_every_length(items, count)]
        assert len(chosen) == count and sum(chosen) / count == pytest.approx(sum(lengths) / 200, rel=0.02)


def test_the_page_runs_as_it_stands(smollm2_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [questions] = blocks("json")
    Path("questions.jsonl").write_text(questions, encoding="utf-8")
    [transcript] = blocks("console")
    command, *shown = transcript.splitlines()
    monkeypatch.setattr(sys, "argv", command.removeprefix("$ ").split())
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    printed = [line.rstrip() for line in [err.splitlines()[0], *out.splitlines()]]
    seen: dict = {}
    [code] = blocks("python")
    exec(code, seen)
    assert seen["first"].item == "questions.jsonl#2" and seen["honey"].total > seen["wool"].total
    if seen["model"].runner.name != "compiled":
        pytest.skip("the figures are those of the compiled path")
    assert printed == shown

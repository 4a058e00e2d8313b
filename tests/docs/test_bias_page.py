"""The handbook's page on bias runs as it stands."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from docs.printed import but_for_figures

import lmworks as lm
from benchmarks.bias import STORED, WAYS, table, written
from lmworks.cli import main
from lmworks.evaluation.tasks.find import find
from lmworks.text import registry

PAGE = (Path(__file__).parents[2] / "docs" / "bias.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def sets_are_here():
    if not all(registry.available(find(name).data) for name in ("crows-pairs", "winobias")):
        pytest.skip("the sets are not here; fetch them with: lmworks evaluate smollm2 --task crows,winobias")


def test_the_transcript_is_what_the_command_prints(sets_are_here, smollm2_path, monkeypatch, capsys):
    [transcript] = blocks("console")
    command, *shown = transcript.splitlines()
    monkeypatch.setattr(sys, "argv", command.removeprefix("$ ").split())
    with pytest.raises(SystemExit):
        main()
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    if lm.load("smollm2").runner.name != "compiled":
        pytest.skip("the figures are those of the compiled path")
    assert but_for_figures(printed) == but_for_figures(shown)


def test_the_swaps_on_the_page_are_right():
    exec(blocks("python")[1], {})


@pytest.mark.slow
def test_the_python_on_the_page_runs(sets_are_here, smollm2_path, capsys):
    exec(blocks("python")[0], {})
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 10 and told[0].startswith("the pronoun, towards the right one: ")


def test_the_repair_on_the_page_learns_what_the_benchmark_learns(sets_are_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[2], {})
    way = WAYS["against, averaged"]
    learnt = written(way, tmp_path / "benchmark.jsonl").read_text(encoding="utf-8")
    assert learnt and (tmp_path / "against.jsonl").read_text(encoding="utf-8") == learnt
    [commands] = blocks("sh")
    told = set(re.findall(r"--set (\S+)", commands))
    assert told == {*way.changes, "training.seed=$seed"} and f"--retain {way.retain}" in commands
    assert f"for seed in {' '.join(map(str, way.seeds))}; do" in commands


def test_the_commands_on_the_page_name_what_there_is():
    from lmworks.jobs.recipe import Recipe
    from lmworks.text.corpus.recipe import CorpusRecipe

    assert Recipe.read("adapt", ["data.counterfactual=gender"]).data.counterfactual == "gender"
    assert CorpusRecipe.read("folder", ["split.counterfactual=gender"]).split.counterfactual == "gender"
    for names in re.findall(r"--task (\S+)", PAGE):
        assert all(find(name.partition(":")[0]) for name in names.split(","))


def test_the_figures_of_the_repair_are_those_that_are_stored():
    assert table(json.loads(STORED.read_text(encoding="utf-8"))) in PAGE

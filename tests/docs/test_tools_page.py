"""The handbook's page on tools runs as it stands, and its figures are those that are stored."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.tool_calls import STORED, table
from lmworks.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_figures_are_those_that_are_stored():
    assert table(json.loads(STORED.read_text(encoding="utf-8"))) in PAGE


def test_the_page_runs_as_it_stands(smollm2_path, tmp_path, monkeypatch, capsys):
    pytest.importorskip("llguidance", reason="pip install 'lmworks[serve]'")
    monkeypatch.chdir(tmp_path)
    [tools] = blocks("json")
    Path("tools.json").write_text(tools, encoding="utf-8")
    [transcript] = blocks("console")
    command, *shown = transcript.splitlines()
    import shlex

    monkeypatch.setattr(sys, "argv", shlex.split(command.removeprefix("$ ")))
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    seen: dict = {}
    for code in blocks("python"):
        exec(code, seen)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "weather {'city': 'Paris'}" and len(said) > 1
    if seen["model"].runner.name != "compiled":
        pytest.skip("the answer is that of the compiled path")
    assert printed.splitlines() == shown

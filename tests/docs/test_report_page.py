"""docs/report.md: its commands run, its figures are those that are stored, and its table names every section."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from benchmarks.reporting import STORED, table
from lmworks.cli import main
from lmworks.reporting.run import sections

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_figures_are_those_that_are_stored():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert table(stored) in PAGE
    assert f"{stored['cpu_seconds']:.0f} in all" in " ".join(PAGE.split())


def test_the_table_names_every_section():
    rows = PAGE.partition("| section | what | needs |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\S+)` \|", rows, re.MULTILINE) == list(sections())


def same_but_for_numbers(text: str) -> str:
    """Figures, and where they have columns, differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"[+-]?\d[\d.,]*|\btie\b", "#", text)).replace("# ", "").strip()


def notes(folder: Path) -> None:
    """As the page makes them."""
    (folder / "notes").mkdir()
    for file in range(1, 13):
        lines = [f"Note {file}, line {line}: after {line} comes {line + file}.\n" for line in range(1, 81)]
        (folder / "notes" / f"{file}.txt").write_text("".join(lines), encoding="utf-8")


def test_the_transcript_and_the_python_run_as_they_stand(tmp_path, monkeypatch, capsys):
    """On a random model in place of the trained one."""
    monkeypatch.chdir(tmp_path)
    notes(tmp_path)
    tiny.language_model(context=64).save("mine")
    [transcript] = blocks("console")
    command, *shown = transcript.splitlines()
    monkeypatch.setattr(sys, "argv", command.removeprefix("$ ").split())
    with pytest.raises(SystemExit):
        main()
    assert same_but_for_numbers(capsys.readouterr().out) == same_but_for_numbers("\n".join(shown))
    [code] = blocks("python")
    seen: dict = {}
    exec(code, seen)
    assert seen["found"].folder == Path("reports/mine") and len(seen["found"].measurements) >= 5


@pytest.mark.slow
def test_the_page_makes_the_model_that_it_reports(tmp_path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    [transcript], [making] = blocks("console"), blocks("sh")
    script = f"{making}\n{transcript.splitlines()[0].removeprefix('$ ')}"
    ran = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    made = tmp_path / "made"
    made.mkdir()
    notes(made)
    for path in (made / "notes").iterdir():
        assert path.read_text() == (tmp_path / "notes" / path.name).read_text()

"""The figures of README.md and docs/benchmarks.md are those of the stored runs, and a run stores what it measured."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.machine import ROOT, Load, Machine, this_machine
from benchmarks.report import README, handbook_page, newest, pages, readme_table
from benchmarks.store import RESULTS, Recorder, Result, Run, Timed, best_formats, lines, results, stored

FOLDER = ROOT / "benchmarks"
HERE = Machine("Made up", 2, ("AVX-512", "VNNI", "bf16"), "Zen 9")


def a_run(**changes) -> Run:
    run = Run(
        "lora step",
        "tokens/s",
        Result("lmworks bf16", 400.0, peak_mb=1000.0),
        (Result("PEFT bf16", 200.0, 2.0, 2000.0),),
        HERE,
        "2026-11-27T12:00",
        True,
        {"lmworks bf16": [390.0, 400.0, 410.0], "PEFT bf16": [200.0]},
        commit="abc",
    )
    return dataclasses.replace(run, **changes)


@pytest.mark.parametrize("path", pages(stored()), ids=lambda path: path.name)
def test_a_page_says_what_the_store_says(path):
    assert path.read_text(encoding="utf-8") == pages(stored())[path], (
        f"{path.name} and benchmarks/results/ differ; run python -m benchmarks.report"
    )


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_run_agrees_with_its_own_rounds_and_says_where_it_is_from(path):
    run = Run.read(path)
    if run.source is None:
        assert run.rounds and run.commit and run.command and run.versions
        assert run.quiet == (run.others is not None and run.others < Load.QUIET)
    middle = {name: statistics.median(values) for name, values in run.rounds.items()}
    for one in (run.ours, *run.peers):
        if one.name in middle and one.value is not None:
            assert one.value == pytest.approx(middle[one.name], rel=1e-3)
    for peer in run.peers:
        if run.ours.value and peer.value and peer.ratio:
            rate = "/s" in run.unit
            ratio = run.ours.value / peer.value if rate else peer.value / run.ours.value
            # An old record's values were rounded for a table of their own.
            assert peer.ratio == pytest.approx(ratio, rel=1e-3 if run.source is None else 0.03)


def test_the_readme_has_four_rows():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| work | lmworks |")[2]
    assert [row.split("|")[1].strip() for row in table.splitlines()[2:6]] == list(README.values())


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    run = a_run(others=0.01, facts={"PEFT bf16": {"peak_mb": 2000.0}}, versions={"torch": "2"}, command="python -m x")
    assert Run.read(run.write(tmp_path)) == run
    assert stored(tmp_path) == [run]


def test_a_file_that_is_no_run_is_told_by_its_name(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({"work": "x"}), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"broken\.json is no stored run"):
        Run.read(path)


def test_each_program_counts_with_its_better_format():
    timed = [
        Timed("lmworks", [90.0], "bf16"),
        Timed("lmworks", [256.0, 271.0], "fp32", {"peak_mb": 1830.0}),
        Timed("PEFT", [78.0], "bf16"),
        Timed("PEFT", [240.0], "fp32"),
    ]
    assert [one.name for one in best_formats("tokens/s", timed)] == ["lmworks fp32", "PEFT fp32"]
    assert [one.name for one in best_formats("s", timed)] == ["lmworks bf16", "PEFT bf16"]
    ours, (peer,) = results("tokens/s", timed)
    assert (ours.name, ours.value, ours.peak_mb) == ("lmworks fp32", 263.5, 1830.0)
    assert peer.ratio == pytest.approx(263.5 / 240, abs=1e-3)


def test_what_is_kept_holds_every_format_and_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Run, "write", lambda run: None)
    run = Recorder().keep(
        "a work", "tokens/s", [Timed("lmworks", [4.0, 2.0, 3.0], "bf16"), Timed("lmworks", [1.0], "fp32")]
    )
    assert run.rounds == {"lmworks bf16": [4.0, 2.0, 3.0], "lmworks fp32": [1.0]}
    assert run.ours == Result("lmworks bf16", 3.0)
    assert run.machine == this_machine()
    assert run.versions["torch"]
    assert "lmworks fp32" in capsys.readouterr().out


def test_a_busy_run_and_an_older_one_stay_out_of_the_tables():
    old, new = a_run(date="2026-11-26"), a_run(ours=Result("lmworks bf16", 500.0, peak_mb=1000.0))
    busy = a_run(date="2026-11-28T12:00", quiet=False, ours=Result("lmworks bf16", 9.0))
    assert newest([new, busy, old]) == {(HERE, "lora step"): new}
    page = handbook_page([old, busy, new])
    assert "| 500 (bf16) |" in page
    assert "times PEFT | 2.00 (bf16)" in page
    assert "memory, of PEFT's | 0.50" in page


def test_what_a_busy_machine_changes_nothing_of_counts_by_its_date():
    old, new = (
        a_run(
            work="agreement with float32, SmolLM2 Q8_0", unit="nats", quiet=quiet, date=date, ours=Result("lmworks", of)
        )
        for quiet, date, of in ((True, "2026-11-26", 0.5), (False, "2026-11-28T12:00", 0.25))
    )
    assert newest([new, old]) == {(HERE, new.work): new}
    assert lines(new)[-1] == "stored"
    assert lines(a_run(quiet=False, others=0.5))[-1].endswith("took 50% of the machine: not for the tables")
    assert "## Agreement with float32" in handbook_page([old, new]) and "| **Q8_0**, nats | 0.25" in handbook_page(
        [new]
    )


def test_the_readme_says_on_which_processors_which_ratio_was_seen():
    without = a_run(
        machine=Machine("Other", 2, ("AVX-512",), "Old Lake"),
        ours=Result("lmworks fp32", 264.0, peak_mb=1830.0),
        peers=(Result("PEFT fp32", 240.0, 1.1, 3020.0),),
        source="a test",
    )
    table = " ".join(readme_table([a_run(), without]).split())
    assert "2.0 times PEFT's speed at 0.50 of its memory on processors that multiply bfloat16 (Zen 9)" in table
    assert "1.1 times PEFT's speed at 0.61 of its memory on processors that do not (Old Lake)" in table
    assert "| LoRA step | bf16 400, 1.00 GB | PEFT bf16 200, 2.00 GB | 2.0 | Old Lake 1.1 |" in table


def test_a_newer_run_of_another_work_takes_no_rows_from_the_readme():
    newer = a_run(work="start", machine=Machine("New", 2, (), "New Lake"), date="2026-11-28T12:00")
    assert readme_table([a_run(), newer]) == readme_table([a_run()])


def test_other_programs_are_seen_and_our_children_are_not():
    load = Load()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    share = load.others()
    assert share is None or 0 <= share <= 1


def test_help_names_every_work_and_every_command():
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for path in FOLDER.glob("*.py"):
        if "\ndef main(" in path.read_text(encoding="utf-8"):
            module = "benchmarks" if path.stem == "__main__" else f"benchmarks.{path.stem}"
            assert f"python -m {module} " in said
    for work in ("lora step", "decode, PyTorch", "embed, compiled", "start, first token", "readme"):
        assert f"\n  {work}\n" in said


def test_no_two_files_of_the_benchmarks_import_each_other():
    imports = {path: imported(path) for path in FOLDER.rglob("*.py")}
    graphlib.TopologicalSorter(imports).prepare()  # CycleError names a circle


def imported(path: Path) -> set[Path]:
    """The files of benchmarks/ that one imports, inside of functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            file = ROOT / f"{name.replace('.', '/')}.py"
            if name.startswith("benchmarks") and file.exists():
                found.add(file)
    return found

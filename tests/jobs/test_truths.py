"""What a run says of itself is true: stopped and resumed, on a text that leaks, after too few steps."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.small_builds import contents, recipe, stopped
from lmworks.basics.config import merge
from lmworks.evaluation.leaks import SharedWords, leaks
from lmworks.jobs.build import build
from lmworks.jobs.build_text import leak_of, read_text
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import CLOCK, RECIPE
from lmworks.jobs.verdicts import leak_remark, training_remark
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import split


def facts_of(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "lmworks.json").read_text())


def set_back(run: Path, seconds: float) -> float:
    """Let a stopped run have begun, and ended, so much earlier; returns when it began."""
    clock = json.loads((run / CLOCK).read_text())
    began = clock["began"] - seconds
    (run / CLOCK).write_text(json.dumps(clock | {"began": began, "since": began}))
    return began


def test_a_resumed_build_tells_of_the_whole_run(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Its start, its time without the pause, and the first loss are those of the first part."""
    straight = build(out="straight", recipe=recipe(steps=6))
    stopped(recipe(steps=6), monkeypatch)
    began = set_back(Path("out.run"), 5000)
    os.utime("out.run/log.jsonl", (began + 1000, began + 1000))  # it worked for 1,000 s, and then nobody did
    build(out="out", recipe=recipe(steps=6), resume=True)
    facts, whole = facts_of("out"), facts_of("straight")
    assert facts["started"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    assert 1000 < facts["seconds"] < 2000
    assert facts["training"]["first_loss"] == whole["training"]["first_loss"] == straight.training.losses[0]
    assert facts["training"]["last_loss"] == whole["training"]["last_loss"]
    log = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()[1:]]
    assert facts["training"]["seconds"] > sum(step["seconds"] for step in log[:3]) and len(log) == 6


def test_a_run_that_was_stopped_by_an_earlier_version_is_resumed(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Whose recipes had no `method`, and whose runs had no clock."""
    straight = build(out="straight", recipe=recipe(steps=6))
    stopped(recipe(steps=6), monkeypatch)
    run = Path("out.run")
    (run / CLOCK).unlink()
    written = json.loads((run / RECIPE).read_text())
    del written["method"]
    (run / RECIPE).write_text(json.dumps(written))
    assert build(out="out", recipe=recipe(steps=6), resume=True).training.losses == straight.training.losses[3:]
    assert 0 < facts_of("out")["seconds"] < 1000


def test_the_base_is_not_measured_again(here: Path, monkeypatch: pytest.MonkeyPatch):
    """What was kept counts, to the bit; where the general text has changed since, all is measured anew."""
    straight = build(out="straight", recipe=recipe(steps=6))
    for changed in (False, True):
        shutil.rmtree("out", ignore_errors=True)
        stopped(recipe(steps=6), monkeypatch)
        kept = Path("out.run/before.json")
        figures = json.loads(kept.read_text())
        marked = {
            "likelihoods": {
                "held-out text": {"bits": [9.0 * one for one in figures["likelihoods"]["held-out text"]["bits"]]}
            }
        }
        kept.write_text(json.dumps(merge(figures, marked)))
        if changed:
            Path("general/more.txt").write_text("and one more text, about the other pages that follow each other")
        lines: list[str] = []
        resumed = build(out="out", recipe=recipe(steps=6), resume=True, say=lines.append)
        times = resumed.comparisons[0].before.value / straight.comparisons[0].before.value
        assert times == pytest.approx(1.0 if changed else 9.0, rel=1e-9)
        assert any(line.startswith("before ") for line in lines) != changed


@pytest.mark.parametrize("resume", [True, False])
def test_kept_figures_do_not_outlive_what_they_depend_on(resume: bool, here: Path, monkeypatch: pytest.MonkeyPatch):
    """Another config beside the same weights, or a run that is started afresh: the base is measured again."""
    stopped(recipe(steps=6), monkeypatch)
    if resume:
        config = next(one for one in Path().glob("*/config.json") if one.parent.name != "out")
        config.write_text(json.dumps(json.loads(config.read_text()), indent=8))
    else:
        shutil.rmtree("out.run/checkpoint")  # as though it had ended before its first one
    lines: list[str] = []
    build(out="out", recipe=recipe(steps=6), resume=resume, say=lines.append)
    assert not any(line.startswith("before ") for line in lines)


def test_a_base_whose_kept_figures_are_damaged_is_measured_again(here: Path, monkeypatch: pytest.MonkeyPatch):
    straight = build(out="straight", recipe=recipe(steps=6))
    stopped(recipe(steps=6), monkeypatch)
    Path("out.run/before.json").write_text('{"depends_on": ')
    resumed = build(out="out", recipe=recipe(steps=6), resume=True)
    assert [one.to_json() for one in resumed.measurements] == [one.to_json() for one in straight.measurements]


def test_a_text_that_leaks_is_named_in_the_verdict_with_its_files(here: Path):
    """What is held out stands, nearly whole, in a file that is trained on."""
    worst = split(read("notes").documents, 0.25).held_out[0]
    for number in range(20):  # until the copy's own hash puts it on the other side
        Path("notes/copy.txt").write_text(f"{worst.text} {number}")
        again = split(read("notes").documents, 0.25)
        if "copy.txt" in [one.source for one in again.train] and worst in again.held_out:
            break
    lines: list[str] = []
    result = build(out="out", recipe=recipe(steps=40, context=128), say=lines.append)
    [remark] = result.remarks
    assert f"{worst.source} (100%, most of it in copy.txt)" in remark and "lmworks corpus notes" in remark
    assert result.verdicts["held-out text"] == "better, but the text leaks"
    assert facts_of("out")["remarks"] == [remark] and facts_of("out")["verdicts"] == result.verdicts
    sources = [one.source for one in again.held_out]
    assert facts_of("out")["data"]["held_out_sources"] == sources
    assert f"held out       {', '.join(sources)}" in lines


def test_who_comes_from_a_corpus_is_not_sent_there(here: Path):
    phrase = " ".join(f"word{number}" for number in range(30))
    for part in ("train", "held_out"):
        Path("corpus", part).mkdir(parents=True)
        for number in range(3):
            Path("corpus", part, f"{number}.txt").write_text(f"{part} {number} {phrase}")
    Path("corpus/corpus.json").write_text("{}")
    chosen = Recipe.model_validate(merge(recipe(steps=1).model_dump(), {"data": {"text": "corpus"}}))
    remark = leak_of(chosen, read_text(chosen, chosen.model.reference, lambda line: None), lambda line: None)
    assert "phrases that many documents have" in remark and "lmworks corpus" not in remark


def test_a_text_that_does_not_leak_is_learnt(here: Path):
    result = build(out="out", recipe=recipe(steps=40, context=128))
    assert result.verdicts["held-out text"] == "learnt" and result.remarks == []


def test_a_leak_is_a_share_of_runs_of_thirteen_words():
    words = " ".join(f"word{number}" for number in range(40))
    other = " ".join(f"other{number}" for number in range(40))
    held_out = [Document(f"{words} {other}", "half.txt"), Document(other + " new", "whole.txt"), Document("short", "s")]
    train = [Document(f"{other} and more", "a.txt"), Document("next to nothing", "b.txt")]
    found = leaks(train, held_out)
    assert [(one.held_out, one.train) for one in found] == [("whole.txt", "a.txt"), ("half.txt", "a.txt")]
    assert found[0].share == 28 / 29 and found[1].share == pytest.approx(28 / 68)
    assert leaks(train[1:], held_out) == [] and leak_remark(SharedWords(1_000, 49, 0, 0), found, "x") == ""
    most = SharedWords(10, 6, 0, 0)
    assert "whole.txt (97%, most of it in a.txt), half.txt (41%, most of it in a.txt)" in leak_remark(most, found, "x")
    assert "(lmworks corpus 'my notes' drops" in leak_remark(most, found, "my notes")
    said = leak_remark(most, found * 3, "x")
    assert said.count("most of it") == 3 and " and 3 more; " in said


def test_a_run_of_one_step_is_no_training(here: Path):
    lines: list[str] = []
    result = build(out="out", recipe=recipe(steps=1), say=lines.append)
    [remark] = result.remarks
    assert lines.count(f"few steps      {remark}") == 1  # before the first step, too
    assert remark.startswith("1 step of training is only a trial; ") and facts_of("out")["remarks"] == [remark]


def test_steps_that_were_made_before_a_resume_count(here: Path, monkeypatch: pytest.MonkeyPatch):
    stopped(recipe(steps=12), monkeypatch, after=10)
    lines: list[str] = []
    assert build(out="out", recipe=recipe(steps=12), resume=True, say=lines.append).remarks == []
    assert not [line for line in lines if line.startswith("few steps")]
    assert contents(Path("out"))


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([], "0 steps of training are only a trial"),
        ([3.0] * 9, "9 steps of training are only a trial"),
        ([3.0 - 0.1 * step for step in range(10)], ""),
        ([3.0] * 20, "the training loss did not fall (3.000 in the first quarter of the steps, 3.000 in the last one)"),
        ([3.0, 3.2] * 16 + [3.5] * 32, "the training loss did not fall (3.100 in"),
        ([3.0, 9.0, 3.0, *[2.0] * 40, 9.0], ""),
    ],
)
def test_a_loss_that_did_not_fall_is_said(losses: list[float], said: str):
    remark = training_remark(losses)
    assert remark.startswith(said) if said else not remark

"""A run asks for seeds look by look, keeps what it logged, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmworks.basics.errors import ConfigError, DataError
from lmworks.lab import registry, store
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import PILOTS, Experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars, Lines
from lmworks.lab.run import Run, RunOptions, kept, run_and_keep, run_experiment
from lmworks.lab.scale import scaled
from lmworks.lab.table import Table, pack, unpack
from lmworks.lab.verdict import HOLDS, OPEN

OURS, THEIRS, SIZE, TOLD = Condition.named("ours", "theirs", "size", "told")
SCORE, LOSS = Metric("score", "points", margin=0.01), Metric("loss")
BETTER = Part("ours is better", SCORE, OURS - THEIRS, above=0)
ITEMS = [f"item {at}" for at in range(5)]
NORMAL = RunOptions()


def measured(run: Run, effect: float = scaled(1.0, 2.0), spread: float = 0.1) -> None:
    """Two conditions on five items, and a level that is the same for every seed."""
    for fixed in run.once():
        run.log(fixed, TOLD, {LOSS: 0.5})
    for seed in run.seeds:
        draw = np.random.default_rng(seed)
        run.log(seed, THEIRS, {SCORE: draw.normal(0, spread, 5)}, ITEMS)
        if os.environ.get("KILLED_IN") == str(seed):
            os.kill(os.getpid(), 9)
        run.log(seed, OURS, {SCORE: draw.normal(effect, spread, 5)}, ITEMS)
        for size in (2, 4):
            run.log(seed, SIZE[size], {LOSS: 1 / size})


TOY = Experiment(
    99,
    "Ours is better.",
    measured,
    parts=(BETTER,),
    also=(Part("the loss is low", LOSS, TOLD, below=1),),
    picture=Lines(LOSS, of=(SIZE, TOLD), x="size", log_x=True),
    headlines={"y": "Ours it is."},
    note="A toy.",
)


def test_a_clear_difference_needs_one_look_and_an_unclear_one_all():
    clear = run_experiment(TOY, "full", NORMAL)
    assert clear.seeds == (100, 101, 102, 103) and clear.parts[0].verdict == HOLDS
    assert (clear.headline, clear.count, clear.letters) == ("Ours it is.", "holds", "y")
    assert clear.recipe == {"effect": 2.0, "spread": 0.1}
    unclear = run_experiment(TOY, "full", RunOptions(["effect=0.02", "spread=1.0"]))
    assert len(unclear.seeds) == 16 and unclear.parts[0].verdict == OPEN
    assert unclear.headline == "Open: ours is better."


def test_quick_looks_once_and_a_pilot_takes_seeds_that_never_count():
    assert run_experiment(TOY, "quick", NORMAL).seeds == (100, 101, 102, 103)
    assert run_experiment(TOY, "quick", RunOptions(seeds=2)).seeds == (100, 101)
    assert run_experiment(TOY, "full", RunOptions(pilot=True)).seeds[0] == PILOTS


def test_a_look_that_cannot_be_paid_for_is_not_begun():
    found = run_experiment(TOY, "full", RunOptions(["effect=0.02", "spread=1.0"], minutes=0))
    assert len(found.seeds) == 4 and "more than the 0 minutes" in found.stopped and found.parts[0].verdict == OPEN


def test_the_finding_holds_every_seed_and_the_chart_is_drawn_from_what_was_logged():
    found = run_experiment(TOY, "full", NORMAL)
    assert set(found.by_seed["score"]["ours"]) == {"100", "101", "102", "103"}
    assert found.by_seed["loss"] == {
        "told": {"all": 0.5},
        **{f"size {n}": dict.fromkeys(("100", "101", "102", "103"), 1 / n) for n in (2, 4)},
    }
    assert found.chart is not None
    size, told = found.chart.series
    assert (size.x, size.y) == ((2.0, 4.0), (0.5, 0.25)) and told.y == (0.5, 0.5)
    bars = Bars(LOSS, of=(TOLD,))
    assert bars.draw(Table(), ()) is None


def test_a_line_goes_through_numbers_after_a_space_or_a_comma():
    table, of = Table(), Condition.named("graph", "graph and texts")
    for one in of:
        for number in (1, 3):
            table.add(None, one[str(number)].name, LOSS.name, float(number))
    drawn = Lines(LOSS, of=of, x="steps").draw(table, ())
    assert drawn is not None and [one.x for one in drawn.series] == [(1.0, 3.0)] * 2


def test_a_condition_whose_name_begins_with_anothers_has_a_bar_of_its_own():
    table, of = Table(), Condition.named("asked", "asked, calibrated", "the commonest class")
    for at, one in enumerate(of):
        table.add(None, one.name, LOSS.name, float(at))
    drawn = Bars(LOSS, of=of).draw(table, ())
    assert drawn is not None and drawn.categories == tuple(one.name for one in of)
    assert [one.y for one in drawn.series] == [(0.0, 1.0, 2.0)]


def test_what_stands_after_the_longer_name_is_no_category_of_the_shorter():
    table, of = Table(), Condition.named("word", "word, unknown as <unk>")
    for at, one in enumerate(of):
        table.add(None, one["en"].name, LOSS.name, float(at))
    drawn = Bars(LOSS, of=of).draw(table, ())
    assert drawn is not None and drawn.categories == ("en",)
    assert [(one.name, one.y) for one in drawn.series] == [("word", (0.0,)), ("word, unknown as <unk>", (1.0,))]


def test_a_condition_has_its_bar_beside_those_of_what_stands_after_it():
    table, plan = Table(), Condition("planned")
    for at, one in enumerate((plan, plan["70B"], Condition("measured"))):
        table.add(None, one.name, LOSS.name, float(at))
    drawn = Bars(LOSS, of=(plan, Condition("measured"))).draw(table, ())
    assert drawn is not None and drawn.categories == ("planned", "planned, 70B", "measured")
    assert [one.y for one in drawn.series] == [(0.0, 1.0, 2.0)]


def test_conditions_with_categories_in_common_stand_beside_each_other_in_each_and_as_a_whole():
    table, of = Table(), Condition.named("transformer", "LSTM", "copied source")
    for at, one in enumerate((of[0], of[0]["short"], of[0]["long"], of[1], of[1]["short"], of[2]["short"])):
        table.add(None, one.name, LOSS.name, float(at))
    drawn = Bars(LOSS, of=of, whole="all").draw(table, ())
    assert drawn is not None and drawn.categories == ("all", "short", "long")
    assert [(one.x, one.y) for one in drawn.series] == [
        ((0.0, 1.0, 2.0), (0.0, 1.0, 2.0)),
        ((0.0, 1.0), (3.0, 4.0)),
        ((1.0,), (5.0,)),
    ]
    without = Bars(LOSS, of=of).draw(table, ())
    assert without is not None and without.categories == ("short", "long")
    assert [one.y for one in without.series] == [(1.0, 2.0), (4.0,), (5.0,)]


def test_figures_of_several_units_on_one_axis_are_each_named():
    table, told = Table(), Metric("classes told")
    for one in (SCORE, told):
        table.add(None, OURS.name, one.name, 0.5)
    drawn = Bars((SCORE, told), of=(OURS,)).draw(table, ())
    assert drawn is not None and drawn.y_label == "points, share"


def write(finding, folder, log):
    return store.write(finding, folder, log)[0]


def test_a_run_that_is_stopped_and_resumed_gives_the_same_table(tmp_path):
    whole = tmp_path / "whole.jsonl"
    expected = run_experiment(TOY, "full", RunOptions(["spread=2.0"]), whole)
    assert len(expected.seeds) > 4
    for cut_after in (1, 5, 9, 14, 23):  # lines: the head, the fixed part, in the middle of a seed, after a look
        log = tmp_path / f"cut{cut_after}.jsonl"
        lines = whole.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[:cut_after]) + lines[cut_after][:7])  # and half a line
        found = run_experiment(TOY, "full", RunOptions(["spread=2.0"], resume=True), log)
        assert found.by_seed == expected.by_seed and found.parts == expected.parts and found.seeds == expected.seeds
        values = [line for line in log.read_text().splitlines() if '"metric"' in line]
        assert values == [line.strip() for line in lines if '"metric"' in line]


def test_a_look_that_was_broken_off_and_cannot_be_paid_for_has_no_say(tmp_path):
    """Its seeds are kept for a longer run: judged as well, they would be a look that no level was set apart for."""
    changes, whole = ["effect=0.02", "spread=1.0"], tmp_path / "whole.jsonl"
    expected = run_experiment(TOY, "full", RunOptions(changes), whole)
    lines = whole.read_text().splitlines(keepends=True)
    log = tmp_path / "log.jsonl"
    sixth = next(number for number, line in enumerate(lines, 1) if json.loads(line).get("done") == 105)
    log.write_text("".join(lines[:sixth]))
    found = run_experiment(TOY, "full", RunOptions(changes, resume=True, minutes=0), log)
    short = run_experiment(TOY, "full", RunOptions(changes, minutes=0))
    alike = ("parts", "also", "measurements", "by_seed", "chart", "seeds", "stopped")
    assert all(getattr(found, name) == getattr(short, name) for name in alike)
    assert len(found.seeds) == 4 and "8 seeds" in found.stopped
    kept_log = tmp_path / "kept.jsonl"
    kept_log.write_text(log.read_text())
    stored = write(found, tmp_path, kept_log)
    assert store.recomputed(TOY, tmp_path, "full") == stored
    longer = run_experiment(TOY, "full", RunOptions(changes, resume=True), log)
    assert longer.by_seed == expected.by_seed and longer.parts == expected.parts


KILLED = """
import sys
from pathlib import Path
from tests.lab.test_run import TOY, RunOptions, run_experiment
run_experiment(TOY, "full", RunOptions(["spread=2.0"]), Path(sys.argv[1]))
"""


def test_a_killed_run_keeps_what_it_finished_and_goes_on_with_the_next_seed(tmp_path):
    """kill -9 in the middle of the third seed."""
    log, options = tmp_path / "log.jsonl", RunOptions(["spread=2.0"], resume=True)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(log)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"KILLED_IN": "102"},
        check=False,
    )
    assert died.returncode == -9
    done = [line["done"] for line in map(json.loads, log.read_text().splitlines()) if "done" in line]
    assert done == [None, 100, 101]
    with pytest.raises(ConfigError, match=r"begun otherwise \(recipe differ\); run without --resume"):
        run_experiment(TOY, "full", RunOptions(["spread=1.0"], resume=True), log)
    found, expected = run_experiment(TOY, "full", options, log), run_experiment(TOY, "full", options)
    assert found.by_seed == expected.by_seed and found.parts == expected.parts and found.seeds == expected.seeds


def test_a_run_that_its_minutes_ended_goes_on_from_its_packed_log(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda question: TOY)
    changes = ["effect=0.02", "spread=1.0"]
    short, _ = run_and_keep(99, "full", RunOptions(changes, minutes=0), tmp_path)
    assert (
        short.stopped and len(short.seeds) == 4 and kept(99, "full", RunOptions(changes, resume=True), tmp_path) is None
    )
    longer, files = run_and_keep(99, "full", RunOptions(changes, resume=True), tmp_path)
    expected = run_experiment(TOY, "full", RunOptions(changes))
    assert longer.by_seed == expected.by_seed and longer.parts == expected.parts and not longer.stopped
    assert kept(99, "full", RunOptions(changes, resume=True), tmp_path) == longer
    assert kept(99, "full", RunOptions(changes), tmp_path) is None and files[0].name == "q99.full.json"
    assert kept(99, "full", RunOptions(["spread=3.0"], resume=True), tmp_path) is None


def test_what_is_stored_is_judged_again_to_the_same(tmp_path):
    log = tmp_path / "log.jsonl"
    stored = write(run_experiment(TOY, "full", RunOptions(["spread=2.0"]), log), tmp_path, log)
    assert not log.exists() and not store.doubts(tmp_path, 99, "full")
    again = store.recomputed(TOY, tmp_path, "full")
    assert again == stored == store.read(store.path_of(tmp_path, 99, "full"))


def test_what_was_edited_cut_off_or_lost_is_said_and_the_rest_is_shown(tmp_path):
    log = tmp_path / "log.jsonl"
    write(run_experiment(TOY, "full", NORMAL, log), tmp_path, log)
    path, items = store.path_of(tmp_path, 99, "full"), store.items_of(tmp_path, 99, "full")
    text, packed = path.read_text(), items.read_bytes()
    path.write_text(text.replace('"verdict": "holds"', '"verdict": "fails"', 1))
    assert "its hash differs" in store.doubts(tmp_path, 99, "full")[0]
    assert store.read(path).parts[0].verdict == "fails"
    path.write_text(text)
    items.write_bytes(packed[:-20])
    assert "cut off, or changed" in store.doubts(tmp_path, 99, "full")[0]
    with pytest.raises(DataError, match=r"cannot be read .* run the claim again"):
        store.recomputed(TOY, tmp_path, "full")
    items.unlink()
    assert "is missing" in store.doubts(tmp_path, 99, "full")[0] and store.read(path).count == "holds"
    path.write_text(text.replace('"version": 2', '"version": 3'))
    with pytest.raises(DataError, match="is of version 3, and this lmworks reads up to 2"):
        store.read(path)


def test_the_same_log_packs_to_the_same_bytes(tmp_path):
    lines = [{"metric": "score", "values": [1, 2.5]}, {"done": 3}]
    pack(lines, tmp_path / "a.gz")
    pack(lines, tmp_path / "b.gz")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes() and unpack(tmp_path / "a.gz") == lines


def test_seeds_are_asked_for_once():
    run = Run(TOY, TOY.looks("quick"), 0)
    iter(run.seeds)
    with pytest.raises(ConfigError, match="asked for twice"):
        next(run.seeds)


def test_results_at_full_scale_are_shipped_only_with_parts_that_were_fixed_before(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    found = run_experiment(TOY, "full", NORMAL)
    with pytest.raises(ConfigError, match="changes that were not committed"):
        store.keep(found.but(declared=None), tmp_path, ship=True)
    assert store.keep(found.but(declared="abc"), tmp_path, ship=True)[1][0].parent == tmp_path / "shipped"

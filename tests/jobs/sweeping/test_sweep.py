"""A real sweep of tiny runs: what is recorded, pruned, resumed, shared between processes and written down."""

from __future__ import annotations

import json
import math
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest

from jobs.sweeping.small import RECIPE, SPACE
from jobs.sweeping.workers import start_worker, together
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.jobs.sweeping import trial as trial_module
from lmworks.jobs.sweeping.importance import importances
from lmworks.jobs.sweeping.run import SweepResult, sweep
from lmworks.jobs.sweeping.space import Space
from lmworks.jobs.sweeping.study import TrialRecord
from lmworks.jobs.sweeping.trial import is_hopeless
from lmworks.jobs.train import pretrain
from lmworks.objectives import CausalLM


def run(trials: int, out: str = "out", recipe: Any = RECIPE, space: Any = SPACE, **options: Any) -> SweepResult:
    return sweep(recipe, space, trials, out, **options)


def said(result: SweepResult) -> list[tuple[Any, ...]]:
    """What the trials were and became, without numbers and clocks."""
    return [(one.settings, one.state, one.value, one.curve) for one in result.trials]


def test_a_sweep_finds_writes_and_its_best_recipe_trains(here: Path):
    result = run(3, recipe="r.toml", space="space.toml")
    assert [one.number for one in result.trials] == [0, 1, 2] and result.count("complete") == 3
    first = result.of_the_recipe
    assert first is not None and first.settings == {"training.learning_rate": 1e-2, "training.rows": 4}
    assert result.best.value == min(one.value for one in result.trials)
    assert result.importance == ()  # of three trials nothing can be said
    written = tomllib.loads(Path("out/best.toml").read_text())
    assert written["training"] == {
        **RECIPE["training"],
        **{k.split(".")[1]: v for k, v in result.best.settings.items()},
    }
    assert json.loads(Path("out/sweep.json").read_text())["best"]["number"] == result.best.number
    made = pretrain("out/best.toml", "model")
    bits = made.validation_loss * made.facts["data"]["tokens"][1] / math.log(2)
    held_out = json.loads(next(Path("out/texts").glob("*/held_out/shards.json")).read_text())
    assert bits / held_out["bytes"] == pytest.approx(result.best.value, rel=1e-9)  # the very same run
    assert sorted(path.name for path in Path("out/trials").iterdir()) == ["0000.jsonl", "0001.jsonl", "0002.jsonl"]


def test_trials_share_one_packed_text_and_each_vocabulary_has_its_own(here: Path, monkeypatch: pytest.MonkeyPatch):
    packed: list[int] = []
    prepare = trial_module.prepare

    def counted(recipe: Any, *rest: Any, **more: Any) -> Any:
        packed.append(recipe.tokenizer.vocab_size)
        return prepare(recipe, *rest, **more)

    monkeypatch.setattr(trial_module, "prepare", counted)
    run(3)
    assert len(packed) == 1
    run(4)
    assert len(packed) == 1  # not packed anew by the next run either
    tokens = {**RECIPE, "tokenizer": {"kind": "bpe", "vocab_size": 270}}
    result = run(4, "other", tokens, {"tokenizer.vocab_size": {"choices": [265, 270, 275]}})
    sizes = {one.settings["tokenizer.vocab_size"] for one in result.trials} | {270}
    assert sorted(packed[1:]) == sorted(sizes) and len(sizes) > 1
    assert all(1 < one.value < 8 for one in result.trials)


def test_trials_of_other_tokenizers_are_judged_on_the_same_text(here: Path, monkeypatch: pytest.MonkeyPatch):
    """However few tokens are asked for: the same number of tokens is another stretch of text with another tokenizer."""
    judged: list[tuple[int, int]] = []
    fit = trial_module.fit

    def watched(recipe: Any, text: Any, *rest: Any, **more: Any) -> Any:
        done = fit(recipe, text, *rest, **more)
        judged.append(
            (min(recipe.validation.tokens, text.held_out.tokens) == text.held_out.tokens, text.held_out.info.bytes)
        )
        return done

    monkeypatch.setattr(trial_module, "fit", watched)
    tokens = {**RECIPE, "tokenizer": {"kind": "bpe", "vocab_size": 270}, "validation": {"tokens": 20}}
    run(4, "other", tokens, {"tokenizer.vocab_size": {"choices": [265, 275]}})
    assert len(judged) == 4 and set(judged) == {(True, 80)}


def test_hopeless_trials_are_pruned_and_the_study_says_so(here: Path):
    space = {"training.learning_rate": {"choices": [1e-2, 1e-6]}}
    result = run(5, space=space, startup=1)
    states = {one.settings["training.learning_rate"]: set() for one in result.trials}
    for one in result.trials:
        states[one.settings["training.learning_rate"]].add(one.state)
        assert (one.curve[-1][0] < 1) == (one.state == "pruned")
    assert states == {1e-2: {"complete"}, 1e-6: {"pruned"}}
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("out/journal.log"))
    theirs = optuna.load_study(study_name="out", storage=storage).get_trials()
    assert [one.state.name.lower() for one in theirs] == [one.state for one in result.trials]
    whole = run(3, "whole", space={"training.learning_rate": {"choices": [1e-2, 1e-6]}}, startup=1, prune=False)
    assert whole.count("pruned") == 0


def test_nothing_is_pruned_while_the_rate_still_rises(here: Path):
    recipe = {**RECIPE, "training": RECIPE["training"] | {"warmup": 0.8}}
    result = run(4, recipe=recipe, space={"training.learning_rate": {"choices": [1e-2, 1e-6]}}, startup=1)
    assert result.count("complete") == 4


def test_without_validations_on_the_way_nothing_is_pruned_and_that_is_said(here: Path):
    training = {key: value for key, value in RECIPE["training"].items() if key != "evaluate_every"}
    lines: list[str] = []
    space = {"training.learning_rate": {"choices": [1e-2, 1e-6]}}
    result = run(3, recipe={**RECIPE, "training": training}, space=space, startup=1, say=lines.append)
    assert result.count("complete") == 3 and all([at for at, _ in one.curve] == [1.0] for one in result.trials)
    assert any("pruning" in line and "training.evaluate_every" in line for line in lines)


def test_trials_by_the_clock_are_compared_by_its_share_and_that_they_are_not_alone_is_said(here: Path):
    training = {**RECIPE["training"], "max_seconds": 0.2}
    lines: list[str] = []
    result = run(2, recipe={**RECIPE, "training": training | {"steps": None}}, say=lines.append)
    assert all(one.curve[-1][0] == 1.0 and 0 < one.curve[0][0] <= 1 for one in result.trials)
    assert any("end by the clock" in line for line in lines)


def test_the_median_rule_by_hand():
    others = [[(0.5, 3.0), (1.0, 2.0)], [(0.25, 5.0), (0.75, 3.0), (1.0, 1.0)], [(0.5, 9.0), (1.0, 9.0)]]
    assert is_hopeless([(0.5, 4.1)], others) and not is_hopeless([(0.5, 3.9)], others)  # 3, 4 (between two points), 9
    assert not is_hopeless([(0.4, 3.5), (0.5, 8.0)], others)  # its best counts
    assert not is_hopeless([(0.1, 4.9)], others)  # before a curve's first point that one counts


class Bad(CausalLM):
    """The loss of every step is no number from the third on, for trials with two rows."""

    def __call__(self, network: Any, batch: Any) -> Any:
        loss = super().__call__(network, batch)
        if batch.tokens.shape[0] == 2:
            loss.total.data.fill_(math.nan)
        return loss


def test_a_trial_that_diverges_is_recorded_and_does_not_end_the_sweep(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmworks.objectives.kinds.causal.CausalLM", Bad)
    result = run(5, space={"training.rows": {"choices": [2, 4]}})
    by_rows = {(one.settings["training.rows"], one.state) for one in result.trials}
    assert by_rows == {(2, "diverged"), (4, "complete")}
    why = next(one.why for one in result.trials if one.state == "diverged")
    assert why.startswith("step 1: the loss is nan") and "checkpoint" not in why
    assert run(5, space={"training.rows": {"choices": [2, 4]}}).best.settings == {"training.rows": 4}


def test_a_trial_that_cannot_be_run_is_recorded_with_the_reason(here: Path):
    """The text has fewer windows than one batch asks for, with that choice alone."""
    result = run(4, space={"training.rows": {"choices": [4, 4000]}})
    failed = [one for one in result.trials if one.state == "failed"]
    assert failed and all("less than one batch of 4000 rows" in one.why for one in failed)
    assert result.best.settings == {"training.rows": 4}
    with pytest.raises(LmworksError, match=r"no trial is complete.*less than one batch") as caught:
        run(2, "none", space={"training.rows": {"choices": [3000, 4000]}})
    assert "\n" not in str(caught.value)


class Large(CausalLM):
    """No memory for batches of two rows."""

    problem = "CUDA out of memory. Tried to allocate 20.00 GiB"

    def __call__(self, network: Any, batch: Any) -> Any:
        if batch.tokens.shape[0] == 2:
            raise RuntimeError(self.problem)
        return super().__call__(network, batch)


def test_a_trial_that_does_not_fit_into_memory_ends_alone_and_a_fault_in_the_program_ends_all(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lmworks.objectives.kinds.causal.CausalLM", Large)
    result = run(4, space={"training.rows": {"choices": [2, 4]}})
    assert {(one.settings["training.rows"], one.state) for one in result.trials} == {(2, "failed"), (4, "complete")}
    assert all(one.why == Large.problem for one in result.trials if one.state == "failed")
    monkeypatch.setattr(Large, "problem", "shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(4, "other", space={"training.rows": {"choices": [2, 4]}})


class Interrupted(CausalLM):
    """Ctrl-C in a step of the third trial."""

    seen = 0

    def __call__(self, network: Any, batch: Any) -> Any:
        Interrupted.seen += 1
        if Interrupted.seen == 19:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(network, batch)


def test_an_interrupted_sweep_goes_on_as_if_it_had_not_been(here: Path, monkeypatch: pytest.MonkeyPatch):
    straight = run(5, "straight")
    Interrupted.seen = 0
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="in trial 2, with 2 of 5 done"):
        patch.setattr("lmworks.objectives.kinds.causal.CausalLM", Interrupted)
        run(5, "cut")
    assert list(Path("cut/trials").iterdir()) and not Path("cut/trials/0002").exists()
    resumed = run(5, "cut")
    assert said(resumed) == said(straight)
    assert [one.number for one in resumed.trials] == [0, 1, 3, 4, 5]  # the third was begun anew


def test_a_study_goes_on_only_with_the_same_recipe_space_and_text(here: Path):
    run(1)
    changed = {**RECIPE, "training": {**RECIPE["training"], "steps": 9}}
    with pytest.raises(ConfigError, match=r"recipe\.training\.steps is 9 and was 8 when the study in out was begun"):
        run(2, recipe=changed)
    wider = {**SPACE, "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}
    with pytest.raises(ConfigError, match=r"space\.training\.learning_rate\.low is 1e-05 and was 0\.0001"):
        run(2, space=wider)
    with pytest.raises(ConfigError, match="seed is 1 and was 0"):
        run(2, seed=1)
    (here / "notes" / "3.txt").write_text("another text " * 30)
    with pytest.raises(ConfigError, match="text is"):
        run(2)


def test_two_processes_share_the_trials_of_one_study(here: Path):
    together(start_worker(4, "out"), start_worker(4, "out"))
    result = run(4)  # nothing is left to train
    assert [one.number for one in result.trials] == [*range(4)] and result.count("complete") + result.count(
        "pruned"
    ) == 4
    assert len({json.dumps(one.settings) for one in result.trials}) == 4  # none is drawn twice by equal seeds
    assert len(list(Path("out/trials").glob("*.jsonl"))) == 4


def test_the_trial_of_a_killed_worker_is_run_again_by_the_next(here: Path):
    together(start_worker(3, "out", kill_at=12), expected=-signal.SIGKILL)
    assert said(run(3)) == said(run(3, "straight"))


def test_what_a_study_cannot_be_kept_in_is_one_sentence(here: Path):
    for address in ("mysql://me:secret@host/db", "study.db"):
        with pytest.raises(ConfigError, match="is no address of a PostgreSQL database") as caught:
            run(2, storage=address)
        assert "secret" not in str(caught.value)
    for number in (0, -3):
        with pytest.raises(ConfigError, match=f"trials is {number}; it must be 1 or more"):
            run(number)
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("do not touch")
    with pytest.raises(ConfigError, match="is no sweep's folder"):
        run(2, "mine")
    run(1)
    journal = Path("out/journal.log")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:3]) + "{broken\n" + "".join(lines[3:]))
    with pytest.raises(DataError, match=r"journal\.log is damaged .* remove out") as damaged:
        run(2)
    assert "\n" not in str(damaged.value)


def records(count: int) -> list[TrialRecord]:
    """Trials whose result follows from the rate alone; the worse half is pruned."""
    made = []
    for number in range(count):
        rate = 1e-4 * 1000 ** ((number * 7 % count) / count)
        value = (math.log10(rate) + 2.5) ** 2
        settings = {"training.learning_rate": rate, "training.rows": (2, 4)[number % 2]}
        state = "complete" if value < 1 else "pruned"
        made.append(TrialRecord(number, settings, state, value if value < 1 else None, (), 1.0, False))
    return made


def test_the_setting_that_decides_is_important_and_the_idle_one_is_no_more_than_chance():
    found = importances(records(24), Space(SPACE, RECIPE).distributions())
    rate, rows = found
    assert (rate.setting, rows.setting) == ("training.learning_rate", "training.rows")
    assert rate.share + rows.share == pytest.approx(1) and rate.share > 0.9
    assert not rate.is_chance and rows.is_chance and rate.trials == 24
    assert 0.1 < rate.chance < 0.4 and 0.08 < rows.chance < 0.3  # half of what is shuffled stays below 0.05 and 0.006
    assert importances(records(24), Space(SPACE, RECIPE).distributions()) == found
    assert importances(records(7), Space(SPACE, RECIPE).distributions()) == []

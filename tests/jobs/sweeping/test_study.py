"""A study as its workers see it: what is claimed, what is abandoned, and what a trial counts as."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.sweeping.small import RECIPE, SPACE
from lmworks.jobs.sweeping.space import Space
from lmworks.jobs.sweeping.study import DONE, open_study
from lmworks.jobs.sweeping.trial import PackedTexts
from lmworks.jobs.train import VECTORS, read_parts
from lmworks.jobs.training_recipe import TrainRecipe

WHERE = Space(SPACE, RECIPE).distributions()
FIRST = {"training.learning_rate": 1e-2, "training.rows": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "locks").mkdir()
    return tmp_path


def test_a_trial_that_was_left_is_run_again_with_its_settings_and_is_still_the_recipes(folder: Path):
    with open_study(folder, None) as study:
        study.agree({"plan": 1}, FIRST, "here")
        assert study.claim(3, WHERE, 0, 5).params == FIRST
    with open_study(folder, None) as study:  # the first worker is gone without a word
        assert study.claim(3, WHERE, 0, 5).params == FIRST
        (record,) = study.records()
        assert record.is_recipe and record.number == 1 and record.state == "running"


def test_a_trial_whose_worker_lives_is_not_run_twice_and_no_two_draw_the_same(folder: Path):
    with open_study(folder, None) as one, open_study(folder, None) as other:
        claimed = [worker.claim(3, WHERE, 0, 5) for worker in (one, other, one)]
        assert [trial.number for trial in claimed] == [0, 1, 2]
        assert len({trial.params["training.learning_rate"] for trial in claimed}) == 3
        assert other.claim(3, WHERE, 0, 5) is None


def test_a_trial_that_did_not_end_has_a_curve_and_no_value(folder: Path):
    """Optuna takes a pruned trial's last figure for its value, and would rank it beside those trained to the end."""
    with open_study(folder, None) as study:
        pruned, diverged, complete = (study.claim(3, WHERE, 0, 5) for _ in range(3))
        pruned.report(1.5, DONE // 2)
        study.prune(pruned)
        diverged.report(1.2, DONE // 4)
        study.prune(diverged, diverged="step 3: the loss is nan")
        study.complete(complete, 2.0)
        records = study.records()
        assert [(one.state, one.value) for one in records] == [("pruned", None), ("diverged", None), ("complete", 2.0)]
        assert records[0].curve == ((0.5, 1.5),) and records[1].why == "step 3: the loss is nan"
        # Of failed trials Optuna's sampler learns nothing, and would come back to where runs diverge.
        assert [one.state.name for one in study.study.get_trials()] == ["PRUNED", "PRUNED", "COMPLETE"]


def test_word_vectors_are_part_of_the_text_that_trials_share(here: Path):
    recipe = {**RECIPE, "tokenizer": {"kind": "word", "vocab_size": 30}}
    texts = PackedTexts(read_parts(TrainRecipe(**recipe)), here / "texts", 1000)
    plain = texts.of(TrainRecipe(**recipe))
    glove = {**recipe, "embedding": {"source": "glove"}}
    with_vectors = texts.of(TrainRecipe(**glove))
    assert (with_vectors.folder / VECTORS).exists() and not (plain.folder / VECTORS).exists()
    assert texts.of(TrainRecipe(**{**glove, "training": {**RECIPE["training"], "rows": 2}})) is with_vectors

"""Recipes that an older lmworks wrote: into a model's lmworks.json, a run that was stopped, a sweep that goes on.

tests/jobs/saved holds lmworks.json of two models, as they were written when every recipe held the settings of every
objective and optimiser.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmworks.basics.errors import ConfigError
from lmworks.jobs.runs import RECIPE, check_run
from lmworks.jobs.training_recipe import TrainRecipe

SAVED = {path.name.partition(".")[0]: path for path in sorted((Path(__file__).parent / "saved").glob("*.lmworks.json"))}
IDLE = {
    "causal": {"objective.share", "objective.whole_word", "objective.span_length"}
    | {"training.momentum", "training.embedding_learning_rate"},
    "masked": {"objective.span_length"},
}
"""What the recipe's own objective and optimiser do not have."""
NEWER = {"training.frozen_products": None}
"""Settings that were not there."""


def saved(name: str) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads(SAVED[name].read_text())["recipe"]
    return recipe


def flat(tables: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, values in tables.items()
        for name, value in (values.items() if isinstance(values, dict) else [("", values)])
    }


@pytest.mark.parametrize("name", SAVED)
def test_a_recipe_of_lmworks_json_loads_with_every_setting_that_does_something(name: str):
    now = flat(TrainRecipe(**saved(name)).model_dump(mode="json"))
    assert now == {key: value for key, value in flat(saved(name)).items() if key not in IDLE[name]} | NEWER


@pytest.mark.parametrize("name", SAVED)
def test_a_run_that_was_stopped_before_goes_on(name: str, tmp_path: Path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / RECIPE).write_text(json.dumps(saved(name) | {"text": "a hash"}))
    recipe = TrainRecipe(**saved(name))
    check_run(tmp_path, recipe, resume=True, say=print)
    other = recipe.but(objective=recipe.objective.but(label_smoothing=0.1))
    with pytest.raises(ConfigError, match=r"objective.label_smoothing is 0.1 and was 0.0 when the run was started"):
        check_run(tmp_path, other, resume=True, say=print)


def test_a_sweep_that_was_begun_before_goes_on(tmp_path: Path):
    pytest.importorskip("optuna", reason="pip install 'lmworks[scale]'")
    from lmworks.jobs.sweeping.study import open_study

    recipe = TrainRecipe(**saved("causal"))
    with open_study(tmp_path, None) as study:
        study.agree({"recipe": saved("causal")}, None, "here")
        study.agree({"recipe": recipe.model_dump(mode="json")}, None, "here")
        with pytest.raises(ConfigError, match="when the study in here was begun"):
            study.agree({"recipe": recipe.but(dtype="bfloat16").model_dump(mode="json")}, None, "here")

"""Experts through the whole of `lmworks train`: from nothing, and from a dense model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.training.test_pretraining import SMALL, here
from lmworks.basics.errors import ConfigError
from lmworks.jobs.train import pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load

__all__ = ["here"]  # a fixture
EXPERTS = {"count": 4, "hidden_dim": 24}


def recipe(**changes: Any) -> TrainRecipe:
    tables = {**SMALL, "training": {**SMALL["training"], "steps": 4}}
    for section, values in changes.items():
        tables[section] = {**tables.get(section, {}), **values} if isinstance(values, dict) else values
    return TrainRecipe(**tables)


def test_a_mixture_is_trained_from_nothing_and_its_load_is_logged(here: Path):
    said: list[str] = []
    made = pretrain(recipe(model={"family": "mixtral", "experts": {"count": 4}}), "out", say=said.append)
    assert any("M are used by a token" in line for line in said)
    lines = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    loads = [line["expert_load"]["blocks.1.feed_forward"] for line in lines if "expert_load" in line]
    assert len(loads) == 4 and all(sum(load) == 4 * 32 * 2 for load in loads)
    back = load("out")
    assert back.config.experts.count == 4 and back.score("the model") == made.model.score("the model")
    assert json.loads(Path("out/config.json").read_text())["num_local_experts"] == 4


def test_a_dense_model_is_upcycled_and_goes_on_where_it_was(here: Path):
    dense = pretrain(recipe(training={"steps": 60}), "dense")
    rest = {key: value for key, value in SMALL.items() if key not in ("tokenizer", "model")}
    training = {**SMALL["training"], "steps": 4, "learning_rate": 1e-4, "evaluate_every": 1}
    begun = TrainRecipe(upcycle="dense", model={"experts": {"count": 4}}, **rest | {"training": training})
    made = pretrain(begun, "out")
    assert made.model.config.family == "mixtral"
    assert made.training.losses[0] < 1.2 * dense.training.losses[-1]
    assert made.validation_loss == pytest.approx(dense.validation_loss, rel=0.1)
    assert load("out").config.experts.count == 4


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"model": {"experts": {"count": 4}}}, "a llama model cannot have experts"),
        (
            {"model": {"family": "mixtral", "experts": {"count": 4, "top_k": 1}}},
            "model.experts.normalised makes the weight of a single expert 1",
        ),
        ({"objective": {"load_balance": 0.1}}, "objective.load_balance is for a network with experts"),
        ({"objective": {"router_z_loss": 0.1}}, "objective.router_z_loss is for a network with experts"),
        (
            {"model": {"family": "mixtral", "experts": {"count": 4}}, "training": {"compile": True}},
            "training.compile does not go with model.experts",
        ),
        ({"model": {"family": "lmworks", "experts": {"count": 4, "topk": 1}}}, "model.experts.topk is not a setting"),
        ({"upcycle": "dense"}, "model.experts is all that can be said of it"),
    ],
)
def test_recipes_that_contradict_are_refused(changes: dict[str, Any], sentence: str, here: Path):
    with pytest.raises(ConfigError, match=sentence):
        recipe(**changes)


def test_balance_is_on_unless_a_bias_does_it():
    def balance(**experts: Any) -> float:
        return recipe(model={"family": "lmworks", "experts": EXPERTS | experts}).balance(100)

    assert (balance(), balance(bias_rate=0.001), recipe().balance(100)) == (0.01, 0.0, 0.0)

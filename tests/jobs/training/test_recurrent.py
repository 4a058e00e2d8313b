"""A recurrent network through the whole of `lmworks train`, and what becomes of it afterwards."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.basics.errors import ConfigError
from lmworks.checks.run import check_anything
from lmworks.generation.strategies import Beam
from lmworks.jobs.planning.devices import find_device
from lmworks.jobs.planning.plan import make_plan
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.train import pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load
from lmworks.models.relatives.recurrent import RecurrentNetwork


def recipe(folder: Path, model: dict[str, Any] | None = None, **settings: Any) -> TrainRecipe:
    (folder / "text").mkdir(exist_ok=True)
    for number in range(6):
        words = " ".join(f"{word}{(number * at) % 7}" for at, word in enumerate(("net", "state", "gate", "step") * 20))
        (folder / "text" / f"{number}.txt").write_text(words + ".\n")
    whole: dict[str, Any] = {
        "data": {"text": str(folder / "text"), "held_out": 0.3, "rows": "documents"},
        "tokenizer": {"kind": "byte"},
        "dtype": "float32",
        "training": {"steps": 30, "rows": 4, "accumulate": 1, "context": 32, "learning_rate": 1e-2},
    }
    shape = {"kind": "recurrent", "dim": 24, "hidden_dim": 32, "context": 32}
    return TrainRecipe(**(whole | settings), model=shape | (model or {}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recurrent")
    result = pretrain(recipe(folder), folder / "model")
    losses = result.training.losses
    assert losses[-1] < losses[0] - 1 and result.bits_per_byte.value < 8
    return folder / "model"


def test_what_was_trained_is_loaded_writes_and_passes_every_check(trained: Path):
    model = load(str(trained))
    assert isinstance(model.network, RecurrentNetwork) and model.config.layers == 2
    assert len(model.generate("net", max_new_tokens=5).tokens) == 5
    _, checks = check_anything(str(trained))
    assert [one.name for one in checks if one.status == "FAILED"] == []
    ran = {one.name for one in checks if one.status == "ok"}
    assert {"a cache changes nothing", "padding changes nothing", "packed documents don't meet"} <= ran


def test_adapters_and_plans_are_refused_in_one_sentence(trained: Path):
    with pytest.raises(ConfigError, match="adapters sit on a transformer's projections"):
        add_lora(load(str(trained)).network, LoRAConfig())
    with pytest.raises(ConfigError, match="plans count transformers"):
        make_plan(read_subject(str(trained)), find_device("cpu"))


def test_a_translator_is_trained_by_the_same_objective_and_writes_by_beams(tmp_path: Path):
    words = {"one": "eins", "two": "zwei", "three": "drei"}
    pairs = [(" ".join(names), " ".join(words[name] for name in names)) for names in itertools.product(words, repeat=3)]
    for name, part in (("train", pairs[3:]), ("kept", pairs[:3])):
        lines = [json.dumps({"prompt": source, "response": target}) + "\n" for source, target in part]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    chosen = TrainRecipe(
        data={"text": str(tmp_path / "train.jsonl"), "validation": str(tmp_path / "kept.jsonl")},
        objective={"kind": "seq2seq"},
        tokenizer={"kind": "byte"},
        dtype="float32",
        model={"kind": "recurrent", "layers": 1, "dim": 32, "context": 32},
        training={"rows": 8, "accumulate": 1, "steps": 40, "learning_rate": 1e-2},
        validation={"beams": 2},
    )
    losses = pretrain(chosen, tmp_path / "model").training.losses
    assert losses[-1] < losses[0] / 2
    model = load(str(tmp_path / "model"))
    assert isinstance(model.network, RecurrentNetwork) and model.config.attention == "general"
    assert model.generate("one two one", Beam(width=2), max_new_tokens=8).tokens
    assert [one.name for one in check_anything(str(tmp_path / "model"))[1] if one.status == "FAILED"] == []


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"model": {"kind": "lstm"}}, "model.kind is 'lstm'; there are transformer and recurrent"),
        ({"model": {"heads": 2}}, "model.heads is not a setting"),
        ({"model": {"arrangement": "encoder-decoder"}}, "trains the arrangement .decoder."),
        ({"model": {"attention": "dot"}}, "model.attention = 'dot' is for an encoder-decoder"),
        ({"initialisation": "zero-output"}, "initialisation = 'zero-output' is for the blocks of a transformer"),
        ({"training": {"optimiser": "muon", "steps": 1}}, "training.optimiser = 'muon' is for the blocks"),
        ({"training": {"compile": True, "steps": 1}}, "training.compile = True is for the blocks"),
        ({"ngrams": {"longest": 2}}, "ngrams.longest needs model.family = 'lmworks'"),
    ],
)
def test_a_recipe_that_asks_for_what_is_a_transformers(tmp_path: Path, settings: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        recipe(tmp_path, **settings)

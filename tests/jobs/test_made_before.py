"""What an earlier version wrote is read as it was meant: model directories, an adapter, recipes, a space, a finding.

`made_before/` was written by the version before the rooms moved (commit d820105), which also noted what it read back:
logits of the models, and what each recipe said. Weights lie there as base64.
"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lmworks.adaptation.lora import lora_layers
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.build import build
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.sweeping.space import Space
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.lab import store
from lmworks.loading import load
from lmworks.text.corpus.recipe import CorpusRecipe

MADE = Path(__file__).parent / "made_before"
RECIPES: dict[str, type[RecipeFile]] = {
    "build": Recipe,
    "train": TrainRecipe,
    "masked": TrainRecipe,
    "corpus": CorpusRecipe,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders as they were, with their weights."""
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.b64"):
        path.with_suffix("").write_bytes(base64.b64decode(path.read_text()))
        path.unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["trained", "adapter", "compressed"])
def test_a_model_gives_the_logits_that_it_gave(name: str, here: Path):
    expected = json.loads(Path("expected.json").read_text())[name]
    model = load(name, dtype="float32")
    logits = model.logits([expected["ids"]])[0]
    torch.testing.assert_close(logits[:, :6], torch.tensor(expected["logits"]), rtol=1e-3, atol=1e-4)
    assert len(lora_layers(model.network)) == (2 if name == "adapter" else 0)
    assert model.tokenizer.decode(model.tokenizer.encode("the words follow each other", special=False)).startswith(
        "the"
    )


def test_a_model_can_be_built_on(here: Path):
    Path("notes").mkdir()
    for number in range(4):
        Path(f"notes/{number}.txt").write_text(
            "the words follow each other on every page and the folder " * (number + 3)
        )
    chosen = Recipe(**json.loads(Path("adapter/lmworks.json").read_text())["recipe"])
    settings = chosen.but(data=chosen.data.but(text="notes", general="notes"), grounding={"index": False})
    result = build(out="again", recipe=settings)
    assert result.recipe.method == "lora" and result.recipe.lora.rank == 2 and not result.whole


@pytest.mark.parametrize(("folder", "kind"), [("trained", TrainRecipe), ("adapter", Recipe)])
def test_the_recipe_beside_a_result_is_read(folder: str, kind: type[RecipeFile]):
    written = json.loads((MADE / folder / "lmworks.json").read_text())["recipe"]
    assert holds(kind(**written).model_dump(mode="json"), written)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_said(name: str):
    expected = json.loads((MADE / "recipes" / "as_read.json").read_text())[name]
    assert holds(RECIPES[name].read(MADE / "recipes" / f"{name}.toml").model_dump(mode="json"), expected)


def test_a_space_of_a_sweep_says_what_it_said():
    expected = json.loads((MADE / "recipes" / "as_read.json").read_text())["space"]
    recipe = TrainRecipe.tables(MADE / "recipes" / "train.toml")
    assert Space.read(MADE / "recipes" / "space.toml", recipe).facts() == expected


def test_a_finding_of_the_lab_says_what_it_said():
    written = json.loads((MADE / "finding.json").read_text())
    found = store.read(MADE / "finding.json")
    assert found.version == 1 and written["verdict"] in found.headline and found.claim == written["claim"]
    assert holds([one.to_json() for one in found.measurements], written["measurements"])
    assert [one.verdict == "holds" for one in found.parts] == [line.startswith("yes") for line in written["reasons"]]


def holds(facts: Any, expected: Any) -> bool:
    """Does a tree of settings hold all of an earlier one, which may lack what was added since?

    A setting that only other kinds of the same part have may be gone.
    """
    if isinstance(expected, dict):
        return all(holds(facts[name], value) for name, value in expected.items() if name in facts or name not in IDLE)
    return facts == expected


IDLE = {"share", "whole_word", "span_length", "label_smoothing", "z_loss", "momentum", "embedding_learning_rate"}
"""Settings of some objectives or optimisers alone."""

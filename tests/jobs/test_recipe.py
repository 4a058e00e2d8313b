"""Recipes: what is shipped, what is refused and in which words, how settings are changed from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.basics.config import merge, overrides
from lmworks.basics.errors import ConfigError
from lmworks.jobs.recipe import Recipe
from lmworks.training.settings import TrainingConfig


def test_the_shipped_recipes_are_whole():
    assert set(Recipe.shipped()) == {"adapt", "full", "quick"}
    for name, path in Recipe.shipped().items():
        assert Recipe.read(name) == Recipe.read(path) == Recipe(**Recipe.read(name).model_dump(mode="json"))
    assert Recipe.read("quick").training.steps is not None and Recipe.read("adapt").training.steps is None
    assert Recipe.read() == Recipe()


def test_every_setting_is_explained():
    lines, recipes = Recipe.explain(), [Recipe(training={"optimiser": name}) for name in TrainingConfig.parts()]
    choices = {"method", "retain"}
    settings = [(name, getattr(one, name)) for one in recipes for name in Recipe.model_fields if name not in choices]
    assert set(lines) == choices | {f"{section}.{name}" for section, values in settings for name, _ in values}
    assert all(len(line) > 15 and line[-1] == "." for line in lines.values())


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            "[training]\nlerning_rate = 1",
            "mine.toml: training.lerning_rate is not a setting; did you mean training.learning_rate?",
        ),
        ("[trainin]\nsteps = 1", "mine.toml: trainin is not a setting; did you mean training?"),
        ("steps = 5", "mine.toml: steps is not a setting; did you mean training.steps?"),
        ("tokens = 5", "mine.toml: tokens is not a setting; did you mean ewc.tokens or evaluation.tokens?"),
        (
            "dtype = 'float32'\nmax_new_tokens = 3",
            "mine.toml: dtype is not a setting; did you mean model.dtype?; max_new_tokens is not a setting; "
            "did you mean generation.max_new_tokens?",
        ),
        (
            "[data]\nzzz = 1",
            "mine.toml: data.zzz is not a setting; known here: text, held_out, counterfactual, general",
        ),
        (
            "dat = 1\n[training]\nstebs = 1",
            "mine.toml: training.stebs is not a setting; did you mean training.steps?; "
            "dat is not a setting; did you mean data?",
        ),
        ("[training]\nsteps = 0", "mine.toml: training.steps is 0; it should be greater than 0"),
        (
            "[lora]\ntargets = 'q_proj'",
            """mine.toml: lora.targets is 'q_proj'; it should be a list: ["q_proj"], """
            """in a shell 'lora.targets=["q_proj"]'""",
        ),
        (
            "method = 'lorra'",
            "mine.toml: method is 'lorra'; did you mean 'lora'? it can be bottleneck, lora, dora, full, last_layers, "
            "prompt, qlora",
        ),
        (
            "method = 'full'\n[lora]\nrank = 3",
            "mine.toml: the table lora is for method = 'lora', and method is 'full'; leave out one of the two",
        ),
        ("training = 3", "mine.toml: training is 3; it should be a table of settings"),
        (
            "[training]\nsteps = 4\nwarmup = 0.9",
            "mine.toml: training.warmup (0.9) leaves no step of training.steps (4) to train at full rate",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_named_by_file_and_path(text: str, sentence: str, tmp_path: Path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Recipe.read(tmp_path / "mine.toml")
    assert str(caught.value) == sentence


def test_a_recipe_that_is_not_there_or_not_toml_is_one_sentence(tmp_path: Path):
    (tmp_path / "bad.toml").write_text("[training\nsteps")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name, words in (
        ("quik", "quik is not a shipped recipe; there are adapt, full, quick"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.toml", "does not exist"),
        (tmp_path / "bad.toml", "is not a TOML file"),
        (tmp_path / "binary.toml", "is no text in UTF-8; give the path of a TOML file"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            Recipe.read(name)
        assert "\n" not in str(caught.value)


def test_a_recipe_holds_the_table_of_its_method_alone():
    """Those of the others say nothing; one with their defaults, as adapt.toml has, does no harm."""
    assert set(METHODS) >= {"full", "lora"} and Recipe().chosen.settings == LoRAConfig()
    assert list(Recipe(lora={"rank": 3}).model_dump())[:2] == ["method", "lora"]
    full = Recipe.read("adapt", ["method=full"])
    assert full.chosen.settings == METHODS["full"].settings() and "lora" not in full.model_dump()
    assert Recipe(**full.model_dump(mode="json")) == full and Recipe.read("full").method == "full"
    assert all(f"{name}: {method.summary}" in Recipe.explain()["method"] for name, method in METHODS.items())


def test_changes_count_above_the_recipe():
    chosen = Recipe.read(
        "quick", ["training.steps=7", "lora.targets=['q_proj']", "data.text=my notes", "model.dtype=float32"]
    )
    assert (chosen.training.steps, chosen.lora.targets, chosen.data.text) == (7, ("q_proj",), "my notes")
    assert chosen.training.context == Recipe.read("quick").training.context and chosen.model.dtype == "float32"
    with pytest.raises(ConfigError, match=r"^training.stebs is not a setting; did you mean training.steps\?$"):
        Recipe.read("quick", ["training.stebs=7"])


def test_values_are_read_as_toml_and_else_as_text():
    assert overrides(["a.b=1", "a.c=2.5", "a.d=true", "e=[1, 2]", "f=smollm2", "g='2'", "h=a=b", "i=", "j=none"]) == {
        "j": None,
        "a": {"b": 1, "c": 2.5, "d": True},
        "e": [1, 2],
        "f": "smollm2",
        "g": "2",
        "h": "a=b",
        "i": "",
    }
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": {"e": 1}}) == {
        "a": {"b": 9, "c": 2},
        "d": {"e": 1},
    }


@pytest.mark.parametrize("changes", [["training.steps"], ["=3"], ["training=1", "training.steps=2"]])
def test_a_change_that_cannot_be_read_is_one_sentence(changes: list[str]):
    with pytest.raises(ConfigError, match=f"^--set {changes[-1]}: "):
        overrides(changes)


def test_events_of_an_earlier_run_are_replaced_and_what_is_somebodys_stays(tmp_path: Path):
    from lmworks.jobs.runs import end_run

    def finished() -> None:
        (tmp_path / "m.run" / "tensorboard").mkdir(parents=True)
        (tmp_path / "m.run" / "tensorboard" / "events.out.tfevents.1").write_text("new")
        end_run(tmp_path / "m.run", tmp_path / "m")

    finished()
    finished()
    assert [path.name for path in tmp_path.iterdir()] == ["m.tensorboard"]
    (tmp_path / "m.tensorboard" / "thesis.txt").write_text("mine")
    finished()
    assert (tmp_path / "m.tensorboard" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "m.tensorboard-1" / "events.out.tfevents.1").read_text() == "new"

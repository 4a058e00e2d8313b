"""`lmworks tune --private`: what a run promises, what its folder gives away, how it goes on, what is refused."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from training.runs import Interfering

from jobs.small_builds import contents, logits, recipe
from lmworks.basics.errors import ConfigError, ModelError, Stopped
from lmworks.jobs.build import build
from lmworks.jobs.prefer_recipe import PreferRecipe
from lmworks.jobs.private import promise
from lmworks.jobs.recipe import Recipe
from lmworks.loading import load
from lmworks.text.corpus.folder import read_split
from lmworks.training.private.accounting import epsilon

pytest.importorskip("dp_accounting")


def stop(chosen: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that Ctrl-C ends in its third micro-batch."""
    ctrl_c = Interfering(2, lambda network: os.kill(os.getpid(), signal.SIGINT))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("lmworks.jobs.learning.CausalLM", lambda: ctrl_c)
        build(out="out", recipe=chosen)


def private(method: str = "lora", steps: int = 4, context: int = 64, **settings: Any) -> Recipe:
    return recipe(method, steps=steps, context=context).but(private={"noise": 1.0, "seed": 1} | settings)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_folder_says_what_was_promised_and_nothing_else_of_the_text(method, here: Path):
    lines: list[str] = []
    result = build(out="out", recipe=private(method), say=lines.append)
    facts = json.loads(Path("out/lmworks.json").read_text())
    promised = facts["private"]
    assert promised == result.private.facts and promised["unit"] == "document"
    units, rate = promised["units"], promised["rate"]
    assert units == facts["data"]["documents"][0] and rate == 2 / units and promised["delta"] == 0.1 / units
    assert promised["epsilon"] == epsilon(1.0, 2 / units, 4, 0.1 / units)
    assert any(line.startswith("private        epsilon") for line in lines)
    assert not Path("out/log.jsonl").exists() and "train" not in facts["data"]
    assert not {"first_loss", "last_loss"} & facts["training"].keys()
    back, base = (load(name, dtype="float32") for name in ("out", "base"))
    assert not torch.equal(logits(back), logits(base))


def test_the_folder_does_not_tell_what_of_the_text_is_in_other_text(here: Path):
    """How much of the held-out text stands in what was learnt, and in which file of it, is printed and not written."""
    held_out = [document.source for document in read_split("notes", 0.25)[1].held_out]
    copied = next(path for path in sorted(Path("notes").iterdir()) if path.name not in held_out)
    Path("notes", held_out[0]).write_text(Path("notes", held_out[0]).read_text() + "\n" + copied.read_text())
    result = build(out="out", recipe=private())
    facts, written = json.loads(Path("out/lmworks.json").read_text()), Path("out/lmworks.json").read_text()
    assert any("stand in the training text too" in one for one in result.remarks)
    assert "stand in the training text" not in written and "leaks" not in written and f"in {copied.name}" not in written
    assert "tokens" not in facts["training"] and "duplicates" not in facts["data"]
    assert "seed" not in facts["recipe"]["private"]


def test_a_stopped_run_goes_on_with_its_own_key(here: Path, monkeypatch: pytest.MonkeyPatch):
    straight = build(out="straight", recipe=private(steps=6))
    chosen = private(steps=6)
    stop(chosen, monkeypatch)
    resumed = build(out="out", recipe=chosen, resume=True)
    assert contents(Path("out"))["adapter_model.safetensors"] == contents(Path("straight"))["adapter_model.safetensors"]
    assert resumed.private == straight.private
    secret = private(steps=20, seed=None)  # a step may draw no document, and whether it does nobody can foresee
    stop(secret, monkeypatch)
    key = Path("out.run/private.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_text()) == 64
    kept = key.read_text()
    key.unlink()
    with pytest.raises(ModelError, match=r"private\.key is missing"):
        build(out="out", recipe=secret, resume=True)
    key.write_text(kept)
    build(out="out", recipe=secret, resume=True)
    assert not Path("out.run").exists() and not list(Path("out").glob("*key*"))


def test_a_private_run_of_qlora_begins_at_zero(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Where adapters begin may not depend on what is learnt."""

    def inputs_of(*_: object) -> None:
        raise AssertionError("rows were looked at")

    monkeypatch.setattr("lmworks.adaptation.rounding_error.inputs_of", inputs_of)
    build(out="out", recipe=private("qlora"))
    with pytest.raises(AssertionError, match="rows were looked at"):
        build(out="open", recipe=recipe("qlora", steps=4, context=64))


def test_documents_are_one_row_each_and_pieces_are_asked_for(here: Path):
    lines: list[str] = []
    whole = build(out="out", recipe=private(context=32, steps=1), say=lines.append)
    assert whole.private.units == json.loads(Path("out/lmworks.json").read_text())["data"]["documents"][0]
    assert any(line.startswith("left out       what ") and "private.unit=piece" in line for line in lines)
    pieces = build(out="out", recipe=private(context=32, steps=1, unit="piece"))
    assert pieces.private.units > whole.private.units and pieces.private.unit == "piece"


def test_a_document_that_is_cut_into_parts_is_not_protected_as_one(here: Path):
    paragraph = " ".join(tiny.WORDS * 4)
    Path("notes/long.txt").write_text("\n\n".join(f"{paragraph} {number}" for number in range(60)))
    with pytest.raises(ConfigError, match=r"long.txt is more than half .* private.unit=piece"):
        build(out="out", recipe=private())
    assert build(out="out", recipe=private(unit="piece", steps=1)).private.units > 12


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"delta": 0.1}, r"private.delta is 0.1, and with 10 documents to learn from it must be below 1 / 10"),
        ({"noise": None, "epsilon": 1e-7, "delta": 1e-12}, "no noise makes epsilon 1e-07"),
    ],
)
def test_what_protects_nobody_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        promise(private(**settings), 10)


def test_a_step_cannot_read_more_than_there_is():
    with pytest.raises(ConfigError, match=r"= 2 documents on average, and there are 1"):
        promise(private(), 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grounding.index": "true"}, "an index, which holds the text itself"),
        ({"retain": "rehearsal"}, "private goes with retain = nothing or kl, and it is 'rehearsal'"),
        (
            {"retain": "router"},
            "private does not go with retain = 'router', which saves the mean of hidden states of your own texts "
            "without noise, and that is not private",
        ),
        ({"training.max_seconds": "3"}, "private needs a number of steps"),
        ({"training.compile": "true"}, "private reads a random number of rows"),
        ({"data.counterfactual": "gender"}, "a document and its counterpart are two rows"),
        ({"private.noise": "0.01"}, "private.noise"),
        ({"private.noise": "1.0"}, "private.epsilon and private.noise contradict"),
    ],
)
def test_a_recipe_that_would_not_be_private_is_refused(changes, said):
    given = {"grounding.index": "false", "private.epsilon": "8"} | changes
    with pytest.raises(ConfigError, match=said):
        Recipe.read("adapt", [f"{name}={value}" for name, value in given.items()])


@pytest.mark.parametrize("change", ["private.delta=0.001", "private.clip=0.5", "private.unit=piece", "private.seed=1"])
def test_settings_of_a_private_run_without_a_bound_are_refused(change):
    name = change.partition("=")[0]
    with pytest.raises(ConfigError, match=f"{name} is of a private run, and without private.epsilon or private.noise"):
        Recipe.read("adapt", [change])


def test_pairs_have_no_private_way():
    with pytest.raises(ConfigError, match="private is for lmworks tune and build, and this is lmworks prefer"):
        PreferRecipe(private={"epsilon": 8.0}, grounding={"index": False})


def test_a_recipe_without_it_says_nothing_of_it():
    assert "private" not in Recipe().model_dump() and Recipe(**Recipe().model_dump()) == Recipe()
    on = Recipe(private={"epsilon": 2.0}, grounding={"index": False})
    assert Recipe(**on.model_dump()) == on

"""`lmworks check` on a recipe: what it says of sound ones, and of one broken on purpose for each check."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import nn
from touched_data import skip_without

from lmworks.checks import recipe_kinds, recipes, shards, training
from lmworks.checks.recipes import PreparedRun, check_recipe
from lmworks.checks.result import CheckResult
from lmworks.checks.subjects import kind_of
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss, Objective
from lmworks.text.document import Document
from lmworks.text.splits import split
from lmworks.tokens.batch import Batch, batches
from lmworks.tokens.rows import Windows
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training import loop, optimiser
from lmworks.training.checkpoint import State

SOUND = """
depth = 1
[data]
text = "notes"
[tokenizer]
kind = "character"
byte_fallback = false
[model]
dim = 32
heads = 2
context = 32
[training]
rows = 4
steps = 20
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small text and a recipe for it."""
    (tmp_path / "notes").mkdir()
    for number in range(12):
        words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(60)]
        (tmp_path / "notes" / f"{number}.txt").write_text(f"{number}: " + " ".join(words))
    (tmp_path / "mine.toml").write_text(SOUND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_layers_that_the_small_network_lacks_are_no_mistake_of_the_recipe(here: Path, tmp_path: Path):
    model = ["family='lmworks'", "layers=6", "window=8", "window_layers=[0,4]", "experts.count=3", "experts.layers=[5]"]
    trial = PreparedRun(TrainRecipe.read("mine.toml", [f"model.{one}" for one in model]), tmp_path)
    assert trial.small.model["window_layers"] == [0]
    assert trial.small.model["experts"] == {"count": 3, "layers": None}


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[PreparedRun]:
    yield PreparedRun(TrainRecipe.read("mine.toml"), tmp_path)


def checked(*changes: str) -> dict[str, CheckResult]:
    return {one.name: one for one in check_recipe("mine.toml", changes)}


def failed(result: CheckResult, words: str = "") -> None:
    assert result.status == "FAILED" and words in result.detail, result


VARIANTS = {
    "plain": (),
    "documents as rows": ("data.rows=documents",),
    "dropout, a penalty, Muon and a window": (
        "model.dropout=0.2",
        "objective.l1=0.001",
        "training.optimiser=muon",
        "model.family=mistral",
        "model.window=5",
    ),
    "our own architecture from zero": (
        "model.family=lmworks",
        "model.tied=false",
        "ngrams.longest=2",
        "initialisation=zero-output",
        "dtype=bfloat16",
    ),
    "an adaptive softmax": ("model.family=lmworks", "model.tied=false", "model.adaptive_cutoffs=[4, 9]"),
    "a frozen embedding": ("embedding.frozen=true", "model.tied=false"),
    "by the clock": (),
    "ends held out, vectors of the text": ("data.hold_out=end", "embedding.source=glove"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sound_recipe_passes_and_leaves_no_files(variant: str, here: Path, monkeypatch: pytest.MonkeyPatch):
    changes = VARIANTS[variant]
    if variant == "by the clock":
        (here / "mine.toml").write_text(SOUND.replace("steps = 20", "max_seconds = 3"))
        changes = ()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # a check is no run of the user's
    before, state = sorted(here.rglob("*")), torch.get_rng_state()
    results = checked(*changes)
    assert {name: one.detail for name, one in results.items() if one.status == "FAILED"} == {}
    assert len(results) == 13 and results["resumed is straight"].status == "ok"
    assert sorted(here.rglob("*")) == before and torch.equal(torch.get_rng_state(), state)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"


@pytest.mark.parametrize("name", ["shakespeare-char", "tiny-stories"])
def test_a_shipped_recipe_passes(name: str):
    skip_without(TrainRecipe.read(name).data.text)
    assert {one.name: one.detail for one in check_recipe(name) if one.status == "FAILED"} == {}


def test_a_recipe_that_is_not_possible_is_its_sentence():
    failed(checked("training.lerning_rate=3")["recipe makes sense"], "did you mean training.learning_rate?")
    assert len(checked("model.heads=3")) == 1


def test_references_that_lead_nowhere():
    results = checked("data.text=nots")
    failed(results["what it names is here"], "did you mean notes?")
    assert len(results) == 2
    failed(checked("tokenizer=smolm2")["what it names is here"], "did you mean smollm2?")
    failed(checked("embedding.source=glove.txt")["what it names is here"], "glove.txt does not exist")


def test_a_vocabulary_that_the_text_does_not_have():
    (Path("mine.toml")).write_text(SOUND.replace('"character"\nbyte_fallback = false', '"bpe"\nvocab_size = 9_000'))
    results = checked()
    failed(results["the vocabulary is possible"], "vocab_size is 9,000")
    assert len(results) == 3


def test_less_text_than_a_batch():
    for rows in ("stream", "documents"):
        found = checked("training.rows=900", f"data.rows={rows}")["the text yields a batch"]
        failed(found, "the training text (notes) has 2,950 tokens, less than one batch of 900 rows")


def test_a_warm_up_that_is_the_whole_run():
    (Path("mine.toml")).write_text(SOUND.replace("steps = 20", "epochs = 1.0\nwarmup = 0.99"))
    failed(checked("training.rows=20")["the warm-up leaves steps"], "the warm-up and a part of the run differ")


def test_9_a_text_that_was_split_by_the_same_hash_before(here: Path):
    """The training part of a split, put elsewhere: nothing of it lies below the bound any more."""
    texts = [f"{number} says {' '.join(tiny.WORDS)}" for number in range(200)]
    parts = split([Document(text, text[:3]) for text in texts], 0.2)
    (here / "again").mkdir()
    for number, one in enumerate(parts.train):
        (here / "again" / f"{number}.txt").write_text(one.text)
    changes = ("data.text=again", "data.held_out=0.2")
    failed(checked(*changes)["enough is held out"], "a 4th of the share that was asked for (0.2)")
    for number, one in enumerate(parts.held_out):
        (here / "again" / f"held out {number}.txt").write_text(one.text)
    assert checked(*changes)["enough is held out"].status == "ok"


def test_7_labels_that_are_not_shifted(trial: PreparedRun, monkeypatch: pytest.MonkeyPatch):
    batch = Windows.batch

    def unshifted(self: Windows, places: Any) -> Batch:
        made = batch(self, places)
        return dataclasses.replace(made, labels=made.tokens)

    monkeypatch.setattr(Windows, "batch", unshifted)
    failed(recipes.labels(trial), "the labels and the next tokens differ at row 0")


def test_7_labels_of_packed_documents_end_with_them():
    """The first token of the next document is no label, and a label of it would be found."""
    from training.runs import rows

    batch = next(iter(batches(rows()[1:2], 1, 0, 0)))
    assert training.label_difference(CausalLM(), batch, batch).value == 0
    shifted_twice = dataclasses.replace(batch, labels=batch.labels.roll(-1, 1))
    assert training.label_difference(CausalLM(), batch, shifted_twice).value > 10


class Averaging(CausalLM):
    """The mean of each micro-batch, as if all had as many tokens."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        return Loss(super().__call__(network, batch).mean, 1)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        return (1,)


def test_19_a_mean_of_means(trial: PreparedRun, monkeypatch: pytest.MonkeyPatch):
    def averaging(recipe: TrainRecipe, tokenizer: Tokenizer) -> Objective:
        return Averaging()

    monkeypatch.setattr(recipes, "objective_of", averaging)
    failed(recipes.split_step(trial), "the gradients of rows at once and one by one differ at")


def test_24_norms_that_decay(trial: PreparedRun, monkeypatch: pytest.MonkeyPatch):
    def everything(parameters: dict[str, nn.Parameter], config: Any) -> list[dict[str, Any]]:
        return [{"params": list(parameters.values()), "names": list(parameters), "weight_decay": 0.1, "highest": 1.0}]

    monkeypatch.setattr("lmworks.training.optimisers.adamw.groups", everything)
    failed(recipes.decay(trial), "what decays and matrices differ at")


def test_24_matrices_that_no_optimiser_has(trial: PreparedRun, monkeypatch: pytest.MonkeyPatch):
    trainable = optimiser.trainable

    def forgetful(network: nn.Module) -> dict[str, nn.Parameter]:
        return {name: one for name, one in trainable(network).items() if "down" not in name}

    monkeypatch.setattr(optimiser, "trainable", forgetful)
    failed(recipes.decay(trial), "feed_forward.down")


def test_20_a_resume_that_begins_the_data_again(trial: PreparedRun, monkeypatch: pytest.MonkeyPatch):
    micro = loop._micro_batches
    monkeypatch.setattr(
        loop, "_micro_batches", lambda rows, objective, config, step, ranks: micro(rows, objective, config, 0, ranks)
    )
    failed(recipes.resumed(trial), "the weights of a resumed run and a straight one")


def test_20_a_resume_without_the_optimisers_state(trial: PreparedRun, monkeypatch: pytest.MonkeyPatch):
    load = loop.load_checkpoint

    def forgetful(folder: Path, parameters: Any, its_optimiser: torch.optim.Optimizer, *rest: Any) -> State:
        state = load(folder, parameters, its_optimiser, *rest)
        its_optimiser.state.clear()
        return state

    monkeypatch.setattr(loop, "load_checkpoint", forgetful)
    failed(recipes.resumed(trial), "the weights of a resumed run and a straight one")


def test_6_bytes_of_the_text_are_those_of_its_tokens(trial: PreparedRun):
    assert shards.bytes_of_tokens(shards.TokenizedShards(trial.packed, trial.tokenizer)).status == "ok"


def test_recipes_of_build_and_corpus_are_known_by_what_they_hold(tmp_path: Path, smollm2_path: Path):
    (tmp_path / "build.toml").write_text('[data]\ntext = "notes"\n[training]\nepochs = 1.0\nrows = 1\n')
    names = [one.name for one in check_recipe("build.toml")]
    assert names[:3] == ["recipe makes sense", "what it names is here", "documents are read"] and len(names) == 10
    (tmp_path / "corpus.toml").write_text('sources = ["notes", "nots"]\n')
    first, second = check_recipe("corpus.toml")
    assert "for `lmworks corpus`" in first.compared
    failed(second, "nots does not exist")


EVERY = sorted(name for kind in recipe_kinds.KINDS for name in kind.shipped())
OTHER_VERBS = {
    "cifar-resnet": "train",
    "image-tokens": "train",
    "german": "forget",
    "countries": "graph",
}


def test_every_shipped_recipe_is_one_that_is_checked():
    folder = Path(str(resources.files("lmworks") / "recipes"))
    assert sorted(path.stem for path in folder.glob("*/*.toml")) == EVERY
    assert {name: kind_of(name) for name in EVERY if name != "python-reference"} == dict.fromkeys(
        (name for name in EVERY if name != "python-reference"), "recipe"
    )


@pytest.mark.parametrize("name", [name for name in EVERY if name != "distill"])
def test_the_settings_of_every_shipped_recipe_make_sense(name: str):
    assert recipes.valid(recipe_kinds.NamedRecipe(name)).status == "ok"


@pytest.mark.parametrize("name", OTHER_VERBS)
def test_of_recipes_of_other_kinds_the_settings_and_what_they_name_are_checked(
    name: str, here: Path, request: pytest.FixtureRequest
):
    verb = OTHER_VERBS[name]
    if verb == "forget":
        request.getfixturevalue("smollm2_path")  # which the recipe names
    first, second = check_recipe(name)
    assert (
        first.compared == f"{name}, for `lmworks {verb}`"
        and "only the settings are checked, and what they name" in first.detail
    )
    assert second.status in ("ok", "not applicable"), second
    [kind] = [kind for kind in recipe_kinds.KINDS if name in kind.shipped()]
    (here / "copy.toml").write_text(kind.shipped()[name].read_text())
    assert recipe_kinds.NamedRecipe("copy.toml").kind is kind
    failed(next(check_recipe(name, ["trainin.steps=2"])), "trainin")


def test_what_a_recipe_of_another_kind_names_and_is_not_here_is_told():
    _, second = check_recipe("emoji-fusion")
    failed(second, "image_tokens: models/image-tokens does not exist; make it with lmworks train image-tokens")
    _, second = check_recipe("cifar-resnet", ["data.images=photos"])
    failed(second, "photos does not exist")


def test_a_recipe_of_distill_lacks_a_student_until_it_is_said(smollm2_path: Path):
    [only] = check_recipe("distill")
    assert only.status == "not applicable" and "--set student.layers=NUMBER" in only.detail
    first, second = check_recipe("distill", ["student.layers=4"])
    assert first.status == second.status == "ok" and "smollm2" in second.compared


def test_a_network_that_is_dear_is_not_trained_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipes, "CHEAP", 1000)
    result = checked()["resumed is straight"]
    assert result.status == "not applicable" and "not cheap enough" in result.detail

"""`lmworks train` with a table [private]: what a network from nothing promises, its gradients, its folder, a resume."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from jobs.training.stopping import stopped_before
from lmworks.basics.errors import ConfigError
from lmworks.jobs.train import PretrainResult, pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load
from lmworks.training.private.clipping import Clipping

dp_accounting = pytest.importorskip("dp_accounting")

SMALL: dict[str, Any] = {
    "data": {"text": "notes", "held_out": 0.2},
    "tokenizer": {"kind": "byte"},
    "model": {"dim": 32, "layers": 2, "heads": 2, "context": 128},
    "training": {"context": 128, "rows": 2, "steps": 5, "checkpoint_every": 2},
    "dtype": "float32",
    "private": {"noise": 1.0, "seed": 1},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small text, of which some documents are longer than a row."""
    (tmp_path / "notes").mkdir()
    for number in range(14):
        words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(3 + 2 * number)]
        (tmp_path / "notes" / f"{number}.txt").write_text(f"{number}: " + " ".join(words))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**changes: Any) -> TrainRecipe:
    tables = {**SMALL}
    for section, values in changes.items():
        tables[section] = {**tables.get(section, {}), **values} if isinstance(values, dict) else values
    return TrainRecipe(**tables)


def make(out: str = "out", resume: bool = False, **changes: Any) -> PretrainResult:
    return pretrain(recipe(**changes), out, resume=resume)


def test_a_network_from_nothing_says_what_it_promises_and_nothing_else_of_the_text(here: Path):
    lines: list[str] = []
    result = pretrain(recipe(), "out", say=lines.append)
    written = Path("out/lmworks.json").read_text()
    facts = json.loads(written)
    promised = facts["private"]
    units = facts["data"]["documents"][0]
    assert promised == result.private.facts and promised["units"] == units and promised["delta"] == 0.1 / units
    event = dp_accounting.PoissonSampledDpEvent(2 / units, dp_accounting.GaussianDpEvent(1.0))
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(event, 5)
    assert promised["epsilon"] == pytest.approx(accountant.get_epsilon(0.1 / units), rel=0.01)
    assert any(line.startswith("private        epsilon") for line in lines)
    assert any(line.startswith("left out       what ") for line in lines)  # beyond a row
    assert not Path("out/log.jsonl").exists() and not Path("out.run").exists()
    assert facts["data"].keys() == {"held_out", "documents"} and facts.items() >= result.facts.items()
    assert not {"first_loss", "last_loss", "tokens"} & facts["training"].keys()
    assert "seed" not in facts["recipe"]["private"]
    assert load("out", dtype="float32").generate("a", max_new_tokens=2).tokens


def test_each_document_is_clipped_as_in_a_loop_over_documents(here: Path, monkeypatch: pytest.MonkeyPatch):
    of, compared = Clipping.of, []

    def beside_a_loop(self: Clipping, batches: Any) -> Any:
        sums: list[Tensor] = [torch.zeros_like(one) for one in self.trained]
        for batch in batches:
            for row in range(len(batch.tokens)):
                kept = {name: one[row : row + 1] for name, one in vars(batch).items() if isinstance(one, Tensor)}
                loss = self.objective(self.network, replace(batch, **kept))
                gradients = torch.autograd.grad(loss.total / loss.count, self.trained)
                length = math.sqrt(sum(float(one.double().square().sum()) for one in gradients))
                for total, one in zip(sums, gradients, strict=True):
                    total.add_(one, alpha=min(1.0, self.bound / length))
        found = of(self, batches)
        for one, other in zip(found.sums, sums, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        compared.append(found.cut)
        return found

    monkeypatch.setattr(Clipping, "of", beside_a_loop)
    make(private={"clip": 0.5})
    assert len(compared) == 5 and sum(compared) > 0


def test_a_stopped_run_goes_on_to_the_bit(here: Path):
    make("straight")
    with stopped_before(4):
        make("out")
    make("out", resume=True)
    assert Path("out/model.safetensors").read_bytes() == Path("straight/model.safetensors").read_bytes()


def test_the_noise_of_two_runs_differs_unless_a_seed_is_given(here: Path):
    for out in ("one", "two"):
        make(out, private={"seed": None})
    assert Path("one/model.safetensors").read_bytes() != Path("two/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer": {"kind": "bpe"}}, "a tokenizer that is learnt from the same text has no noise"),
        ({"tokenizer": {"kind": "character"}}, "give .*tokenizer, a folder or a model.* or .*tokenizer.kind = 'byte'"),
        ({"training": {"steps": None, "max_seconds": 3}}, "private needs a number of steps"),
        ({"training": {"compile": True}}, "private reads a random number of rows"),
        ({"objective": {"kind": "masked"}}, "private is for objective.kind = 'causal'"),
        ({"data": {"hold_out": "end"}}, "data.hold_out = 'end' measures on the ends of documents that are learnt"),
        ({"model": {"family": "lmworks"}, "ngrams": {"longest": 2}}, "ngrams.longest counts the text"),
        ({"model": {"tied": False}, "embedding": {"source": "glove"}}, "embedding.source = 'glove' learns from the"),
        ({"model": {"family": "lmworks", "tied": False, "adaptive_cutoffs": [50]}}, "model.adaptive_cutoffs counts"),
        ({"model": {"family": "mixtral", "experts": {"count": 2}}}, "private training does not go with experts"),
        ({"private": {"epsilon": 8.0}}, "private.epsilon and private.noise contradict"),
    ],
)
def test_a_recipe_that_would_not_be_private_is_refused(changes: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        recipe(**changes)


def test_a_delta_that_protects_nobody_is_refused(here: Path):
    with pytest.raises(ConfigError, match=r"private.delta is 0.5, and with \d+ documents"):
        make(private={"delta": 0.5})


def test_a_recipe_without_it_says_nothing_of_it():
    assert "private" not in TrainRecipe().model_dump() and TrainRecipe(**TrainRecipe().model_dump()) == TrainRecipe()
    assert TrainRecipe(**recipe().model_dump()) == recipe()

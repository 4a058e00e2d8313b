"""What `method` in a recipe of build decides: what is trained, what is saved, and what it may add to loss and text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from jobs.small_builds import contents, logits, recipe, stopped
from lmworks.adaptation.declaration import Setup
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.rounding_error import Inputs, inputs_of
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.jobs.build import build
from lmworks.jobs.merge import merge
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.network import Network
from lmworks.objectives import L2, CausalLM
from lmworks.tokens.batch import Example, Row
from lmworks.training.optimiser import trainable


def test_a_stopped_run_of_qlora_goes_on_from_its_adapters_and_not_from_their_start(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    def apart(network: Network, _: object, rows: list[Row]) -> Inputs:  # a stop counts uses of the run's objective
        return inputs_of(network, CausalLM(), rows)

    monkeypatch.setattr("lmworks.adaptation.rounding_error.inputs_of", apart)
    straight = build(out="straight", recipe=recipe("qlora", steps=6))
    stopped(recipe("qlora", steps=6), monkeypatch)
    resumed = build(out="out", recipe=recipe("qlora", steps=6), resume=True)
    assert resumed.training.losses == straight.training.losses[3:]
    adapters = [contents(Path(one))["adapter_model.safetensors"] for one in ("out", "straight")]
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("merge", [False, True])
def test_full_trains_every_weight_and_saves_a_whole_model(merge: bool, here: Path):
    result = build(out="out", recipe=recipe("full"), merge=merge)
    facts = json.loads(Path("out/lmworks.json").read_text())
    assert result.whole and facts["recipe"]["method"] == "full" and "lora" not in facts["recipe"]
    assert not Path("out/adapter_config.json").exists() and result.weight_bytes > 10_000
    back, base = load("out"), LanguageModel.load("base")
    assert torch.equal(logits(back), logits(result.model))
    unmoved = [
        name
        for (name, ours), theirs in zip(back.network.named_parameters(), base.network.parameters(), strict=True)
        if torch.equal(ours, theirs)
    ]
    assert unmoved == [] and [one.text for one in result.comparisons] == ["held-out text", "general text"]


def test_full_learns_more_than_an_adapter_of_rank_2(here: Path):
    full, adapter = (
        build(out=method, recipe=recipe(method, steps=40, learning_rate=3e-3)) for method in ("full", "lora")
    )
    assert full.comparisons[0].change == "better"
    assert full.moved.value > adapter.moved.value > 0 and full.moved in full.measurements
    assert full.comparisons[0].after.value < adapter.comparisons[0].after.value


def test_a_stopped_full_run_goes_on_as_if_it_had_not_been_stopped(here: Path, monkeypatch: pytest.MonkeyPatch):
    straight = build(out="straight", recipe=recipe("full", steps=6))
    stopped(recipe("full", steps=6), monkeypatch)
    with pytest.raises(ConfigError, match=r"^method is 'lora' and was 'full' when the run was started"):
        build(out="out", recipe=recipe(steps=6), resume=True)
    resumed = build(out="out", recipe=recipe("full", steps=6), resume=True)
    assert resumed.training.losses == straight.training.losses[3:]
    assert contents(Path("out"))["model.safetensors"] == contents(Path("straight"))["model.safetensors"]


def test_the_drift_of_whole_weights_is_from_the_base_as_it_is_on_disk(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LMWORKS_DATA", "")
    monkeypatch.setenv("LMWORKS_CACHE", str(here.parent / "empty-cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    chosen = recipe("full")
    result = build(out="out", recipe=chosen.but(data=chosen.data.but(general="wikitext2")))
    assert result.drift is not None and result.drift.value > 0.01


@pytest.mark.parametrize("method", ["bottleneck", "prompt"])
def test_what_fits_into_no_weight_is_saved_beside_its_base_and_never_merged(method: str, here: Path):
    result = build(out="out", recipe=recipe(method))
    facts = json.loads(Path("out/adapter_config.json").read_text())
    assert not result.whole and Path(facts["base_model_name_or_path"]).name == "base"
    back = load("out")
    assert torch.equal(logits(back), logits(result.model)) and back.runner.name == "PyTorch"
    assert (logits(back) - logits(LanguageModel.load("base"))).abs().max() > 1e-3
    lines: list[str] = []
    with pytest.raises(ConfigError, match=rf"^what {method} learns fits into no weight.*leave out --merge"):
        build(out="merged", recipe=recipe(method), merge=True, say=lines.append)
    assert not lines and not Path("merged").exists()
    with pytest.raises(ConfigError, match="so it cannot be merged; use the adapter beside its base"):
        merge(["out"], "merged")
    assert not Path("merged").exists()


def test_a_method_that_does_not_fit_the_model_is_refused_before_anything_is_measured(here: Path):
    lines: list[str] = []
    with pytest.raises(ConfigError, match=r"^lora\.targets: this model has no projection query; it has down_proj, "):
        build(out="out", recipe=recipe(), changes=["lora.targets=['query']"], say=lines.append)
    assert not any(line.startswith("to train") for line in lines) and not Path("out.run/before.json").exists()


def test_a_method_may_add_a_penalty_to_the_loss_and_mix_rows_in(here: Path, monkeypatch: pytest.MonkeyPatch):
    """As what keeps old skills does: rehearsal adds rows, EWC and KL add to the loss."""
    full = METHODS["full"]

    def prepare(setup: Setup, settings: Config) -> Setup:
        setup = full.prepare(setup, settings)
        old = Example([1, 2, 3, 4], [False, True, True, True], "an old skill")
        return dataclasses.replace(setup, objective=setup.objective + L2(1.0), rows=[*setup.rows, (old,), (old,)])

    plain = build(out="plain", recipe=recipe("full"))
    monkeypatch.setitem(METHODS, "full", dataclasses.replace(full, prepare=prepare))
    result = build(out="out", recipe=recipe("full"))
    rows = [json.loads(Path(out, "log.jsonl").read_text().splitlines()[0])["rows"] for out in ("plain", "out")]
    assert rows[1] == rows[0] + 2
    assert result.training.losses[0] > plain.training.losses[0] + 1  # half the sum of all squares is much more


def test_what_a_method_prepares_on_the_meta_device_is_what_it_trains(here: Path):
    """So a plan can count it, and a misfit is told early."""
    network = LanguageModel.load("base").network
    for name, method in METHODS.items():
        with torch.device("meta"):
            sketch = type(network)(network.config)
        settings = method.settings(**({"size": 8} if name == "bottleneck" else {}))  # narrower than the base
        counted = method.prepare(Setup(sketch, None, []), settings).network  # type: ignore[arg-type]
        real = method.prepare(Setup(LanguageModel.load("base").network, None, []), settings).network  # type: ignore[arg-type]
        shapes = [{key: one.shape for key, one in trainable(of).items()} for of in (counted, real)]
        assert shapes[0] == shapes[1] and shapes[0], name

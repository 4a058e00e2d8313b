"""A method that the planner has no sum for is planned by what it prepares: equal to the sums, and to a real step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from jobs.planning.live import LiveBytes
from lmworks.adaptation.declaration import Chosen, Method, Setup
from lmworks.adaptation.elastic import Elastic
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.near_base import NearBase, base_predictions
from lmworks.adaptation.retention import RETENTIONS
from lmworks.adaptation.springs import springs_of
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning.adapting import adapted_memory, method_flops, trained_by
from lmworks.jobs.planning.devices import find_device
from lmworks.jobs.planning.flops import forward_flops
from lmworks.jobs.planning.memory import Formats, training_memory
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.plan import make_plan
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.planning.timing import step_seconds
from lmworks.jobs.planning.workload import made_up, usual_objective
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.tokens.batch import Example
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.optimiser import trainable
from lmworks.training.settings import TrainingConfig

SHAPE = {"vocab_size": 400, "dim": 64, "layers": 3, "heads": 4, "hidden_dim": 96, "context": 80}
DECODER = ModelConfig(**SHAPE)
ENCODER = ModelConfig(**SHAPE, arrangement="encoder", family="lmworks")
TRAINING = TrainingConfig(context=64, rows=3)


class NormsConfig(Config):
    """No settings."""


class InsideConfig(Config):
    """A setting."""

    inside: bool = False


def only_norms(setup: Setup, settings: NormsConfig) -> Setup:
    for name, parameter in setup.network.named_parameters():
        parameter.requires_grad_("norm" in name)
    return setup


NORMS = Chosen(Method("norms", "the norms alone", NormsConfig, only_norms), NormsConfig())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["full", "lora"])
def test_it_is_the_memory_of_the_methods_that_have_a_sum(name: str, dtype: str):
    chosen = Chosen(METHODS[name], METHODS[name].settings())
    lora = chosen.settings if name == "lora" else None
    objective = usual_objective(ENCODER)
    wanted = training_memory(
        ENCODER, TRAINING, Formats.of(dtype, adapters=name == "lora"), lora=lora, objective=objective
    )
    found = adapted_memory(ENCODER, TRAINING, dtype, chosen, objective=objective)
    assert found.peak == pytest.approx(wanted.peak, rel=1e-4) and found.moment == wanted.moment


def test_the_peak_is_that_of_a_real_step():
    network = only_norms(Setup(Network(DECODER).initialise(), None, []), NormsConfig()).network  # type: ignore[arg-type]
    choose_blocks(network.train(), False)
    objective, batch = made_up(DECODER, usual_objective(DECODER), 3, 64)
    with LiveBytes(network.parameters()) as live:
        objective(network, batch).mean.backward()
    trained = sum(one.numel() for one in trainable(network).values())
    found = adapted_memory(DECODER, TRAINING, "float32", NORMS, objective=usual_objective(DECODER))
    assert trained_by(DECODER, NORMS) == trained == (2 * 3 + 1) * 64
    assert found.peak == pytest.approx(live.peak + 2 * 4 * trained, abs=64)  # and two moments


WAYS = {
    "full": ("full", {}, "nothing"),
    "last_layers": ("last_layers", {"layers": 1}, "nothing"),
    "lora": ("lora", {"rank": 4}, "nothing"),
    "dora": ("dora", {"rank": 4}, "nothing"),
    "qlora": ("qlora", {"rank": 4}, "nothing"),
    "bottleneck": ("bottleneck", {"size": 8}, "nothing"),
    "prompt": ("prompt", {"length": 4}, "nothing"),
    "lora, kl": ("lora", {"rank": 4}, "kl"),
    "full, kl": ("full", {}, "kl"),
    "bottleneck, kl": ("bottleneck", {"size": 8}, "kl"),
    "lora, ewc": ("lora", {"rank": 4}, "ewc"),
    "dora, ewc": ("dora", {"rank": 4}, "ewc"),
    "qlora, ewc": ("qlora", {"rank": 4}, "ewc"),
    "full, ewc": ("full", {}, "ewc"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_method_and_retention_is_planned_as_a_real_step_takes(way: str):
    name, settings, kept_by = WAYS[way]
    method, retention = METHODS[name], RETENTIONS[kept_by]
    chosen = Chosen(method, method.settings(**settings), retention, retention.settings())
    objective, batch = made_up(DECODER, usual_objective(DECODER), 3, 64)
    network = Network(DECODER).initialise()
    setup = chosen.prepare(Setup(network, objective, []))
    frozen = [one for one in network.modules() if isinstance(one, FrozenLinear)]
    besides = [one for layer in frozen for one in vars(layer.packed).values() if isinstance(one, torch.Tensor)]
    if kept_by == "ewc":
        springs = springs_of(network, [(Example(list(range(8)), [False] + [True] * 7, "old"),)], 0)
        setup = replace(setup, objective=setup.objective + Elastic(springs, 1.0))
        besides += [one for spring in springs for one in (spring.stiffness, spring.rest) if one is not None]
    elif kept_by == "kl":
        base = base_predictions(network, None if method.adapter is None else method.adapter.off)
        setup = replace(setup, objective=NearBase(strength=1.0, base=base))
    choose_blocks(network.train(), False)
    copies = chosen.kept(network) if kept_by == "kl" else 0  # which LiveBytes cannot see
    with LiveBytes([*network.parameters(), *besides]) as live:
        setup.objective(network, batch).mean.backward()
    trained = sum(one.numel() for one in trainable(network).values())
    found = adapted_memory(DECODER, TRAINING, "float32", chosen, objective=usual_objective(DECODER))
    print(f"{way}: planned {found.peak:,.0f} live {live.peak + 8 * trained + copies:,.0f}")
    assert found.peak == pytest.approx(live.peak + 8 * trained + copies, rel=0.05)


def test_more_last_layers_than_are_followed_or_timed_are_planned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmworks.jobs.planning.followed.MOST", 4)
    deep = DECODER.but(layers=6)
    chosen = [Chosen(METHODS["last_layers"], METHODS["last_layers"].settings(layers=count)) for count in (1, 3, 5)]
    sizes = [adapted_memory(deep, TRAINING, "float32", one, objective=usual_objective(deep)).peak for one in chosen]
    assert sizes == sorted(sizes) and sizes[2] > 1.5 * sizes[0]
    assert step_seconds(deep, TRAINING, "float32", chosen[1]) is None


def test_a_plan_shows_the_method_of_its_recipe_beside_the_usual_ways(tmp_path):
    tiny.language_model(seed=4, context=512, dim=96).save(tmp_path / "tiny")
    subject = read_subject(str(tmp_path / "tiny"))
    assert subject.chosen is not None and subject.chosen.method is METHODS["lora"]
    plan = make_plan(replace(subject, chosen=NORMS), find_device("2x L4"))
    ways = {way.name: way for way in plan.ways}
    norms, full = ways["norms"], ways["full"]
    assert plan.asked is norms
    assert norms.memory.peak < full.memory.peak and norms.flops.all < full.flops.all
    assert 0 < norms.trained < full.trained and norms.memory.peak == sum(norms.memory.at_peak.values())
    kept = replace(subject.chosen, retention=RETENTIONS["kl"], kept_by=RETENTIONS["kl"].settings())
    beside = make_plan(replace(subject, chosen=kept), find_device("2x L4"))
    assert beside.asked.name == "lora, kl" and {way.name for way in beside.ways} >= {"full, kl", "bottleneck, kl"}


def test_a_method_that_declares_itself_is_in_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kinds = {"inside": {"inside": True}, "all": {"inside": False}}
    norms = replace(NORMS.method, settings=InsideConfig, kinds=kinds)
    monkeypatch.setattr("lmworks.jobs.planning.ways.METHODS", METHODS | {"norms": norms})
    tiny.language_model(seed=4, context=512).save(tmp_path / "tiny")
    ways = {way.name for way in make_plan(read_subject(str(tmp_path / "tiny")), find_device("2x L4")).ways}
    assert {"norms, inside", "norms, all", "lora", "full"} <= ways


def test_work_is_counted_as_far_as_gradients_go_back():
    deep = DECODER.but(layers=6)
    one = {
        name: method_flops(deep, TRAINING, usual_objective(deep), Chosen(METHODS[name], METHODS[name].settings()))
        for name in ("full", "lora", "prompt", "last_layers")
    }
    forward = forward_flops(deep, count_parameters(deep), 64)
    assert one["full"].matrices == 3 * forward.matrices and one["prompt"].matrices == 2 * forward.matrices
    assert one["last_layers"].matrices == pytest.approx((1 + 2 * 2 / 6) * forward.matrices)
    assert one["last_layers"].attention == pytest.approx((1 + 2 * 2 / 6) * forward.attention)
    assert one["prompt"].matrices < one["lora"].matrices < one["full"].matrices
    beside = Chosen(METHODS["full"], METHODS["full"].settings(), RETENTIONS["kl"], RETENTIONS["kl"].settings())
    assert method_flops(deep, TRAINING, usual_objective(deep), beside).all == one["full"].all + forward.all


def test_a_trained_prompt_takes_more_where_a_row_holds_more_texts():
    def peak(name: str, documents: int) -> float:
        settings = METHODS[name].settings(**({"length": 8} if name == "prompt" else {}))
        chosen, objective = Chosen(METHODS[name], settings), usual_objective(DECODER)
        return adapted_memory(DECODER, TRAINING, "float32", chosen, objective=objective, documents=documents).peak

    assert peak("prompt", 8) > 1.15 * peak("prompt", 1) and peak("dora", 8) == peak("dora", 2)


def test_a_rank_that_no_matrix_has_is_refused_before_its_values_are_drawn():
    lora = METHODS["lora"].settings(rank=10**9)
    for count in (lambda: trained_by(DECODER, Chosen(METHODS["lora"], lora)), lambda: count_parameters(DECODER, lora)):
        with pytest.raises(ConfigError, match=r"rank is 1,000,000,000, and no update of .* above 64; take a"):
            count()
    widest = METHODS["lora"].settings(rank=64)
    assert trained_by(DECODER, Chosen(METHODS["lora"], widest)) == count_parameters(DECODER, widest).adapters > 10**5

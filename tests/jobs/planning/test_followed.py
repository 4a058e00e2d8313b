"""Encoders, encoder-decoders and other blocks: what is followed on tensors without values is what a real step does, but
for a number or two that one way makes and the other has."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.planning.live import LiveBytes
from jobs.planning.test_activations import GPT2, TYPES
from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.adaptation.methods import METHODS
from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning import followed
from lmworks.jobs.planning.devices import find_device
from lmworks.jobs.planning.flops import forward_flops, training_flops
from lmworks.jobs.planning.followed import Followed, follow
from lmworks.jobs.planning.memory import Formats, training_memory
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.plan import make_plan
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.planning.workload import made_up, row_of, usual_objective
from lmworks.jobs.recipe import Recipe
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.optimiser import trainable

SIZES = {"vocab_size": 300, "dim": 48, "layers": 2, "heads": 4, "context": 128}


def of_kind(kind: str, **changes: Any) -> tuple[ModelConfig, ObjectiveSettings]:
    """The network that a recipe of this kind of objective trains, small."""
    objective = ObjectiveSettings(kind=kind)
    classes = {"labels": ("one", "other")} if kind == "classification" else {}
    settings = SIZES | {"arrangement": objective.part.arrangement} | dict(objective.part.network) | classes | changes
    return ModelConfig(**settings), objective


CASES = {
    "masked": of_kind("masked", dropout=0.1),
    "masked, pairs": of_kind("masked+next-sentence"),
    "classification": of_kind("classification", dropout=0.1),
    "translation": of_kind("seq2seq", encoder_layers=3, dropout=0.1),
    "spans": of_kind("spans", encoder_layers=1),
    "alibi": of_kind("causal", family="lmworks", positions="alibi"),
    "gpt_neox": of_kind("causal", **GPT2 | {"family": "gpt_neox", "positions": "rope", "parallel": True}, rotary_dim=4),
}
each = pytest.mark.parametrize("name", CASES)


def prepared(config: ModelConfig, dtype: str, lora: LoRAConfig | None, recompute: bool) -> Network:
    network = Network(config).initialise().to(TYPES[dtype])
    if lora is not None:
        add_lora(network, lora)
    choose_blocks(network.train(), recompute)
    return network


WAYS = [(name, *way) for name in CASES for way in (("bfloat16", False), ("float32", True))]
WAYS += [("alibi", "float32", False), ("gpt_neox", "float32", False), ("translation", "bfloat16", True)]


@pytest.mark.parametrize(("name", "dtype", "recompute"), WAYS)
def test_the_peak_is_that_of_a_real_micro_batch(name: str, dtype: str, recompute: bool):
    config, settings = CASES[name]
    network = prepared(config, dtype, None, recompute)
    objective, batch = made_up(config, settings, 3, 64)
    with LiveBytes(network.parameters()) as live:
        objective(network, batch).mean.backward()
    weights = sum(one.nbytes for one in network.parameters())
    found = follow(config, settings, 3, 64, TYPES[dtype], recompute=recompute)
    assert weights + max(sum(found.forward.values()), sum(found.backward.values())) == pytest.approx(live.peak, abs=64)
    assert found.kept <= sum(found.forward.values()) and 0 < found.turnover < live.peak


@pytest.mark.parametrize("name", ["masked", "translation", "spans"])
def test_so_it_is_with_adapters_and_after_another_micro_batch(name: str):
    config, settings = CASES[name]
    lora = LoRAConfig(rank=4)
    network = prepared(config, "float32", lora, False)
    objective, batch = made_up(config, settings, 3, 64)
    objective(network, batch).mean.backward()
    gradients = [one.grad for one in trainable(network).values()]
    with LiveBytes([*network.parameters(), *gradients]) as live:
        objective(network, batch).mean.backward()
    weights = sum(one.nbytes for one in network.parameters())
    found = follow(config, settings, 3, 64, torch.float32, chosen=Chosen(METHODS["lora"], lora), accumulates=True)
    assert weights + max(sum(found.forward.values()), sum(found.backward.values())) == pytest.approx(
        live.peak, rel=1e-3
    )
    assert found.forward["gradients"] == sum(one.nbytes for one in gradients)


@each
def test_what_comes_and_goes_within_a_block_is_none_of_the_head_s(name: str):
    config, settings = CASES[name]
    few, many = (follow(config.but(vocab_size=size), settings, 3, 64, torch.float32).turnover for size in (300, 3000))
    assert 0 < few == many


@pytest.mark.parametrize("name", ["masked", "translation"])
def test_many_blocks_are_continued_from_some(name: str, monkeypatch: pytest.MonkeyPatch):
    config, settings = CASES[name]
    deep = config.but(layers=9, **({"encoder_layers": 7} if config.arrangement == "encoder-decoder" else {}))
    whole = follow(deep, settings, 2, 32, torch.float32)
    monkeypatch.setattr(followed, "MOST", 4)
    follow.cache_clear()
    continued: Followed = follow(deep, settings, 2, 32, torch.float32)
    follow.cache_clear()
    assert continued.kept == pytest.approx(whole.kept, rel=1e-3)
    for mine, theirs in ((continued.forward, whole.forward), (continued.backward, whole.backward)):
        assert sum(mine.values()) == pytest.approx(sum(theirs.values()), rel=0.01)


def test_long_rows_are_continued_from_shorter_ones(monkeypatch: pytest.MonkeyPatch):
    config, settings = ModelConfig(**SIZES), ObjectiveSettings()
    chosen = Recipe(method="lora", retain="kl").chosen

    def of_rows(context: int) -> Followed:
        follow.cache_clear()
        return follow(config, settings, 2, context, torch.float32, chosen=chosen, by_hand=False)

    whole = of_rows(2048)
    monkeypatch.setattr(followed, "LONGEST", 1024)
    monkeypatch.setattr(followed, "SHORTER", (256, 512))
    continued, endless = of_rows(2048), of_rows(10**8)
    follow.cache_clear()
    assert continued.kept == pytest.approx(whole.kept, rel=1e-3)
    for mine, theirs in ((continued.forward, whole.forward), (continued.backward, whole.backward)):
        assert sum(mine.values()) == pytest.approx(sum(theirs.values()), rel=0.01)
    assert endless.kept > 1e5 * whole.kept


@each
def test_parameters_are_those_of_a_real_network(name: str):
    config, _ = CASES[name]
    with torch.device("meta"):
        network = Network(config)
    counted, lora = count_parameters(config), LoRAConfig(rank=3)
    assert counted.base == sum(one.numel() for one in network.parameters())
    add_lora(network, lora)
    assert count_parameters(config, lora).adapters == sum(one.numel() for one in trainable(network).values())


@each
def test_operations_are_those_that_torch_counts(name: str):
    """With attention by the formula, which torch counts whole, and so seen in full by a decoder."""
    config, settings = CASES[name]
    config = config.but(dropout=0.0)
    network = Network(config).initialise().train()
    network.attention_kernel = "explicit"
    objective, batch = made_up(config, settings, 2, 64)
    with FlopCounterMode(display=False) as counter:
        objective(network, batch).mean.backward()
    row = row_of(settings, 64)
    planned = training_flops(config, count_parameters(config), 64, row=row)
    unseen = row.tokens * (row.tokens - 1) / 2 * config.layers if config.causal else 0
    hidden = 12 * unseen * config.heads * config.head_dim
    few = 6 * config.dim * (config.dim + 2)  # pooler and classifier, of one state a row
    few += 6 * row.predicted * config.vocab_size  # the head's bias, as one more input
    assert planned.all + hidden <= counter.get_total_flops() / 2 <= planned.all + hidden + few


def test_a_source_is_read_once_and_a_row_predicts_what_its_objective_says():
    config, settings = CASES["spans"]
    row = row_of(settings, 100)
    assert (row.tokens, row.source, row.predicted) == (
        22,
        91,
        22,
    )  # 15 tokens in 5 cuts; start or end, one sentinel more
    parameters = count_parameters(config)
    both = forward_flops(config, parameters, 100)
    assert forward_flops(config, parameters, 100, row).all < both.all / 1.5
    assert row_of(ObjectiveSettings(kind="masked", share=0.2), 100).predicted == 20
    kinds = [usual_objective(CASES[name][0]).kind for name in ("masked", "classification", "translation", "alibi")]
    assert kinds == ["masked", "classification", "seq2seq", "causal"]


@pytest.mark.parametrize("recipe", ["bert-mini", "classify", "summarize", "translate-en-de"])
def test_shipped_recipes_are_planned(recipe: str):
    plan = make_plan(read_subject(recipe, ["training.rows=2"]), find_device("H100"))
    whole, serving = plan.ways
    assert (whole.name, serving.name) == ("from nothing", "serving")
    assert whole.memory.peak > serving.memory.peak > 0 and all(way.flops.all > 0 for way in plan.ways)
    assert any("shorter texts take less" in note for note in plan.besides)


@pytest.mark.parametrize(("arrangement", "kind"), [("encoder", "masked"), ("encoder-decoder", "seq2seq")])
def test_a_model_that_nothing_adapts_is_planned_by_the_sum_that_is_measured(arrangement: str, kind: str, tmp_path):
    """test_measured.py holds that sum beside processes."""
    tiny.language_model(context=64, arrangement=arrangement, family="lmworks").save(tmp_path / "one")
    plan = make_plan(read_subject(str(tmp_path / "one"), ["training.rows=2", "training.context=64"]), find_device("L4"))
    training, objective = plan.subject.training, ObjectiveSettings(kind=kind)
    wanted = training_memory(plan.subject.model, training, Formats.of("bfloat16"), objective=objective, cuda=True)
    assert [way.name for way in plan.ways] == ["from nothing", "serving"] and plan.asked is plan.ways[0]
    assert plan.asked.memory.peak == wanted.peak and training.rows == 2


def test_an_encoder_decoder_is_planned_for_this_machine():
    plan = make_plan(
        read_subject("summarize", ["training.rows=2", "model.context=64", "training.context=64", "model.dim=64"]),
        find_device("cpu"),
    )
    assert all(way.timed and way.seconds > 0 and way.tokens_per_second > 0 for way in plan.ways)
    assert plan.to_json()["cache_bytes_per_token"] > 0


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        ("translate-en-de-lstm", [], "is a recurrent network, and plans count transformers; train it for a few steps"),
        ("translate-en-de", ["model.family=lmworks", "model.experts.count=4"], "experts are counted in decoders"),
    ],
)
def test_what_is_not_counted_is_one_sentence(recipe: str, changes: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        make_plan(read_subject(recipe, changes), find_device("H100"))

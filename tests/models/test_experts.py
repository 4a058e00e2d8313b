"""Mixture of experts: against a loop that computes every expert for every token, and what must hold of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ExpertSettings, ModelConfig
from lmworks.models.experts import Experts, expert_layers
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.hooks import hooked

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS: dict[str, dict[str, Any]] = {
    "two of six": {},
    "one of six, not normalised": {"top_k": 1, "normalised": False},
    "all of them": {"top_k": 6},
    "sigmoid": {"scores": "sigmoid"},
    "sigmoid, not normalised": {"scores": "sigmoid", "normalised": False},
    "a shared one": {"shared_dim": 20},
    "a gated shared one": {"shared_dim": 20, "shared_gate": True},
    "louder": {"scale": 2.5},
    "chosen by a bias": {"bias_rate": 0.05},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def layer(seed: int = 0, dim: int = 16, **chosen: Any) -> Experts:
    """An expert layer with random weights, in evaluation mode."""
    config = ModelConfig(
        vocab_size=8,
        dim=dim,
        layers=1,
        heads=2,
        context=8,
        experts=ExpertSettings(**({"count": 6, "hidden_dim": 24} | chosen)),
    )
    made = Experts(config)
    tiny.randomise(made, seed)
    if made.settings.bias_rate:
        made.router.lifts.copy_(torch.tensor([40, -40, 0, 7, 0, -7]))
    return made.eval()


def dense_loop(made: Experts, x: Tensor) -> Tensor:
    """Every expert for every token, weighed by hand; autograd goes through all of it."""
    settings = made.settings
    logits = x @ made.router.weight.T
    scores = logits.softmax(-1) if settings.scores == "softmax" else logits.sigmoid()
    preferred = scores + settings.bias_rate * made.router.lifts if settings.bias_rate else scores
    out = []
    for row in range(len(x)):
        chosen = sorted(range(settings.count), key=lambda expert: -float(preferred[row, expert].detach()))[
            : settings.top_k
        ]
        weights = scores[row, chosen]
        if settings.normalised:
            weights = weights / weights.sum()
        weights = weights * settings.scale
        result = sum(weight * made.experts[expert](x[row]) for weight, expert in zip(weights, chosen, strict=True))
        if made.shared is not None:
            gate = torch.sigmoid(x[row] @ made.shared_gate.weight[0]) if made.shared_gate is not None else 1
            result = result + gate * made.shared(x[row])
        out.append(result)
    return torch.stack(out)


def text(rows: int, dim: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(1, rows, dim, generator=torch.Generator().manual_seed(seed))


@each_kind
@pytest.mark.parametrize("rows", [1, 2, 37])
def test_the_sorted_rows_give_what_a_loop_over_all_experts_gives(kind: str, rows: int):
    made, x = layer(**KINDS[kind]), text(rows)
    with torch.no_grad():
        torch.testing.assert_close(made(x)[0], dense_loop(made, x[0]), **CLOSE)


@each_kind
@pytest.mark.parametrize("training", [False, True])
def test_gradients_equal_those_of_the_loop(kind: str, training: bool):
    made = layer(**KINDS[kind]).train(training)
    found, wanted = [], []
    for run, kept in ((lambda x: made(x)[0], found), (lambda x: dense_loop(made, x[0]), wanted)):
        x = text(23).requires_grad_()
        made.zero_grad()
        (run(x) * torch.linspace(0.1, 1, 16)).sum().backward()
        kept += [x.grad, *(one.grad for one in made.parameters())]
    for one, other in zip(found, wanted, strict=True):
        if one is None:  # in evaluation an expert that was not chosen has none
            assert other is None and not training
        else:
            torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, **CLOSE)
    assert made.router.weight.grad.abs().sum() > 0


def test_in_training_every_expert_has_a_gradient_also_without_a_row():
    made = layer(top_k=1, normalised=False).train()
    made(text(1)).sum().backward()
    gradients = [expert.up.weight.grad for expert in made.experts]
    assert all(gradient is not None for gradient in gradients)
    assert sum(bool(gradient.abs().sum()) for gradient in gradients) == 1


def watched(made: Experts, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows that each expert computed, and those that found no place."""
    seen: dict[str, list[Tensor]] = {"load": [], "dropped": []}
    with hooked(made, {name: kept.append for name, kept in seen.items()}):
        made(x, real)
    return seen["load"][0], seen["dropped"][0]


@settings(max_examples=40)
@given(rows=st.integers(1, 60), top_k=st.integers(1, 6), seed=st.integers(0, 99))
def test_tokens_routed_are_tokens_times_k(rows: int, top_k: int, seed: int):
    """Pitfall 16."""
    made = layer(seed, top_k=top_k)
    load, dropped = watched(made, text(rows, seed=seed))
    assert int(load.sum()) == rows * top_k and not dropped.any()
    assert len(load) == 6 and int(load.max()) <= rows


@settings(max_examples=40)
@given(rows=st.integers(1, 60), capacity=st.floats(0.1, 3.0), seed=st.integers(0, 99))
def test_with_a_capacity_what_is_dropped_is_known(rows: int, capacity: float, seed: int):
    made = layer(seed, capacity=capacity).train()
    load, dropped = watched(made, text(rows, seed=seed))
    places = made.places(rows)
    assert int(load.sum() + dropped.sum()) == rows * 2
    assert int(load.max()) <= places and not dropped[load < places].any()


def test_a_dropped_token_adds_nothing_and_the_first_ones_stay():
    made = layer(top_k=1, capacity=1.0).train()
    x = text(1).expand(1, 12, 16).contiguous()  # all alike: one expert is asked for everything, and has two places
    out = made(x)[0]
    assert out[:2].abs().sum() > 0 and torch.equal(out[0], out[1])
    assert not out[2:].any()
    torch.testing.assert_close(made.eval()(x)[0], out[:1].expand(12, 16), **CLOSE)  # in evaluation nothing is dropped


def test_places_are_the_capacity_times_an_even_share_of_the_rows_sent():
    assert layer(capacity=1.0).train().places(10) == 4  # 10 rows, each to two of six: 3.3
    assert layer(capacity=1.5).train().places(12) == 6


def test_a_later_token_takes_no_place_from_an_earlier_one():
    """Else a text's end would change what its beginning learns."""
    made = layer(capacity=0.5).train()
    x = text(24)
    other = x.clone()
    other[:, 12:] = text(12, seed=5)
    torch.testing.assert_close(made(x)[:, :12], made(other)[:, :12], **CLOSE)
    assert watched(made, x)[1].any()


def test_padding_is_sent_nowhere():
    made, x = layer(), text(10)
    real = torch.tensor([[True] * 6 + [False] * 4])
    load, _ = watched(made, x, real)
    assert int(load.sum()) == 6 * 2
    out = made(x, real)
    torch.testing.assert_close(out[:, :6], made(x[:, :6]), **CLOSE)
    assert not out[:, 6:].any()


def test_padding_in_packed_rows_is_sent_nowhere_either():
    network = tiny.network(experts={"count": 4})
    seen: list[Tensor] = []
    with hooked(network, {"blocks.1.feed_forward.load": seen.append}), torch.no_grad():
        network(tiny.text(1, 10), documents=torch.tensor([[0] * 3 + [1] * 4 + [-1] * 3]))
        network(tiny.text(1, 10), torch.arange(10)[None] > 3)
        network(tiny.text(1, 10))
    assert [int(load.sum()) for load in seen] == [14, 12, 20]


def test_a_bias_chooses_and_does_not_weigh():
    made, x = layer(bias_rate=0.01), text(40)
    made.router.lifts.zero_()
    plain = made(x)
    made.router.lifts.fill_(3)  # the same for all: nobody is preferred
    torch.testing.assert_close(made(x), plain, rtol=0, atol=0)
    made.router.lifts[4] = 10_000
    load, _ = watched(made, x)
    assert int(load[4]) == 40


def test_a_moved_bias_levels_the_load():
    made, x = layer(bias_rate=0.01), text(200) + text(1, seed=8)  # what all share makes some experts popular
    made.router.lifts.zero_()
    loads = []
    for _ in range(60):
        loads.append(watched(made, x)[0])
        made.router.move_bias(loads[-1])
    assert loads[-1].double().std() < 0.3 * loads[0].double().std()
    assert int(loads[-1].sum()) == 400


def test_the_bias_does_not_round_away_in_bfloat16():
    made = layer(bias_rate=0.001).bfloat16()
    made.router.lifts.fill_(1000)
    made.router.move_bias(torch.tensor([0, 0, 0, 9, 9, 9]))
    assert made.router.lifts.tolist() == [1001] * 3 + [999] * 3


@pytest.mark.parametrize("family", ["mixtral", "lmworks"])
def test_experts_survive_saving(family: str, tmp_path: Path):
    own = {"bias_rate": 0.01, "capacity": 1.5, "shared_dim": 20, "layers": (1,)} if family == "lmworks" else {}
    network = tiny.network(family=family, experts={"count": 4} | own)
    for _, made in expert_layers(network):
        if made.settings.bias_rate:
            made.router.lifts.copy_(torch.tensor([5, -3, 2, 0]))
    write_network(tmp_path, network)
    back = read_network(tmp_path)
    assert back.config == network.config
    torch.testing.assert_close(back.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_fresh_experts_differ_and_have_the_deviations_of_a_feed_forward():
    config = ModelConfig(vocab_size=64, dim=64, layers=2, heads=2, context=8, experts=ExpertSettings(count=4))
    from lmworks.models.network import Network

    made = Network(config).initialise(3).blocks[1].feed_forward
    assert not torch.equal(made.experts[0].up.weight, made.experts[1].up.weight)
    assert made.experts[2].up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert made.experts[2].down.weight.std().item() == pytest.approx(0.02 / 4**0.5, rel=0.05)
    assert made.router.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    "chosen, sentence",
    [
        ({"count": 4, "top_k": 5}, r"top_k \(5\) is more than experts.count \(4\)"),
        ({"count": 4, "shared_gate": True}, "shared_dim = 0 leaves none"),
        ({"count": 4, "layers": (2,)}, "experts.layers names layer 2, and there are 2 layers"),
        ({"count": 4, "layers": ()}, "must name each of its layers once, and at least one"),
        ({"count": 1}, "count"),
        ({"count": 4, "topk": 2}, "experts.topk is not a setting; did you mean"),
    ],
)
def test_settings_that_contradict_are_refused(chosen: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        tiny.network(experts=chosen)

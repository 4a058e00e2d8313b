"""Which inputs of a matrix are multiplied in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

pytest.importorskip("numba")

from frames import numbers

import lmworks as lm
from lmworks.kernels import compiled, unavailable
from lmworks.kernels.outlier_search import LEAST, chosen, column_norms, outliers
from lmworks.kernels.outliers import MOST
from lmworks.kernels.run.weights import is_multiplied
from lmworks.models.config import ModelConfig
from lmworks.models.hooks import hooked
from lmworks.models.linear import Linear
from lmworks.models.network import Network

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)


def error(inputs: torch.Tensor, norms: torch.Tensor, apart: tuple[int, ...] = ()) -> float:
    """What rounding to 8 bits in groups of 32 costs in the mean, as a share of what it costs with nothing apart."""
    left = inputs.clone()
    left[:, list(apart)] = 0
    each = [one.view(len(one), -1, 32).abs().amax(-1) ** 2 @ norms.view(-1, 32).sum(-1) for one in (left, inputs)]
    return float((each[0] / each[1]).mean())


def test_those_are_chosen_that_take_most_of_the_error_away():
    inputs, norms = numbers(200, 96), numbers(96, seed=1).square()
    inputs[:, [7, 8, 70]] *= torch.tensor([60.0, 40.0, 20.0])
    inputs[3, 50] = 300  # one token's is no outlier
    assert chosen(inputs, norms) == (7, 8, 70)
    assert error(inputs, norms, (7, 8, 70)) < 0.1 < error(inputs, norms, (7, 8))


@pytest.mark.parametrize("sizes", [(100.0, 100.0), (100.0, 99.0, 98.0), (50.0, 51.0, 52.0, 53.0)])
def test_several_of_a_group_that_are_as_large_as_each_other(sizes: tuple[float, ...]):
    """None of them takes anything away by itself."""
    inputs, many = numbers(200, 96).clamp(-3, 3), list(range(40, 40 + len(sizes)))
    inputs[:, many] = torch.tensor(sizes) * torch.sign(numbers(200, len(sizes), seed=2))
    assert chosen(inputs, torch.ones(96)) == tuple(many)


def test_no_more_than_there_is_room_for_and_none_where_it_brings_little():
    inputs, norms = numbers(40, 512), torch.ones(512)
    inputs[:, ::32] *= 100.0
    assert len(chosen(inputs, norms)) == MOST
    even = torch.ones(40, 64)
    assert chosen(even, torch.ones(64)) == ()
    only = torch.zeros(40, 64)
    only[:, 5] = 1
    assert chosen(only, torch.ones(64)) == (5,)
    assert LEAST > 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_chooses_nothing(broken: float):
    inputs = numbers(4, 64)
    inputs[2, 3] = broken
    assert chosen(inputs, torch.ones(64)) == ()
    assert chosen(torch.zeros(4, 64), torch.ones(64)) == ()


def test_the_lengths_of_columns_of_a_long_matrix():
    weight = numbers(9000, 32)
    torch.testing.assert_close(column_norms(weight), weight.square().sum(0))


@pytest.mark.parametrize("tied", [True, False])
def test_outliers_of_a_network_are_its_norms_large_ones_whatever_the_threads(
    tied: bool, monkeypatch: pytest.MonkeyPatch
):
    config = ModelConfig(
        family="llama", vocab_size=300, dim=64, layers=2, heads=4, hidden_dim=96, context=32, tied=tied
    )
    network = Network(config).initialise().requires_grad_(False)
    with torch.no_grad():
        network.blocks[1].attention_norm.weight[[5, 40]] = 50
        network.blocks[0].feed_forward_norm.weight[33] = -50
        network.norm.weight[63] = 70
    before = [one.clone() for one in network.parameters()]
    found = outliers(network)
    assert set(found["blocks.1.attention.qkv.weight"]) >= {5, 40}
    assert 33 in found["blocks.0.feed_forward.up.weight"]
    assert 63 in found["embedding.weight" if tied else "head.weight"]
    assert "blocks.0.attention.output.weight" not in found
    threads, seen, hidden = torch.get_num_threads(), [], Network.hidden
    monkeypatch.setattr(Network, "hidden", lambda *a, **b: (seen.append(torch.get_num_threads()), hidden(*a, **b))[1])
    torch.set_num_threads(3)
    try:
        assert outliers(network.train()) == found
        assert torch.get_num_threads() == 3 and seen == [1]
    finally:
        torch.set_num_threads(threads)
    assert network.training
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


def test_experts_have_those_of_their_layer_together():
    """Which of them a token goes to is not known when its values are rounded."""
    mixture = {"experts": {"count": 9, "top_k": 2, "shared_dim": 64}, "layers": 1}
    made = tiny.network(dim=64, hidden_dim=96, **mixture).requires_grad_(False)
    made.blocks[0].feed_forward_norm.weight[[5, 40]] = 60.0
    told: list[int] = []
    found = outliers(made, told.append)
    reading = [
        f"blocks.0.feed_forward.{one}.up.weight" for one in (*(f"experts.{number}" for number in range(9)), "shared")
    ]
    assert all(found[name] == found[reading[0]] for name in reading) and {5, 40} <= set(found[reading[0]])
    assert not any(".experts." in name and "down" in name for name in found)
    assert sum(told) == sum(weight.numel() for name, weight in made.named_parameters() if is_multiplied(name))


def test_the_network_itself_is_not_run():
    """Its users' hooks and its modes have no part in it, and nothing is left behind: no copy of a weight either."""
    network = tiny.network(dim=64, heads=4, hidden_dim=96, dropout=0.5).bfloat16().requires_grad_(False)
    found = outliers(network)
    compiled(network)
    called: list[str] = []
    network.norm.register_forward_hook(lambda *_: called.append("a module's"))
    with hooked(network, {"blocks.0.residual_in": lambda _: called.append("a point's")}):
        network.train()
        assert outliers(network) == found and not called
    assert network.training
    assert not any(one._forward_pre_hooks for one in network.modules())
    assert all(one.product._packed is None for one in network.modules() if isinstance(one, Linear))


@torch.no_grad()
def test_they_bring_the_real_model_nearer_to_float32(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same weights, the same text (this test's own): the divergence from float32 falls to about half."""
    models = {"float32": lm.load("smollm2", dtype="float32"), "apart": lm.load("smollm2")}
    monkeypatch.setattr("lmworks.kernels.packer.outliers", lambda *_: {})
    monkeypatch.setattr(lm.LanguageModel, "_keeper", lambda *_: None)
    models["together"] = lm.load("smollm2")
    tokens = torch.tensor([models["float32"].tokenizer.encode(Path(__file__).read_text(encoding="utf-8"))[:512]])
    logits = {name: model.logits(tokens)[0].log_softmax(-1) for name, model in models.items()}
    wanted = logits["float32"]
    apart, together = (float((wanted.exp() * (wanted - logits[name])).sum(-1).mean()) for name in ("apart", "together"))
    assert 0 < apart < 0.6 * together

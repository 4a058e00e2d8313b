"""Claims 27, 30, 31 and 43: tiny runs give whole findings; their parts against laws."""

from __future__ import annotations

import math

import pytest
import torch

from lab.whole import whole
from lmworks.basics.errors import DataError
from lmworks.lab.bench import hand_gradients, taken_away, through_time
from lmworks.lab.bench.activations import inner_states, share_asleep, wrong_derivatives
from lmworks.lab.bench.block_jacobians import directions, root_mean_square
from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import (
    ARRIVED,
    EDGE,
    LEFT,
    LOST,
    deep_network,
    gradient_by_block,
    left,
    log_arrived,
)
from lmworks.lab.bench.rates import best_rate
from lmworks.lab.bench.small_network import ByteText, byte_text, frequency_bits, windows
from lmworks.lab.contrast import Condition
from lmworks.models.hooks import hooked
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import IGNORE
from lmworks.training.loop import DivergedError

TINY = {
    27: ["layers=2", "dim=8", "tokens=4", "steps=2"],
    30: ["depth=2", "dim=12", "layers=2", "steps=2", "held_out_windows=2"],
    31: ["layers=2", "dim=8", "checked=2", "cost_layers=2", "cost_dim=16"],
    43: ["depth=3", "dim=8", "steps=2", "time_steps=2", "rates=[0.001]", "time_rates=[0.001]"],
}


@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question):
    whole(question, ["text=python-reference", *TINY[question]])


@pytest.fixture(scope="module")
def text():
    return byte_text("python-reference").train


def test_a_batch_of_bytes_is_a_piece_of_the_text_by_seed(text):
    batch, again, other = (byte_batch(text, 32, rows=3, seed=seed) for seed in (1, 1, 2))
    assert batch.tokens.shape == (3, 32) and batch.supervised == 3 * 31
    assert torch.equal(batch.tokens, again.tokens) and not torch.equal(batch.tokens, other.tokens)
    assert torch.equal(batch.labels[:, :-1], batch.tokens[:, 1:]) and (batch.labels[:, -1] == IGNORE).all()
    assert torch.equal(batch.tokens[1:, 0], batch.tokens[:-1, -1])  # neighbours, which share the byte between them
    with pytest.raises(DataError, match="the text has 50 bytes, and a batch takes 94"):
        byte_batch(text[:50], 32, rows=3, seed=0)


def test_lengths_by_block_are_those_of_autograd(text):
    network, batch = deep_network(0, 3, dim=16).double(), byte_batch(text, 32, rows=2, seed=0)
    seen = []

    def keep(activation):
        activation.retain_grad()
        seen.append(activation)

    with hooked(network, {"blocks.1.residual_in": keep, "blocks.2.residual_out": keep}):
        CausalLM()(network, batch).mean.backward()
    lengths = gradient_by_block(network, batch)
    assert len(lengths) == 4
    assert [lengths[1], lengths[3]] == pytest.approx([float(one.grad.norm()) for one in seen])


def test_what_arrives_is_counted_in_powers_of_ten():
    assert left([1e-3, 10.0, 1.0]) == pytest.approx([0, 1, -3])
    assert left([0.0, 1.0]) == [0, -EDGE] and left([math.inf, 1.0]) == [0, EDGE]
    for nothing in (0.0, math.nan, math.inf):
        with pytest.raises(DataError, match="no share can be said to arrive"):
            left([1.0, nothing])


def test_a_rotation_keeps_every_direction_and_an_average_one():
    turn = torch.linalg.qr(torch.randn(2, 6, 6, dtype=torch.float64))[0]
    assert directions(turn) == 1 and root_mean_square(turn) == pytest.approx(1)
    average = torch.full((1, 6, 6), 1 / 6, dtype=torch.float64)
    assert directions(average) == pytest.approx(1 / 6)
    assert root_mean_square(average) == pytest.approx(6**-0.5)


def test_units_that_nothing_wakes_are_counted_and_no_others():
    states = torch.tensor([[-1.0, 2.0, -3.0, -0.1], [-2.0, -1.0, -1.0, 0.5]])
    assert share_asleep([states], "relu") == 0.5
    assert share_asleep([states], "gelu") == 0  # slopes of -0.08 and more
    assert share_asleep([20 * states], "sigmoid") == 0.75  # at -2 it still has a slope
    assert wrong_derivatives() == 0


@pytest.mark.parametrize("gated", [False, True])
def test_inner_states_are_what_the_activation_gets(gated):
    data = byte_text("python-reference")
    network = deep_network(0, 2, dim=16, activation="relu", gated=gated)
    states = inner_states(network, data.held_out, 3)
    assert [one.shape for one in states] == [(3 * 32, 64)] * 2
    rows = next(windows(data.held_out, 32, 3))[:, :-1]
    _, seen = network.run_with_cache(rows)
    inner = seen["blocks.1.feed_forward.inner"].flatten(0, 1)
    assert torch.equal(inner != 0, states[1] > 0)
    assert not network.blocks[0].feed_forward.up._forward_hooks


def test_a_wrong_gradient_is_seen(text, monkeypatch):
    network, batch = deep_network(0, 2, dim=16).double(), byte_batch(text, 32, rows=2, seed=0)
    assert max(hand_gradients.errors_by_block(network, batch)) < 1e-12
    assert hand_gradients.error_of_differences(network, batch, 10, seed=0) < 1e-6
    kept = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    assert hand_gradients.foretold_by_step(network, batch) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(dict(network.named_parameters()), kept, rtol=1e-12, atol=1e-12)
    right = hand_gradients.written_out

    def wrong(*arguments):
        return [{name: 1.01 * one for name, one in block.items()} for block in right(*arguments)]

    monkeypatch.setattr(hand_gradients, "written_out", wrong)
    assert min(hand_gradients.errors_by_block(network, batch)) == pytest.approx(0.01, rel=1e-3)
    assert hand_gradients.error_of_differences(network, batch, 10, seed=0) > 1e-5


def test_averages_for_attention_are_averages():
    network, tokens = deep_network(0, 2, dim=16), torch.arange(6)[None]
    with taken_away.as_kind(taken_away.AVERAGES, network):
        _, seen = network.run_with_cache(tokens)
    expected = torch.ones(6, 6).tril() / torch.arange(1, 7)[:, None]
    torch.testing.assert_close(seen["blocks.1.attention.pattern"][0, 0], expected)
    torch.testing.assert_close(
        seen["blocks.1.attention.mixed"][0, :, -1], seen["blocks.1.attention.value"][0].mean(dim=1)
    )


@pytest.mark.parametrize("kind", through_time.MEMORIES)
def test_a_gradient_goes_back_in_time_and_not_forward(text, kind):
    batch = byte_batch(text, through_time.LONG, rows=2, seed=0)
    found = through_time.distances(through_time.memory(kind, 16, 0), batch)
    assert len(found.lengths) == 64 and found.lengths[-1] == 0
    assert all(length > 0 for length in found.lengths[40:-1])
    lengths = [0.0] * 64
    lengths[through_time.NEAR], lengths[through_time.FAR] = [10.0] * 3, [0.1] * 16
    assert through_time.Distances(lengths).far_by_near == pytest.approx(-2)


def test_the_highest_rate_is_the_last_before_the_first_failure():
    tried = []

    def learns(number):
        tried.append(number)
        return number != 3

    assert taken_away.last_before_failure(learns, 8) == (2, False) and tried == [0, 1, 2, 3]
    assert taken_away.last_before_failure(lambda number: False, 8) == (0, True)
    assert taken_away.last_before_failure(lambda number: True, 8) == (8, True)


def test_the_best_rate_is_that_of_the_lowest_loss_and_none_that_diverged():
    def bits(rate):
        if rate > 2:
            raise DivergedError("not finite")
        return -rate

    assert best_rate((1, 2, 3), bits) == 2


def test_what_a_network_has_to_beat_is_the_cross_entropy_of_byte_frequencies():
    text = ByteText(torch.tensor([7, 7, 7, 9]), torch.tensor([0]), torch.tensor([7, 9]))
    assert frequency_bits(text) == pytest.approx(-(math.log2(4 / 260) + math.log2(2 / 260)) / 2)


def test_what_each_block_loses_is_the_slope_of_what_is_left():
    table = {}

    class Log:
        def log(self, seed, condition, values, clamped=False):
            table.update({(condition.name, metric.name): (value, clamped) for metric, value in values.items()})

    log_arrived(Log(), 0, Condition("a"), [1e-4, 1e-2, 1.0])
    assert table["a", LOST.name] == (pytest.approx(2), False) and table["a", ARRIVED.name][0] == pytest.approx(-4)
    assert table["a 1", LEFT.name][0] == pytest.approx(-2)
    log_arrived(Log(), 0, Condition("b"), [0.0, 1e-2, 1.0])
    assert table["b", LOST.name][1] and table["b", ARRIVED.name][1]

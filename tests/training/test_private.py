"""DP-SGD: gradients of each row clipped, summed and blurred; rows drawn by chance; the same again after a stop."""

from __future__ import annotations

import copy
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from adaptation.adapted import GPT2, adapted, packed, randomise_adapters
from torch import Tensor
from training.runs import CONFIG, Interfering, rows

from lmworks.adaptation.dora import DoRALinear
from lmworks.basics.errors import ConfigError, Stopped
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.penalties import L2
from lmworks.tokens.batch import Batch
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.loop import train
from lmworks.training.private.clipping import Clipping
from lmworks.training.private.dp_sgd import Private, numbers_of
from lmworks.training.ranks import Ranks

ROWS = packed((31,), (12, 15), (9,), (3,))


def by_loop(network: Network, batch: Batch) -> tuple[float, list[Tensor]]:
    """The definition: each row alone through autograd's plain blocks, clipped, added; the bound is such that half of
    the rows are longer."""
    plain = copy.deepcopy(network)
    trained = [one for one in plain.parameters() if one.requires_grad]
    rows = []
    for row in range(len(batch.tokens)):
        kept = {name: value[row : row + 1] for name, value in vars(batch).items() if isinstance(value, Tensor)}
        loss = CausalLM()(plain, replace(batch, **kept))
        gradients = torch.autograd.grad(loss.total / loss.count, trained)
        rows.append((math.sqrt(sum(float(one.double().square().sum()) for one in gradients)), gradients))
    bound = sum(sorted(length for length, _ in rows)[1:3]) / 2
    shares = [min(1.0, bound / length) for length, _ in rows]
    every = [gradients for _, gradients in rows]
    return bound, [
        sum(share * one for share, one in zip(shares, column, strict=True)) for column in zip(*every, strict=True)
    ]


NETWORKS: dict[str, Any] = {
    "LoRA, blocks by hand": adapted,
    "LoRA on some projections": lambda: adapted(targets=("q_proj", "down_proj")),
    "LoRA, blocks by autograd": lambda: adapted(**GPT2),
    "DoRA": lambda: adapted(kind=DoRALinear),
    "all weights, tied": lambda: tiny.network().requires_grad_(True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_clipped_sum_is_that_of_a_loop_over_rows(name):
    network = NETWORKS[name]().train()
    bound, wanted = by_loop(network, ROWS)
    choose_blocks(network)
    clipping = Clipping(network, CausalLM(), bound)
    assert (clipping.layers is not None) == name.startswith("LoRA")
    found = clipping.of([ROWS])
    assert found.tokens == ROWS.supervised and found.cut == 2
    for one, other in zip(found.sums, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert all(layer.row_gradients is None for layer in clipping.layers or ())


def private(**changes: Any) -> Private:
    return replace(Private(clip=1.0, noise=0.7, rows=7, expected=3, key=b"secret"), **changes)


def run(folder: Path, way: Private, objective: CausalLM | None = None, *, resume: bool = False, **settings: Any) -> Any:
    """A run of six steps over seven rows; a resumed one begins with other adapters, which must not matter."""
    network = randomise_adapters(adapted(), seed=1 + resume)
    config = CONFIG.but(steps=6, accumulate=1, checkpoint_every=100, **settings)
    train(network, objective or CausalLM(), rows(), config, folder, resume=resume, private=way)
    return [one.detach().clone() for one in network.parameters() if one.requires_grad]


def test_a_resumed_run_has_the_same_rows_and_noise_to_the_bit(tmp_path):
    straight = run(tmp_path / "straight", private())
    stop = Interfering(3, lambda network: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", private(), stop)
    resumed = run(tmp_path / "stopped", private(), resume=True)
    assert all(torch.equal(one, other) for one, other in zip(straight, resumed, strict=True))
    other_key = run(tmp_path / "other", private(key=b"another"))
    assert not torch.equal(straight[0], other_key[0])


def test_a_step_is_the_same_however_its_rows_are_split(tmp_path):
    one, three = (run(tmp_path / str(size), private(), rows=size) for size in (1, 3))
    for first, second in zip(one, three, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    other = run(tmp_path / "other", private(), rows=3, clip=1e-3)  # what is for the mean gradient touches no noise
    assert all(torch.equal(first, second) for first, second in zip(three, other, strict=True))


def test_each_row_is_drawn_by_itself_with_the_probability_of_the_accountant():
    way = private(rows=200, expected=10)
    drawn = torch.zeros(1000, 200)
    for step in range(1000):
        drawn[step, way.places(step)] = 1
    assert way.rate == 0.05 and way.places(3) == way.places(3) != way.places(4)
    assert abs(drawn.mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 200_000)
    sizes = drawn.sum(1)  # binomial: a shuffled epoch, which the accountant does not cover, would have no variance
    assert abs(sizes.var() / (200 * 0.05 * 0.95) - 1) < 0.2
    assert abs(drawn.sum(0).var() / (1000 * 0.05 * 0.95) - 1) < 0.4


def test_noise_has_the_size_that_was_promised_and_a_step_without_rows_is_noise_alone():
    network = adapted()
    way = private(clip=0.5, noise=2.0, expected=4)
    loss, tokens = way.gradients(network, CausalLM(), [], step=0)
    found = torch.cat([one.grad.flatten() for one in network.parameters() if one.requires_grad])
    assert (loss, tokens) == (0.0, 0)
    assert abs(found.std() * 4 / (2.0 * 0.5) - 1) < 5 / math.sqrt(2 * len(found))
    way.gradients(network, CausalLM(), [], step=1)
    other = torch.cat([one.grad.flatten() for one in network.parameters() if one.requires_grad])
    assert abs(torch.corrcoef(torch.stack([found, other]))[0, 1]) < 5 / math.sqrt(len(found))
    again = adapted()
    way.gradients(again, CausalLM(), [ROWS], step=0)
    signal_ = torch.cat([one.grad.flatten() for one in again.parameters() if one.requires_grad]) - found
    sums = Clipping(again, CausalLM(), 0.5).of([ROWS]).sums
    torch.testing.assert_close(signal_, torch.cat([one.flatten() for one in sums]) / 4, rtol=1e-4, atol=1e-6)
    assert signal_.norm() <= 0.5 * 4 / 4 + 1e-5


def test_numbers_follow_from_the_whole_key():
    """torch.Generator keeps 32 bits of a seed, so that four billion tries would find the noise of a step."""
    low, high = (numbers_of(bytes([first]) + bytes(31)).standard_normal(3) for first in (0, 1))
    assert (low != high).all()


def test_what_is_frozen_stays_tied_embeddings_too(tmp_path):
    network = adapted()
    frozen = {name: one.clone() for name, one in network.named_parameters() if not one.requires_grad}
    train(network, CausalLM(), rows(), CONFIG.but(steps=3, accumulate=1), tmp_path, private=private())
    assert "embedding.weight" in " ".join(frozen)
    assert all(torch.equal(one, network.get_parameter(name)) for name, one in frozen.items())


class Two(Ranks):
    size = 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": CONFIG.but(steps=None, max_seconds=3)}, "give training.steps"),
        ({"config": CONFIG.but(compile=True)}, "set training.compile = false"),
        ({"rows": rows()[:5]}, "the noise is for 7 rows and there are 5"),
        ({"ranks": Two()}, "start it without torchrun"),
        ({"objective": CausalLM() + L2(0.1)}, "Sum adds something else"),
        ({"network": lambda: tiny.network(experts={"count": 2, "top_k": 1}).requires_grad_(True)}, "experts"),
    ],
)
def test_what_would_not_be_private_is_refused(changes, said, tmp_path):
    given = {"network": adapted, "objective": CausalLM(), "rows": rows(), "config": CONFIG} | changes
    network = given["network"]()
    ranks = {"ranks": given["ranks"]} if "ranks" in given else {}
    with pytest.raises(ConfigError, match=said):
        train(network, given["objective"], given["rows"], given["config"], tmp_path, private=private(), **ranks)

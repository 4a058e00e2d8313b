"""Weights that are read when somebody asks for them, and no earlier."""

from __future__ import annotations

import copy
import pickle

import pytest
import tiny
import torch
from torch import nn

from lmworks.models.unread import (
    Unread,
    below_one_another_later,
    leave_unread,
    let_go,
    mark,
    peek,
    peeked,
    pieces,
    unread_of,
)

WEIGHT = torch.arange(24.0).view(6, 4)


class Layer(nn.Linear):
    """A layer whose weight is unread; it counts how often it is read."""

    def __init__(self) -> None:
        super().__init__(4, 6)
        self.reads = 0
        self.weight = Unread((6, 4), torch.float32, self.take).placeholder()
        self.requires_grad_(False)
        leave_unread(self)

    def take(self, rows: slice) -> torch.Tensor:
        self.reads += 1
        return WEIGHT[rows].clone()


def test_looking_reads_nothing_and_asking_reads_once():
    layer = Layer()
    assert peek(layer, "weight").shape == (6, 4) and set(peeked(layer)) == {"weight", "bias"}
    assert "weight" in layer._parameters and len(layer._parameters) == 2
    before = mark(peek(layer, "weight"))
    assert layer.reads == 0 and unread_of(peek(layer, "weight")) is not None
    assert torch.equal(layer.weight, WEIGHT) and layer.weight is layer.weight
    assert layer.reads == 1 and mark(layer.weight) == before
    layer.weight.add_(1)
    assert mark(layer.weight) != before
    let_go(layer)  # changed weights stay
    assert torch.equal(layer.weight, WEIGHT + 1) and layer.reads == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda layer: dict(layer.named_parameters())["weight"],
        lambda layer: dict(layer._parameters)["weight"],
        lambda layer: {**layer._parameters}["weight"],
        lambda layer: layer._parameters.get("weight"),
        lambda layer: layer._parameters.copy()["weight"],
        lambda layer: next(iter(layer._parameters.values())),
        lambda layer: layer.state_dict()["weight"],
        lambda layer: copy.deepcopy(layer.__dict__["_parameters"])["weight"],
        lambda layer: pickle.loads(pickle.dumps(layer.__dict__["_parameters"]))["weight"],
        lambda layer: layer.double().weight.float(),
        lambda layer: layer(torch.eye(4)).T - layer.bias[:, None],
    ],
)
def test_whoever_asks_gets_the_weights(ask):
    layer = Layer()
    layer.bias.zero_()
    torch.testing.assert_close(ask(layer).data, WEIGHT)


def test_what_was_read_can_be_forgotten_and_read_again():
    layer = Layer()
    assert torch.equal(layer.weight, WEIGHT)
    let_go(layer)
    assert unread_of(peek(layer, "weight")) is not None
    assert torch.equal(layer.weight, WEIGHT) and layer.reads == 2


def test_a_weight_that_takes_anothers_place_is_a_change():
    one, other = Layer(), Layer()
    before = mark(one.weight), mark(other.weight)
    one.weight, other.weight = other.weight, one.weight
    assert before != (mark(one.weight), mark(other.weight))


@pytest.mark.parametrize("rows", [slice(None), slice(0, 3), slice(2, 9), slice(5, 7), slice(8, 10)])
def test_rows_of_a_joined_matrix_are_those_of_its_parts(rows: slice):
    layer = Layer()
    mapped = tiny.network().embedding.weight.detach()[:4, :4]
    joined = unread_of(below_one_another_later([peek(layer, "weight"), mapped], None))
    assert joined is not None and joined.shape == (10, 4)
    assert torch.equal(joined.take(rows), torch.cat([WEIGHT, mapped])[rows])
    assert torch.equal(torch.cat(list(pieces(joined.placeholder(), 3))), torch.cat([WEIGHT, mapped]))

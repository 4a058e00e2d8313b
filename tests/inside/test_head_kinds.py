"""Marks of heads, on a head that is made to look at one place, and on a network that copies."""

from __future__ import annotations

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.head_worth import worth_of
from lmworks.inside.head_kinds import head_kinds, loss_without, others_than, text_twice
from lmworks.models.hooks import hooked

LENGTH = 12


@pytest.mark.parametrize(("kind", "back"), [("previous", 1), ("duplicate", LENGTH), ("induction", LENGTH - 1)])
def test_a_head_that_looks_at_one_place_has_the_whole_mark(kind: str, back: int):
    network = tiny.network()

    def look(scores: torch.Tensor) -> torch.Tensor:
        changed = scores.clone()
        at = torch.arange(back, scores.shape[-2])
        changed[:, 2] = -1e9
        changed[:, 2, at, at - back] = 0
        return changed

    with hooked(network, {"blocks.1.attention.scores": look}):
        kinds = head_kinds(network, LENGTH)
    marks = getattr(kinds, kind)
    assert float(marks[1, 2]) == pytest.approx(1, abs=1e-5)
    assert kinds.most(kind, 1) == [(1, 2)]
    assert marks.sum() < marks.numel() and 0 < kinds.chance < 0.1


def test_the_text_is_read_twice_and_has_no_token_twice_before():
    tokens = text_twice(tiny.network(), LENGTH, rows=3, seed=1)
    assert torch.equal(tokens[:, :LENGTH], tokens[:, LENGTH:]) and not torch.equal(tokens[0], tokens[1])
    assert all(len(set(row.tolist())) == LENGTH for row in tokens)


def test_taking_no_head_away_is_the_networks_own_loss():
    network = tiny.network()
    tokens = text_twice(network, LENGTH)
    logits = network(tokens)[:, LENGTH:-1].flatten(0, 1)
    expected = float(torch.nn.functional.cross_entropy(logits, tokens[:, LENGTH + 1 :].flatten()).detach())
    assert loss_without(network, [], LENGTH) == pytest.approx(expected)
    assert loss_without(network, [(0, 1)], LENGTH) != pytest.approx(expected)


def test_a_text_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="give a smaller length"):
        head_kinds(tiny.network(), length=4096)
    with pytest.raises(ConfigError, match="no kind 'copying'"):
        head_kinds(tiny.network(), LENGTH).most("copying", 1)


def test_other_heads_are_as_many_of_the_same_layers():
    network = tiny.network()
    found = others_than(network, [(0, 1), (1, 0), (1, 2)], seed=3)
    assert sorted(layer for layer, _ in found) == [0, 1, 1] and not {*found} & {(0, 1), (1, 0), (1, 2)}
    assert others_than(network, [(0, head) for head in range(network.config.heads)]) == []


def test_heads_that_matter_are_told_from_as_many_others():
    """A text is predicted by one head alone: without it more is lost than without others."""
    network = tiny.network()
    torch.nn.init.zeros_(network.blocks[0].attention.output.weight)
    torch.nn.init.zeros_(network.blocks[1].attention.output.weight)
    for block in network.blocks:
        for parameter in block.feed_forward.parameters():
            torch.nn.init.zeros_(parameter)
    found = worth_of(network, "induction", 1, length=LENGTH, rows=4)
    assert (found.lost.value, found.beyond.value, found.beyond.n) == (0, pytest.approx(0, abs=1e-6), 4)
    (layer, head), dim = found.heads[0], network.config.head_dim
    columns = slice(head * dim, (head + 1) * dim)
    torch.nn.init.normal_(network.blocks[layer].attention.output.weight[:, columns])
    again = worth_of(network, "induction", 1, length=LENGTH, rows=4)
    assert again.heads == found.heads and abs(again.lost.value) > 1e-3
    assert again.beyond.value == pytest.approx(again.lost.value, abs=1e-5)

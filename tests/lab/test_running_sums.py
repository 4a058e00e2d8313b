"""Rows of sums: what is written, and what counts as right and as following a step."""

from __future__ import annotations

import torch

from lmworks.lab.bench import running_sums
from lmworks.lab.bench.running_sums import DIGITS, DOT, EQUALS, written


def test_the_three_ways_end_in_the_same_digit():
    digits = torch.tensor([[3, 5, 9, 2, 0, 0, 0, 4]])
    assert written(digits, "steps").tolist() == [[3, 5, 9, 2, 0, 0, 0, 4, EQUALS, 3, 8, 7, 9, 9, 9, 9, 3]]
    assert written(digits, "answer").tolist() == [[3, 5, 9, 2, 0, 0, 0, 4, EQUALS, 3]]
    assert written(digits, "dots").tolist() == [[3, 5, 9, 2, 0, 0, 0, 4, EQUALS, *[DOT] * 7, 3]]


def test_only_what_follows_the_sign_is_learnt():
    generator = torch.Generator().manual_seed(1)
    for way, learnt in (("answer", 1), ("steps", DIGITS), ("dots", 1)):
        batch = running_sums._batch(way, generator)
        assert (batch.labels >= 0).sum(dim=1).tolist() == [learnt] * running_sums.ROWS
        assert torch.equal(batch.labels[:, -1], written(batch.tokens[:, :DIGITS], way)[:, -1])


def test_a_network_that_adds_is_right_and_follows_its_steps(monkeypatch):
    def adds(rows: torch.Tensor) -> torch.Tensor:
        at = rows.shape[1] - DIGITS - 1
        before = rows[:, -1] if at else torch.zeros(len(rows), dtype=torch.long)
        return torch.nn.functional.one_hot((before + rows[:, at]) % 10, 12)[:, None].float()

    assert running_sums.right(adds, "steps", 3, 20) == running_sums.follows(adds, 3, 20) == [1.0] * 20
    assert sum(running_sums.right(lambda rows: 1 - adds(rows), "steps", 3, 20)) < 20

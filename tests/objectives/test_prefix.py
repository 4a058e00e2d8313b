"""A prefix that all of its document sees: against a written-out mask, and what carries loss after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from training.runs import network, rows

from lmworks.basics.errors import ConfigError
from lmworks.models.masks import visibility
from lmworks.objectives import CausalLM, PrefixLM
from lmworks.tokens.batch import IGNORE, Batch, stack
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.step import accumulate


@pytest.mark.parametrize("window", [None, 5])
def test_a_prefix_is_seen_as_written_out(window: int | None):
    """Query by key: of the same document, and the past or the prefix, within the window."""
    documents = torch.tensor([[0] * 6 + [1] * 7 + [-1] * 3, [0] * 10 + [1] * 6])
    prefix = torch.zeros(2, 16, dtype=torch.bool)
    prefix[0, :3] = prefix[0, 6:10] = prefix[1, :9] = True
    seen = visibility(16, 16, window, documents=documents, prefix=prefix).dense(16, 16, torch.device("cpu"))
    for row in range(2):
        for query in range(16):
            for key in range(16):
                wanted = documents[row, query] == documents[row, key] and (key <= query or bool(prefix[row, key]))
                wanted = bool(wanted) and (window is None or abs(query - key) < window)
                assert bool(seen[row, 0, query, key]) == (wanted or query == key)


def test_the_network_reads_a_prefix_from_both_sides():
    """A change within the prefix is seen before it, a change after it is not; without any prefix all is causal."""
    model, tokens = tiny.network(), tiny.text(1, 12)
    prefix = torch.arange(12)[None] < 5
    plain = model(tokens, prefix=prefix)
    inside, after = tokens.clone(), tokens.clone()
    inside[0, 4] = (inside[0, 4] + 1) % 96
    after[0, 8] = (after[0, 8] + 1) % 96
    assert (model(inside, prefix=prefix)[0, 0] - plain[0, 0]).abs().max() > 1e-3
    assert torch.equal(model(after, prefix=prefix)[0, :8], plain[0, :8])
    none = torch.zeros_like(prefix)
    assert torch.equal(model(tokens, prefix=none), model(tokens))
    model.attention_kernel = "explicit"
    torch.testing.assert_close(model(tokens, prefix=prefix), plain, rtol=1e-5, atol=1e-5)


def test_what_follows_a_prefix_alone_carries_loss_and_its_length_is_drawn_evenly():
    batch = stack(rows())
    objective, lengths = PrefixLM(), []
    for seed in range(400):
        made = objective.prepare(batch, [seed * 10 + row for row in range(len(batch.tokens))])
        first = made.prefix[0] & (batch.documents[0] == 0)
        lengths.append(int(first.sum()))
        assert (made.prefix & (batch.documents < 0)).sum() == 0
        for row in range(len(batch.tokens)):
            for document in range(int(batch.documents[row].max()) + 1):
                here = batch.documents[row] == document
                size, prefix = int(here.sum()), int((made.prefix[row] & here).sum())
                assert made.prefix[row][here][:prefix].all() and prefix < size
                assert int((made.labels[row][here] != IGNORE).sum()) == min(size - 1, size - prefix)
    kept = made.labels != IGNORE
    assert torch.equal(made.labels[kept], batch.labels[kept])
    counts = np.bincount(lengths, minlength=31)
    assert len(counts) == 31 and counts.max() < 400 / 31 + 5 * (400 / 31) ** 0.5 and lengths.count(0) > 0


def test_rows_that_say_their_prefix_keep_it():
    batch = stack(rows())
    given = replace(batch, prefix=batch.positions < 3)
    assert PrefixLM().prepare(given, range(len(batch.tokens))) is given


def test_a_window_of_a_stream_keeps_the_label_of_its_last_token():
    """The token after the window is predicted too, and a prefix is never all of a window."""
    whole = torch.arange(9).expand(2, -1)
    positions, documents = torch.arange(8).expand(2, -1), torch.zeros(2, 8, dtype=torch.long)
    batch = Batch(whole[:, :-1], whole[:, 1:], positions, documents)
    for seed in range(40):
        made = PrefixLM().prepare(batch, [seed, seed + 40])
        assert torch.equal(made.labels[:, -1], batch.labels[:, -1]) and not made.prefix[:, -1].any()
        assert torch.equal(made.labels == IGNORE, made.prefix & made.prefix.roll(-1, dims=1))


def test_any_split_gives_the_same_gradient_and_an_empty_prefix_is_causal():
    batch, model = stack(rows()), network(dropout=0.0)
    seeds = list(range(7))
    whole = PrefixLM().prepare(batch, seeds)
    one, _ = accumulate(model, PrefixLM(), [whole])
    first = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    apart = [PrefixLM().prepare(stack([row]), [seed]) for row, seed in zip(rows(), seeds, strict=True)]
    other, _ = accumulate(model, PrefixLM(), apart)
    assert one == pytest.approx(other, rel=1e-6)
    for before, parameter in zip(first, model.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad, rtol=1e-5, atol=1e-6)
    assert torch.equal(PrefixLM()(model, batch).total, CausalLM()(model, batch).total)


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputing"])
def test_training_sees_the_prefix_in_whatever_way_its_blocks_run(recompute: bool):
    """The hand-written block knows only causality, so a prefix must take the plain one. Two layers: with one, what a
    prefix's tokens see after themselves reaches no token that carries loss."""
    batch = PrefixLM().prepare(stack(rows()), list(range(7)))
    plain, fast = tiny.network(), tiny.network()
    assert choose_blocks(fast.train(), recompute) == "fused"
    losses = [accumulate(model, PrefixLM(), [batch])[0] for model in (plain, fast)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_prefix_that_does_not_fit_is_refused():
    model, tokens = tiny.network(), tiny.text(1, 8)
    prefix = torch.ones(1, 8, dtype=torch.bool)
    cache = model.new_cache()
    model(tokens, cache=cache)
    with pytest.raises(ConfigError, match="before anything is in the cache"):
        model(tokens, cache=cache, prefix=prefix)
    with pytest.raises(ConfigError, match=r"the prefix has the shape \[1, 7\] and the tokens \[1, 8\]"):
        model(tokens, prefix=prefix[:, 1:])
    with pytest.raises(ConfigError, match="an encoder's tokens all see each other"):
        tiny.network(arrangement="encoder")(tokens, prefix=prefix)

"""Packing: every target is predicted exactly once, nothing is lost, documents stay apart."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.tokens.batch import IGNORE, Example, batches, example_of, pack, stack


@st.composite
def examples_and_seq(draw):
    sizes = draw(st.lists(st.integers(2, 40), min_size=1, max_size=8))
    examples, start = [], 0
    for number, size in enumerate(sizes):  # every token has its own id, so each can be told apart
        bits = draw(st.integers(0, 2 ** (size - 2) - 1))  # one draw, not one for each token
        supervised = [False, True, *(bool(bits >> at & 1) for at in range(size - 2))]
        examples.append(Example(list(range(start, start + size)), supervised, f"document {number}"))
        start += size
    return examples, draw(st.integers(2, 24))


@settings(max_examples=300)
@given(examples_and_seq(), st.integers(1, 4), st.none() | st.integers(0, 5))
def test_every_target_is_predicted_exactly_once_from_its_own_document(drawn, batch_rows, seed):
    examples, seq = drawn
    expected = Counter(
        (example.tokens[place - 1], example.tokens[place])
        for example in examples
        for place in range(1, len(example.tokens))
        if example.supervised[place]
    )
    found: Counter = Counter()
    for batch in batches(pack(examples, seq, seed=seed), batch_rows, seed=0, epoch=0):
        assert (batch.documents != -1).sum(1).max() <= seq and batch.tokens.shape[0] <= batch_rows
        rows, places = (batch.labels != IGNORE).nonzero(as_tuple=True)
        found.update(zip(batch.tokens[rows, places].tolist(), batch.labels[rows, places].tolist(), strict=True))
        assert batch.supervised == len(rows)
        assert (batch.documents[rows, places] == batch.documents[rows, places + 1]).all()
        assert (batch.tokens[rows, places + 1] == batch.labels[rows, places]).all()
    assert found == expected


@settings(max_examples=200)
@given(examples_and_seq())
def test_positions_restart_with_every_document_and_padding_belongs_to_none(drawn):
    examples, seq = drawn
    for row in pack(examples, seq):
        batch = stack([row])
        for number, piece in enumerate(row):
            here = batch.documents[0] == number
            assert batch.positions[0, here].tolist() == list(range(len(piece.tokens)))
            assert batch.tokens[0, here].tolist() == piece.tokens
    wide = stack(pack(examples, seq))
    padding = wide.documents == -1
    assert (wide.labels[padding] == IGNORE).all() and (wide.positions[padding] == 0).all()


def test_a_long_document_goes_on_with_the_last_token_before_the_cut():
    example = Example([0, 1, 2, 3, 4, 5, 6], [False] + [True] * 6, "long")
    assert sorted(piece.tokens for row in pack([example], 3) for piece in row) == [
        [0, 1, 2],
        [2, 3, 4],
        [4, 5, 6],
    ]


def test_rows_are_filled_well_and_the_same_way_each_time():
    examples = [Example([size] * size, [True] * size, str(size)) for size in (60, 50, 50, 40, 30, 70, 100)]
    rows = pack(examples, 100)
    assert len(rows) == 4 and rows == pack(examples, 100)
    assert sorted(sum(len(piece.tokens) for piece in row) for row in rows) == [100, 100, 100, 100]


def test_the_order_of_rows_depends_on_seed_and_epoch_alone():
    rows = pack([Example([number, number], [False, True], "d") for number in range(64)], 2)
    order = [batch.tokens[:, 0].tolist() for batch in batches(rows, 4, seed=1, epoch=2)]
    assert order == [batch.tokens[:, 0].tolist() for batch in batches(rows, 4, seed=1, epoch=2)]
    for seed, epoch in ((1, 3), (2, 2)):
        assert order != [batch.tokens[:, 0].tolist() for batch in batches(rows, 4, seed=seed, epoch=epoch)]
    assert sorted(number for part in order for number in part) == list(range(64))


def test_a_document_is_framed_and_all_but_its_first_token_is_supervised(tiny):
    example = example_of(Document("Hello <|im_end|>", "a.txt"), tiny)
    assert example.tokens == [tiny.document_start, *tiny.encode("Hello <|im_end|>"), tiny.document_end]
    assert example.supervised == [False] + [True] * (len(example.tokens) - 1) and example.source == "a.txt"


def test_a_conversation_supervises_what_the_assistant_says(tiny):
    messages = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    example = example_of(Document("Hi\n\nHello", "chat", messages), tiny)
    assert (
        tiny.decode(
            [token for token, carries in zip(example.tokens, example.supervised, strict=True) if carries],
            skip_special=False,
        )
        == "Hello<|im_end|>"
    )


def test_an_example_without_loss_is_named():
    """Pitfall 3."""
    with pytest.raises(DataError, match=r"notes.txt has no token that carries loss"):
        pack([Example([1, 2, 3], [True, False, False], "notes.txt")], 8)


def test_impossible_sizes_are_refused():
    with pytest.raises(ConfigError, match="seq is 1"):
        pack([Example([1, 2], [False, True], "a")], 1)
    with pytest.raises(ConfigError, match="batch_rows is 0"):
        next(batches([], 0, 0, 0))


def test_a_batch_moves_to_a_device_whole():
    batch = stack(pack([Example([1, 2], [False, True], "a")], 4)).to("meta")
    assert {tensor.device for tensor in (batch.tokens, batch.labels, batch.positions, batch.documents)} == {
        torch.device("meta")
    }

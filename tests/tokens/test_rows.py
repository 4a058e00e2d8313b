"""Rows from shards: each token is predicted once, documents stay apart, epochs differ and are reproducible."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.tokens.batch import IGNORE, batches, example_of, fill, pack, stack
from lmworks.tokens.rows import PackedRows, Windows
from lmworks.tokens.shards import Shards, write_shards
from tokens.test_trainer import ALL, PROSE

DOCUMENTS = [Document(text[: 3 + 29 * number % 90], f"document {number}") for number, text in enumerate(PROSE[:60])]


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Shards:
    return write_shards(DOCUMENTS, ALL["bpe"], tmp_path_factory.mktemp("packed"), shard_tokens=200)


def targets(batch) -> Counter:
    rows, places = (batch.labels != IGNORE).nonzero(as_tuple=True)
    return Counter(zip(batch.tokens[rows, places].tolist(), batch.labels[rows, places].tolist(), strict=True))


@pytest.mark.parametrize("seq", [2, 7, 16, 64, 1000])
def test_packed_rows_predict_what_pack_does_in_as_many_rows(shards, seq):
    """Pitfall 5: also that documents stay apart and positions restart, which `stack` sees to."""
    ours, theirs = PackedRows(shards, seq), pack([example_of(document, ALL["bpe"]) for document in DOCUMENTS], seq)
    assert len(ours) == len(theirs) and max(sum(len(piece.tokens) for piece in row) for row in ours) <= seq
    assert sorted(piece.tokens for row in ours for piece in row) == sorted(
        piece.tokens for row in theirs for piece in row
    )
    assert targets(stack(list(ours))) == targets(stack(theirs))


@settings(max_examples=200)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=60), st.integers(40, 90))
def test_rows_are_filled_within_their_size_and_no_row_could_have_held_the_last(sizes, seq):
    sizes = np.sort(np.array(sizes))[::-1]
    rows = np.array(fill(sizes.tolist(), seq))
    used = np.bincount(rows, sizes)
    assert used.max() <= seq and sorted(set(rows.tolist())) == list(range(len(used)))
    assert len(used) == 1 or used[:-1].min() + sizes[rows == len(used) - 1].max() > seq


def test_equal_documents_share_other_rows_with_another_seed(shards):
    first, again, other = (list(PackedRows(shards, 64, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("context", [1, 5, 64])
def test_windows_predict_each_token_at_most_once_and_leave_out_fewer_than_one_window(shards, context):
    stream = shards.read(0, shards.tokens).tolist()
    possible = Counter(zip(stream, [*stream[1:], stream[0]], strict=True))
    for epoch in range(3):
        rows = Windows(shards, context, epoch=epoch)
        found = sum((targets(stack([row])) for row in rows), Counter())
        assert len(rows) == shards.tokens // context and not found - possible
        assert (possible - found).total() < context


def test_a_batch_is_the_rows_themselves(shards):
    rows = Windows(shards, 32, seed=3)
    places = [len(rows) - 1, 0, 4]
    batch, wide = rows.batch(places), stack([rows[place] for place in places])
    assert batch.tokens.shape == (3, 32) and batch.supervised == 3 * 32
    for name in ("tokens", "labels", "positions", "documents"):
        assert torch.equal(getattr(batch, name), getattr(wide, name)[:, :32]), name
    packed = PackedRows(shards, 64)
    for name in ("tokens", "labels", "positions", "documents"):
        assert torch.equal(getattr(packed.batch([1, 0]), name), getattr(stack([packed[1], packed[0]]), name))


def test_epochs_are_cut_elsewhere_and_repeat_exactly(shards):
    rows = Windows(shards, 16, seed=5)
    cuts = {tuple(rows.at_epoch(epoch, 5)[0][0].tokens) for epoch in range(8)}
    assert len(cuts) > 4
    assert list(rows.at_epoch(3, 5)) == list(Windows(shards, 16, epoch=3, seed=5)) != list(rows.at_epoch(3, 6))
    assert list(rows.at_epoch(0, 5)) == list(rows) and len(rows.at_epoch(9, 5)) == len(rows)
    packed = PackedRows(shards, 64)
    assert packed.at_epoch(3, 5) is packed


def test_rows_are_a_sequence_that_the_loop_takes(shards):
    rows = Windows(shards, 16)
    assert rows[-1] == rows[len(rows) - 1] and rows[1:3] == [rows[1], rows[2]]
    with pytest.raises(IndexError):
        rows[len(rows)]
    seen = sum(batch.tokens.shape[0] for batch in batches(rows, 4, seed=0, epoch=0))
    assert seen == len(rows) == len(list(rows))


def test_a_corpus_smaller_than_one_window_is_refused(shards):
    with pytest.raises(DataError, match="fewer than one window"):
        Windows(shards, shards.tokens)
    assert len(Windows(shards, shards.tokens - 1)) == 1
    with pytest.raises(ConfigError, match="context is 0"):
        Windows(shards, 0)
    with pytest.raises(ConfigError, match="seq is 1"):
        PackedRows(shards, 1)

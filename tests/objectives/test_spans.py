"""Span corruption: source and target make the text again, how much is cut out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from training.runs import rows

from lmworks.basics.errors import ConfigError
from lmworks.objectives import SpanCorruption
from lmworks.tokens.batch import IGNORE, stack
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.training.step import accumulate

OBJECTIVE = SpanCorruption(sentinels=tuple(range(95, 75, -1)), ends=(1,), start=0, special=frozenset({0, 1}))


@given(
    st.lists(st.integers(0, 75), max_size=60),
    st.integers(0, 2**32),
    st.floats(0.05, 0.5),
    st.floats(1.5, 5),
)
def test_source_and_target_make_the_text_again(ids: list[int], seed: int, share: float, mean_length: float):
    objective = SpanCorruption(
        sentinels=tuple(range(195, 75, -1)),
        ends=(1,),
        start=0,
        special=frozenset({0, 1}),
        share=share,
        mean_length=mean_length,
    )
    source, target = objective.corrupted(ids, seed)
    text = [token for token in ids if token > 1]
    assert objective.reconstructed(source, target) == text
    if len(text) > 1:
        spans = [token for token in source if token in objective.sentinels]
        assert spans == [token for token in target if token in objective.sentinels][:-1] != []
        assert source[-1] == target[-1] == 1 and len(source) + len(target) == len(text) + 2 * len(spans) + 3
        cut = len(target) - len(spans) - 2
        assert cut == min(max(round(share * len(text)), 1), len(text) - 1)


def test_the_paper_example():
    """Thank you [for inviting] me to your party [last] week: the form, from a mask that is given."""
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week"]
    objective = SpanCorruption(sentinels=(100, 101, 102), ends=(), start=0)
    objective._cut = lambda size, generator: np.isin(np.arange(10), [2, 3, 8])
    source, target = objective.corrupted(list(range(10)), 0)
    said = {100: "<X>", 101: "<Y>", 102: "<Z>"} | dict(enumerate(words))
    assert " ".join(said[one] for one in source) == "Thank you <X> me to your party <Y> week"
    assert " ".join(said[one] for one in target) == "<X> for inviting <Y> last <Z>"


def test_a_batch_has_sources_targets_and_labels_and_any_split_gives_the_same_gradient():
    batch, seeds = stack(rows()), list(range(7))
    model = tiny.network(arrangement="encoder-decoder", layers=1, dim=16, heads=2, kv_heads=1, hidden_dim=24)
    whole = OBJECTIVE.prepare(batch, seeds)
    for row in range(7):
        source, target = OBJECTIVE.corrupted(batch.tokens[row][batch.documents[row] >= 0].tolist(), row)
        assert whole.source[row][whole.source_real[row]].tolist() == source
        assert whole.labels[row][whole.labels[row] != IGNORE].tolist() == target
        assert whole.tokens[row, : len(target)].tolist() == [0, *target[:-1]]
    one, _ = accumulate(model.requires_grad_(True), OBJECTIVE, [whole])
    first = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    other, _ = accumulate(
        model, OBJECTIVE, [OBJECTIVE.prepare(stack([row]), [seed]) for row, seed in zip(rows(), seeds, strict=True)]
    )
    assert one == pytest.approx(other, rel=1e-6)
    for before, parameter in zip(first, model.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad, rtol=1e-5, atol=1e-6)


def test_sentinels_are_the_last_ids_of_a_vocabulary_the_first_of_them_last():
    config = TokenizerConfig(kind="bpe", vocab_size=280, sentinels=10)
    made = train_tokenizer(["the model reads a folder of text"] * 4, config)
    assert made.vocab_size == 280 and made.sentinels == tuple(range(279, 269, -1))
    assert made.decode([279, 270], skip_special=False) == "<extra_id_0><extra_id_9>"
    assert made.encode("<extra_id_0>", special=False) != [279]
    assert SpanCorruption.of(made).sentinels == made.sentinels


def test_what_cannot_be_cut_is_refused():
    made = train_tokenizer(["abc"], TokenizerConfig(kind="byte"))
    with pytest.raises(ConfigError, match="has no sentinels"):
        SpanCorruption.of(made)
    few = SpanCorruption(sentinels=(99, 98), ends=(), start=0)
    with pytest.raises(ConfigError, match="a text is cut into more than 1 spans, and there are 2 sentinels"):
        few.corrupted(list(range(60)), 0)
    with pytest.raises(ConfigError, match=r"share is 1\.0"):
        SpanCorruption(sentinels=(99,), ends=(), start=0, share=1.0)
    with pytest.raises(ConfigError, match="and the network is a decoder; train an encoder-decoder with it"):
        OBJECTIVE(tiny.network(), OBJECTIVE.prepare(stack(rows()), range(7)))

"""Claims 7 and 11: tiny runs give whole findings; their parts against laws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lab.whole import whole
from lmworks.inside.probes import logistic_regression
from lmworks.lab.bench import gaps, text_pairs
from lmworks.lab.bench.encoders import lowered, prose, small_network
from lmworks.objectives import MaskedLM
from lmworks.text import registry
from lmworks.tokens.batch import IGNORE
from lmworks.tokens.sentence_pairs import Passages

HERE = pytest.mark.skipif(
    not all(map(registry.available, ("trec-train", "trec-test", "ag-news"))),
    reason="TREC and AG News are not here: set LMWORKS_DATA, or fetch them with lmworks evaluate",
)
TINY = {
    7: ["text=trec-test", "held_out=none", "steps=2", "rows=4", "labels=20", "tuning_steps=2", "gaps=5"],
    11: ["steps=2", "rows=4", "pairs=20", "kilobytes=20", "texts=['ag-news','python-reference']"],
}


@HERE
@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question):
    whole(question, TINY[question])


@HERE
def test_what_a_gap_is_asked_by():
    """The token that was there is the label; a network that reads to the left is asked in front of the gap, and knows
    nothing of what follows it."""
    text = prose("trec-test", vocabulary=600)
    asked = gaps.gaps_of(text, 4)
    mask = text.tokenizer.require_mask()
    for gap in asked:
        assert gap.tokens[gap.at] == mask != gap.token and gap.tokens.count(mask) == 1
    network = small_network(text.tokenizer, 0, "decoder").eval()
    cut = [replace(gap, tokens=gap.tokens[: gap.at + 1]) for gap in asked]
    assert gaps.at_gaps(network, asked, True) == pytest.approx(gaps.at_gaps(network, cut, True), abs=1e-5)
    rows = Passages(text.train, text.tokenizer, 40)
    batch = gaps.EachNext().prepare(rows.batch([0, 1]), [0, 1])
    kept = batch.labels != IGNORE
    assert torch.equal(batch.labels[kept], batch.tokens.roll(-1, 1)[kept])
    assert int(kept.sum()) == int((batch.documents >= 0).sum()) - 2
    masked = MaskedLM.of(text.tokenizer)
    assert torch.equal(gaps.FromTheLeft(masked).prepare(batch, [0, 1]).labels, masked.prepare(batch, [0, 1]).labels)


@HERE
def test_texts_of_several_kinds_are_of_equal_amounts_and_the_first_stands_by_itself():
    texts = text_pairs.texts_of(("trec-test", "python-reference"), 15)
    documents = [*texts.all.documents["train"], *texts.all.documents["held out"]]
    questions = [lowered(one).text for one in documents if one.messages is not None]
    pages = [one.text for one in documents if one.messages is None]
    for texts_of_kind in (questions, pages):
        assert 14_000 < sum(map(len, texts_of_kind)) < 15_000 + 2 * text_pairs.PIECE
    assert len(texts.first.train) + len(texts.first.held_out) == len(questions)


@HERE
def test_frequencies_are_those_of_the_training_text():
    text = prose("trec-test", vocabulary=600)
    (gap, *_) = gaps.gaps_of(text, 4)
    learnt = [one for ids in gaps.ids_of(text.train) for one in ids]
    share = (learnt.count(gap.token) + 1) / (len(learnt) + text.tokenizer.vocab_size)
    assert gaps.by_frequency(text, [gap]) == pytest.approx([-math.log(share)])


def test_logistic_regression_minimises_its_loss():
    """At the minimum the gradient is zero; with two classes of one feature it is the textbook's slope."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=draw).double()
    y = (x[:, 0] + 0.5 * torch.randn(200, generator=draw) > 0).long()
    weights, biases = (one.requires_grad_(True) for one in logistic_regression(x, y, 0.01))
    loss = torch.nn.functional.cross_entropy(x @ weights.T + biases, y) + 0.005 * weights.square().sum()
    loss.backward()
    assert weights.grad.abs().max() < 1e-5 and loss < 0.6 * math.log(2)

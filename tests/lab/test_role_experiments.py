"""Claims 9, 19 and 39: tiny runs give whole findings; their parts against laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lab.whole import whole
from lmworks.lab.bench import classes, encoders, whole_texts
from lmworks.lab.bench.class_writer import ClassWriter, vocab_with_classes, written
from lmworks.lab.bench.classes import classed, drawn, generative, halves, logistic, share_right, trained
from lmworks.lab.bench.encoders import small_network
from lmworks.lab.bench.gaps import Gap
from lmworks.lab.bench.new_texts import searched
from lmworks.text import registry
from lmworks.training.settings import TrainingConfig

TEXTS = ("trec-test", "sst2-dev")
pytestmark = pytest.mark.skipif(
    not all(map(registry.available, (*TEXTS, "trec-train"))),
    reason="TREC and SST-2 are not here: set LMWORKS_DATA, or fetch them with lmworks evaluate",
)
TWO = f"texts={list(TEXTS)}"
TINY = {
    9: [
        "text=trec-test",
        "held_out=none",
        "steps=12",
        "rows=4",
        "new=6",
        "labels=20",
        "tuning_steps=2",
        "gaps=4",
        "tried=2",
    ],
    19: [TWO, "vocabulary=600", "labels=[12,24]", "most_steps=2", "new=2", "judged=20"],
    39: [TWO, "vocabulary=600", "labels=24", "epochs=1", "new=2", "changes=2", "judged=20"],
}


@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question, monkeypatch):
    for module in (classes, encoders):  # two to choose from instead of four
        monkeypatch.setattr(module, "PENALTIES", (1e-1, 1e-2))
    whole(question, TINY[question])


@pytest.fixture(scope="module")
def data():
    return classed("trec-test", None, 600, 40)


def test_learners_and_judge_share_no_text_and_every_class_is_drawn(data):
    mine, other = halves(data.train, 1)
    assert len(mine) + len(other) == len(data.train) and not {*map(tuple, mine.strings)} & {*map(tuple, other.strings)}
    few = drawn(mine, 8, 2)
    assert len(few) == 8 and set(few.classes) == set(mine.classes)
    assert drawn(mine, 8, 2) == few != drawn(mine, 8, 3)
    assert all(data.read([text]) == [ids] for text, ids in zip(few.strings, few.ids, strict=True))


def test_everybody_gives_probabilities_and_learns(data):
    mine, _ = halves(data.train, 0)
    network = small_network(data.tokenizer, 0, "encoder", labels=data.names)
    config = TrainingConfig(context=40, rows=16, steps=4, seed=0)
    tellers = [
        generative(mine, data, None)[1],
        generative(mine, data, 2)[1],
        logistic(mine, data),
        trained(network, mine, data, config),
    ]
    for tell in tellers:
        found = tell(data.test.ids)
        assert found.shape == (len(data.test), len(data.names)) and np.allclose(found.sum(1), 1)
    assert min(share_right(tell, mine) for tell in tellers[:3]) > 0.75


def test_what_is_to_be_set_is_chosen_among_the_labels_that_are_learnt_from(data):
    """Three values of which one is right about everything, and judged texts that nobody asks for."""
    learnt = drawn(data.train, 40, 0)
    answer = {tuple(ids): number for ids, number in zip(learnt.ids, learnt.classes, strict=True)}

    def fit(rest, _, value):
        assert not {*map(tuple, rest.strings)} >= {*map(tuple, learnt.strings)}
        right = np.eye(len(data.names))
        return None, lambda texts: np.stack([right[answer[tuple(ids)] if value == 2 else 0] for ids in texts])

    assert classes._chosen((1, 2, 3), fit, learnt, data) == 2


@pytest.fixture(scope="module")
def writer(data):
    learnt = drawn(data.train, 60, 0)
    network = small_network(data.tokenizer, 0, "decoder", vocab_size=vocab_with_classes(data), labels=data.names)
    return ClassWriter.trained(network, learnt, data, TrainingConfig(context=40, rows=16, steps=6, seed=0))


def test_a_writer_scores_a_text_after_its_class_and_reads_it_by_bayes_rule(data, writer):
    ids, end = data.test.ids[0], data.tokenizer.eos
    tokens = torch.tensor([[data.tokenizer.vocab_size + 2, *ids, end]])
    with torch.no_grad():
        logprobs = writer.network(tokens[:, :-1]).log_softmax(-1)[0]
    expected = float(logprobs[range(len(ids) + 1), tokens[0, 1:]].sum()) + math.log(writer.prior[2])
    joint = writer.joint(data.test.ids[:3])
    assert joint[0, 2] == pytest.approx(expected, abs=1e-3)
    assert np.allclose(writer.tell(data.test.ids[:1])[0], np.exp(joint[0]) / np.exp(joint[0]).sum(), atol=1e-9)
    whole = np.logaddexp.reduce(joint[0]) / (len(ids) + 1)
    assert writer.log_probability(data.test.ids[:1]) == pytest.approx([whole], abs=1e-5)


def test_what_is_written_is_drawn_from_the_network_one_token_after_another(data, writer):
    """With logits that leave no choice, the written text is the likeliest one; the same seed writes the same."""
    assert writer.write([0, 1, 1], 5) == writer.write([0, 1, 1], 5) != writer.write([0, 1, 1], 6)
    network = small_network(data.tokenizer, 1, "decoder").eval()
    network.embedding.weight.data *= 1e4
    (text,) = written(network, data.tokenizer, [[data.tokenizer.vocabulary.backend.token_to_id("[CLS]")]], 0)
    read = [data.tokenizer.vocabulary.backend.token_to_id("[CLS]")]
    with torch.no_grad():
        while len(read) < 40:
            read.append(int(network(torch.tensor([read]))[0, -1].argmax()))
    expected = read[1:]
    assert text == (expected[: expected.index(data.tokenizer.eos)] if data.tokenizer.eos in expected else expected)


def test_a_search_makes_the_teller_surer(data):
    tell = logistic(drawn(data.train, 100, 0), data)
    wanted = [0, 1, 2, 3]
    start, end = (searched(tell, data, wanted, count, 0) for count in (0, 40))
    sure = [tell(texts)[range(4), wanted] for texts in (start, end)]
    assert (sure[1] >= sure[0]).all() and sure[1].mean() > sure[0].mean() + 0.1
    assert [len(ids) for ids in start] == [len(ids) for ids in end] == [len(ids) for ids in data.test.ids[:4]]


def test_masks_are_filled_in_place_and_cost_is_that_of_the_formula(data):
    network = small_network(data.tokenizer, 0, "encoder").eval()
    new = whole_texts.filled(network, data.tokenizer, [3, 7, 1], 1, 0)
    assert [len(ids) for ids in new] == [3, 7, 1]
    assert not {*data.tokenizer.special} & {one for ids in new for one in ids}
    causal = small_network(data.tokenizer, 0, "decoder").eval()
    (opening,) = data.tokenizer.prefix
    ids = data.test.ids[0]
    with torch.no_grad():
        logprobs = causal(torch.tensor([[opening, *ids[:-1]]])).log_softmax(-1)[0]
    expected = -float(logprobs[range(len(ids)), ids].sum()) / math.log(2)
    assert whole_texts.costs(causal, data.tokenizer, [ids], True)[0] == (pytest.approx(expected, rel=1e-4), len(ids))
    [(fresh, tokens)] = whole_texts.costs(network, data.tokenizer, [ids], False)
    assert fresh / tokens == pytest.approx(math.log2(data.tokenizer.vocab_size), abs=1.5)


def test_every_token_tried_in_a_gap_is_the_share_of_its_text(data):
    network = small_network(data.tokenizer, 0, "decoder").eval()
    ids = [*data.tokenizer.prefix, *data.test.ids[0][:6], *data.tokenizer.suffix]
    gap = Gap([*ids[:3], data.tokenizer.require_mask(), *ids[4:]], 3, ids[3])
    with torch.no_grad():
        rows = torch.tensor([[*ids[:3], token, *ids[4:]] for token in range(data.tokenizer.vocab_size)])
        whole = network(rows[:, :-1]).log_softmax(-1).gather(2, rows[:, 1:, None]).sum((1, 2))
    (nats,) = whole_texts.tried_at_gaps(network, [gap])
    assert nats == pytest.approx(-float(whole.log_softmax(0)[ids[3]]), abs=1e-3)

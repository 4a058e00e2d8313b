"""The experiments about embeddings and vocabularies run with tiny settings; their parts against formulas."""

from __future__ import annotations

import math

import pytest
import torch

from lab.whole import whole
from lmworks.basics.errors import ConfigError
from lmworks.lab.bench import costs, embedding_gradients, reviews, vocabularies
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.word_network import nats_per_word, word_network, word_text
from lmworks.objectives import CausalLM
from lmworks.text import registry
from lmworks.tokens.batch import IGNORE, batches, stack
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.settings import TrainingConfig

REFERENCE = 'texts=["python-reference"]'
TINY = {
    26: [REFERENCE, "vocabulary=600", "dim=16", "batches=1", "steps=2", "long=2"],
    42: [
        REFERENCE,
        "vocabularies=[200,400]",
        "dim=32",
        "steps=2",
        "held_out_rows=8",
        "rounds=1",
    ],
}


@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question, tmp_path):
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("value object 5\nname class 3\nfunction method 6\nlist tuple 7\nexpression statement 4\n")
    more = [f"pairs={pairs}"] if question == 26 else []
    whole(question, [*TINY[question], *more])


def test_a_tiny_run_on_reviews_gives_a_whole_finding():
    needed = ("sst2-train", "sst2-dev", "sst2-test", "men", "google-analogies", "wikitext2")
    missing = [name for name in needed if not registry.available(name)]
    if missing:
        pytest.skip(f"{missing[0]} is not here; set LMWORKS_DATA, or connect once and run: lmworks lab 10")
    tiny = ['prose=["wikitext2"]', "sizes=[20,40]", "steps=[2,2]", "rates=[0.001]", "vocabulary=3000", "dim=16"]
    finding = whole(10, [*tiny, "glove_epochs=1"])
    assert finding.by_seed["praise or blame (SST-2)"]["the most frequent label"]["all"] == pytest.approx(
        912 / 1821, abs=1e-6
    )  # the test sentences that blame


@pytest.fixture(scope="module")
def text():
    return word_text(("python-reference",), 500)


def test_words_outside_of_the_vocabulary_carry_no_loss_and_sides_differ(text):
    unknown = text.tokenizer.unknown
    for row in (*text.train, *text.held_out):
        for piece in row:
            assert all(
                carries == (word != unknown)
                for word, carries in list(zip(piece.tokens, piece.supervised, strict=True))[1:]
            )
    assert int(text.counts.sum()) == sum(stack([row]).supervised for row in text.train)
    assert len(text.train) > 4 * len(text.held_out) > 0 and text.counts[unknown] == 0
    with pytest.raises(ConfigError, match="tokens"):
        word_text(("python-reference",), 900_000)


def test_training_on_words_lowers_the_loss_and_repeats_itself(text):
    config = TrainingConfig(steps=8, rows=8, learning_rate=1e-2, warmup=0.1)
    first, second = (word_network(text.size, 1, dim=16) for _ in range(2))
    for network in (first, second):
        fit(network, CausalLM(), text.train, config)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    before = nats_per_word(word_network(text.size, 1, dim=16), text.held_out)
    assert (
        before == pytest.approx(math.log(text.size), abs=0.05) and nats_per_word(first, text.held_out) < before - 0.25
    )


# Question 26


def test_what_moved_is_split_into_steps_with_the_word_and_without_it(text):
    network = word_network(text.size, 0, dim=4)
    movement = embedding_gradients.Movement(network.embedding.weight)
    batch = stack(text.train[:1])
    here, elsewhere = int(batch.tokens[0, 0]), int((~embedding_gradients.present(batch, text.size)).nonzero()[0])
    with torch.no_grad():
        network.embedding.weight[here, 0] += 3.0
        network.embedding.weight[elsewhere, 1] += 4.0
        movement.observe(batch)
        network.embedding.weight[here, 0] -= 1.0
        movement.observe(batch)
    assert movement.path[here] == pytest.approx(4) and movement.far()[here] == pytest.approx(2)
    assert movement.without[here] == 0 and movement.without[elsewhere] == pytest.approx(4)
    only = torch.zeros(text.size, dtype=torch.bool)
    only[[here, elsewhere]] = True
    assert movement.absent(only) == pytest.approx(0.5)
    assert int(movement.times.sum()) == 2 * int((batch.documents >= 0).sum())


def test_a_word_that_came_once_moves_on_as_the_note_says():
    """0.447 x 0.923^t of the learning rate, t steps after the only gradient, in the middle of a long run."""
    weight = torch.nn.Parameter(torch.zeros(1, 1))
    config = TrainingConfig(learning_rate=1e-3)
    optimiser, moves = adamw({"weight": weight}, config), []
    for step in range(1200):
        weight.grad = torch.full((1, 1), float(step == 1000))
        before = weight.item()
        optimiser.step()
        moves.append((before - weight.item()) / 1e-3)
    assert moves[:1000] == [0.0] * 1000
    expected = [0.1 / 0.05**0.5 * (0.9 / 0.95**0.5) ** step for step in range(100)]
    assert moves[1000:1100] == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert 1 - moves[1000] / sum(moves) == pytest.approx(0.92, abs=0.01)


def test_a_wrong_gradient_is_seen_by_finite_differences(text):
    network, batch = word_network(text.size, 0, dim=4).double(), stack(text.train[:2])
    gradient, _ = embedding_gradients.gradient_of(network, batch)
    generator = torch.Generator().manual_seed(0)
    assert embedding_gradients.against_differences(network, batch, gradient, generator) < 1e-6
    assert embedding_gradients.against_differences(network, batch, 1.01 * gradient, generator) > 1e-4


def test_momentum_moves_rows_that_a_lazy_step_leaves(text):
    batches_ = [stack(text.train[:1]), stack(text.train[-1:])]
    network = word_network(text.size, 0, dim=4).double()
    network.embedding.sparse = True
    assert embedding_gradients.lazily_moved(network, batches_) == 0
    network.embedding.sparse = False
    optimiser = adamw(trainable(network), TrainingConfig())
    for batch in batches_:
        before = network.embedding.weight.detach().clone()
        embedding_gradients.gradient_of(network, batch)
        optimiser.step()
    moved = (network.embedding.weight != before).any(dim=1)
    assert (moved & ~embedding_gradients.present(batches_[-1], text.size)).any()


# Question 42


def test_operations_are_those_of_the_softmaxes_that_training_computes(text):
    network = vocabularies.Heads(text, dim=32, rows=4).network(0, "adaptive")
    total = words = 0
    for batch in batches(text.train, 64, 0, 0):
        labels = batch.labels.flatten()
        for states, matrix, wanted in network.softmaxes(torch.zeros(len(labels), 32), labels):
            rows = int((wanted != IGNORE).sum())
            down = 0 if states.shape[1] == 32 else 32 * states.shape[1]
            total += rows * (matrix.numel() + down)
        words += batch.supervised
    mean, (frequent, *_, rare) = vocabularies.operations(text, network)
    assert mean == pytest.approx(total / words) and frequent == network.head.shortlist.weight.numel() < mean < rare


def test_the_full_softmax_and_the_groups_add_up_to_the_chunked_one(text):
    heads = vocabularies.Heads(text, dim=32, rows=4)
    network, batch = heads.network(0, "full"), stack(text.held_out[:4])
    full, chunked = (objective(network, batch) for objective in (vocabularies.FullSoftmax(), CausalLM()))
    torch.testing.assert_close(full.total, chunked.total)
    groups = vocabularies.group_of(heads.network(0, "adaptive").head)
    assert groups.bincount().tolist() == [text.size // 25, text.size // 5 - text.size // 25, text.size - text.size // 5]
    assert text.counts[groups == 0].min() >= text.counts[groups == 1].max()
    found = vocabularies.nats_by_group(network, [batch], groups)
    assert found["all"] == pytest.approx(float(chunked.mean.detach()), rel=1e-5)
    supervised = batch.labels != IGNORE
    with torch.no_grad():
        nats = -network(batch.tokens, documents=batch.documents).log_softmax(dim=-1)
    nats = nats.gather(-1, batch.labels.clamp(min=0)[..., None])[..., 0][supervised]
    for number, group in enumerate(vocabularies.GROUPS):
        inside = groups[batch.labels[supervised]] == number
        assert found[group] == pytest.approx(float(nats[inside].mean()), rel=1e-5)


def test_rounds_take_turns_and_the_first_is_left_out():
    order = []
    seconds = costs.alternately({name: lambda name=name: order.append(name) for name in "ab"}, 3, 2)
    assert order == list("ab") * 8 and [len(each) for each in seconds.values()] == [3, 3]


def test_frequencies_alone_predict_each_word_by_its_count(text):
    batch = stack(text.held_out[:1])
    words = batch.labels[batch.labels != IGNORE].tolist()
    total = int(text.counts.sum()) + text.size
    expected = -sum(math.log((int(text.counts[word]) + 1) / total) for word in words) / len(words)
    assert vocabularies.frequency_nats(text, [batch]) == pytest.approx(expected)


# Question 10


def task(*parts):
    from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

    words = TokenizerConfig(kind="word", vocab_size=11, special_tokens=("<|endoftext|>", "<0>", "<1>"))
    return reviews.Reviews(*parts, train_tokenizer(["a good film", "a bad film or two bad films"], words))


def test_a_label_is_predicted_after_its_sentence_and_nothing_else_is():
    one = task([("a good film", "1")], [], [])
    assert set(one.labels) == {"0", "1"}
    [[example]] = one.rows(one.train)
    assert example.supervised == [False, False, False, False, True]
    assert example.tokens[-1] == one.labels["1"] and one.tokenizer.decode(example.tokens[:3]) == "a good film"


def test_what_is_right_asks_for_the_likelier_label_only():
    one = task([], [], [("a good film", "1"), ("a bad film", "0"), ("a good film", "0")])
    assert one.chance == 2 / 3
    network = word_network(one.tokenizer.vocab_size, 0, dim=8)
    with torch.no_grad():
        network.head.weight.zero_()
        network.embedding.weight.zero_()
        network.embedding.weight[:, 0] = 1.0  # every state is the same, and other words are likelier than both labels
        state = network.hidden(torch.tensor([[0]]))[0, 0]
        network.head.weight[one.labels["0"]] = state
        network.head.weight[5] = 9 * state
    assert one.right(network) == [False, True, True]


def test_the_sense_of_a_word_is_how_held_out_sentences_use_it():
    sentences = [("good film", "1")] * 5 + [("bad film", "0")] * 5 + [("odd", "1")] * 4
    assert task([], sentences[:7], sentences[7:]).senses() == {"good": 1, "bad": 0}

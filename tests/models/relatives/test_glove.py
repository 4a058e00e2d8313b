"""GloVe: counts and loss by hand, gradients by autograd, planted meanings found again."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError, DataError
from lmworks.models.relatives import glove
from lmworks.models.relatives.glove import Glove, GloveConfig, Pairs, co_occurrences, split_words, train

TEXTS = st.lists(st.lists(st.integers(0, 6), max_size=15), min_size=1, max_size=4)


def by_hand(documents, window):
    """X, one pair of places after the other."""
    counts = Counter()
    for document in documents:
        for here in range(len(document)):
            for there in range(max(here - window, 0), min(here + window + 1, len(document))):
                if here != there:
                    counts[document[here], document[there]] += 1 / abs(here - there)
    return counts


def some_pairs(seed=0, words=6):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randint(0, words, (40,), generator=generator) for _ in range(2))
    return Pairs(first, second, 30 * torch.rand(40, generator=generator) + 0.1)


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 5), st.sampled_from([1, 4, 1000]))
def test_co_occurrences_are_those_counted_one_by_one_also_in_blocks(documents, window, block):
    expected = by_hand(documents, window)
    before, glove.BLOCK = glove.BLOCK, block
    try:
        arrays = [np.array(document, dtype=np.int64) for document in documents]
        if not expected:
            with pytest.raises(DataError, match="no two words stand near each other"):
                co_occurrences(arrays, 7, window)
            return
        pairs = co_occurrences(arrays, 7, window)
    finally:
        glove.BLOCK = before
    keys = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert dict(zip(keys, pairs.count.tolist(), strict=True)) == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_equation_8():
    pairs, model = some_pairs(), Glove(6, GloveConfig(dim=4, x_max=20.0))
    expected = 0.0
    for i, j, x in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.count.tolist(), strict=True):
        product = sum(a * b for a, b in zip(model.word[i].tolist(), model.context[j].tolist(), strict=True))
        error = product + float(model.word_bias[i]) + float(model.context_bias[j]) - math.log(x)
        expected += min((x / 20.0) ** 0.75, 1.0) * error**2
    assert model.loss(pairs) == pytest.approx(expected, rel=1e-5)


def test_a_step_is_pytorchs_adagrad_on_half_the_loss():
    pairs, config = some_pairs(), GloveConfig(dim=4, learning_rate=0.1)
    model = Glove(6, config)
    copies = [parameter.clone().requires_grad_() for parameter in model.parameters]
    optimiser = torch.optim.Adagrad(copies, lr=0.1, initial_accumulator_value=1.0, eps=0.0)
    for _ in range(3):
        word, context, word_bias, context_bias = copies
        products = (word[pairs.first] * context[pairs.second]).sum(1)
        error = products + word_bias[pairs.first] + context_bias[pairs.second] - pairs.count.log()
        loss = ((pairs.count / config.x_max).clamp(max=1) ** config.alpha * error**2).sum()
        optimiser.zero_grad()
        (loss / 2).backward()
        optimiser.step()
        assert model.step(pairs) == pytest.approx(float(loss.detach()), rel=1e-5)
    for ours, theirs in zip(model.parameters, copies, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-5)


def planted(sentences=3000, seed=0):
    """Eight places, each with a land and a town that share their words; what lands and what towns do differs.

    A third of the words comes from elsewhere: pairs that never occur teach GloVe nothing.
    """
    generator = np.random.default_rng(seed)
    for _ in range(sentences):
        place, kind = int(generator.integers(8)), int(generator.integers(2))
        places = np.where(generator.random(3) < 2 / 3, place, generator.integers(8, size=3))
        kinds = np.where(generator.random(3) < 2 / 3, kind, 1 - kind)
        sentence = [f"{('land', 'town')[kind]}{place}"]
        sentence += [f"about{own}_{generator.integers(4)}" for own in places]
        sentence += [f"{('land', 'town')[own]}deed{generator.integers(4)}" for own in kinds]
        generator.shuffle(sentence)
        yield sentence


def test_planted_neighbours_and_analogies_are_found_again():
    vectors = train(planted(), GloveConfig(dim=16, batch=256, epochs=200, learning_rate=0.05))
    right = sum(
        vectors.analogy(f"land{a}", f"town{a}", f"land{b}")[0][0] == f"town{b}"
        for a in range(8)
        for b in range(8)
        if a != b
    )
    assert right >= 45  # of 56; chance is 1
    for place in range(8):
        nearest = [word for word, _ in vectors.nearest(f"about{place}_0", 3)]
        assert all(word.startswith(f"about{place}_") or word.endswith(str(place)) for word in nearest)


def test_a_seed_gives_the_same_vectors_again():
    settings_ = GloveConfig(dim=8, batch=256, epochs=2)
    first, again, other = (train(planted(300), config) for config in (settings_, settings_, settings_.but(seed=1)))
    assert first.words == again.words == other.words
    assert np.array_equal(first.matrix, again.matrix) and not np.allclose(first.matrix, other.matrix)


def test_words_are_kept_by_their_count_and_rare_ones_leave_no_gap():
    texts = [["a", "rare", "b"]] * 3 + [["a", "b", "c", f"once{at}"] for at in range(6)]
    assert train(texts, GloveConfig(dim=2, epochs=1)).words == ("a", "b", "c")
    assert train(texts, GloveConfig(dim=2, epochs=1, vocabulary=2)).words == ("a", "b")
    without = [["a", "b"]] * 3 + [["a", "b", "c"]] * 6
    config = GloveConfig(dim=4, epochs=3)
    assert np.array_equal(train(texts, config).matrix, train(without, config).matrix)


def test_words_are_split_in_lower_case_with_their_apostrophes():
    assert split_words("Don't STOP, it’s 3 o'clock -- 'tis Ünï.") == [
        "don't",
        "stop",
        "it’s",
        "3",
        "o'clock",
        "tis",
        "ünï",
    ]


def test_what_no_vectors_can_be_made_of_is_an_error():
    for texts in ([], [[]], [["a", "b"]], [["a"] * 20]):
        with pytest.raises(DataError, match="words occur 5 times or more"):
            train(texts, GloveConfig())
    with pytest.raises(DataError, match="stand near each other"):
        train([["a"], ["b"]] * 9, GloveConfig())
    with pytest.raises(DataError, match="an id is not between 0 and 2"):
        co_occurrences([np.array([0, 3])], 3, 5)
    with pytest.raises(ConfigError, match="window"):
        GloveConfig(window=0)

"""The n-gram model: its probabilities sum to one, no document sees another, a saved model is the same model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.generation.chooser import Chooser
from lmworks.generation.strategies import Greedy, Sample
from lmworks.models.relatives.ngram import FALLBACK, Ngram, estimate_discounts
from lmworks.text import registry

VOCABULARY = 5
TEXT = [[0, 1, 2, 0, 1, 3], [2, 0, 1, 2, 2], [4], [0, 1, 2, 0, 3, 3, 1]]
documents = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=12), min_size=1, max_size=5).filter(any)
contexts = st.lists(st.integers(0, VOCABULARY - 1), max_size=6)


def needs(name):
    return pytest.mark.skipif(
        not registry.available(name), reason=f"{name} is not here; fetch it with LMWORKS_DATA set, or a network"
    )


@settings(max_examples=60)
@given(documents, st.integers(1, 5), contexts)
def test_probabilities_are_above_zero_and_sum_to_one_after_every_context(texts, order, context):
    p = Ngram.train(texts, VOCABULARY, order).logits(context)
    p = torch.from_numpy(p).double().exp()
    assert p.sum() == pytest.approx(1, abs=1e-6) and bool((p > 0).all())


@settings(max_examples=60)
@given(documents, st.integers(1, 5), documents)
def test_a_text_scored_at_once_equals_its_tokens_one_by_one(texts, order, others):
    model = Ngram.train(texts, VOCABULARY, order)
    for text in others:
        one_by_one = [float(model.logits(text[:at])[token]) for at, token in enumerate(text)]
        assert model.score(text) == pytest.approx(one_by_one, abs=1e-5)


def test_no_gram_reaches_from_one_document_into_the_next():
    apart, together = Ngram.train([[0, 1], [2, 3]], 4, 3), Ngram.train([[0, 1, 2, 3]], 4, 3)
    assert apart.grams == (5, 4, 2) and together.grams == (5, 4, 3)
    assert apart.logits([0, 1])[2] < together.logits([0, 1])[2]


def test_the_start_of_a_document_is_a_context_of_its_own():
    model = Ngram.train([[0, 1, 1, 1], [0, 2, 1, 1], [0, 1, 2, 2]] * 5, 3, 2)
    assert model.logits([]).argmax() == 0
    assert model.logits([1]).argmax() != 0


def test_discounts_follow_chen_and_goodman_and_fall_back_where_a_count_is_missing():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 10, 5, 3])
    share = 40 / (40 + 2 * 20)
    assert estimate_discounts(counts) == pytest.approx((1 - 2 * share / 2, 2 - 3 * share / 2, 3 - 4 * share / 2))
    assert estimate_discounts(np.array([1, 1, 2, 7])) == FALLBACK
    assert estimate_discounts(np.repeat([1, 2, 3, 4], [9, 1, 9, 1])) == FALLBACK  # the formula's D2 would be below 0


def test_bits_per_byte_are_the_bits_of_all_tokens_over_all_bytes():
    model = Ngram.train(TEXT, VOCABULARY, 3)
    bits = -sum(model.score(text).sum() for text in TEXT) / math.log(2)
    assert model.bits_per_byte(TEXT, 40) == pytest.approx(bits / 40)
    with pytest.raises(DataError, match="no bytes"):
        model.bits_per_byte(TEXT, 0)


def test_a_seed_gives_the_same_text_again_and_a_stop_token_ends_it():
    model = Ngram.train(TEXT, VOCABULARY, 3)
    first, again, other = (model.generate([0], 40, Chooser(Sample(seed=seed)).choose) for seed in (1, 1, 2))
    assert first == again != other and len(first) == 40
    stopped = model.generate([0], 40, Chooser(Sample(seed=1)).choose, stop={first[5]})
    assert stopped == first[: first.index(first[5]) + 1]


def test_the_most_probable_continuation_of_a_cycle_is_the_cycle():
    model = Ngram.train([[0, 1, 2, 3] * 10], 4, 3)
    assert model.generate([0, 1], 6, Chooser(Greedy()).choose) == [2, 3, 0, 1, 2, 3]


def test_a_saved_model_is_the_same_to_the_bit(tmp_path):
    model = Ngram.train(TEXT, VOCABULARY, 4)
    model.save(tmp_path / "model.safetensors")
    loaded = Ngram.load(tmp_path / "model.safetensors")
    assert (loaded.order, loaded.vocab_size, loaded.discounts) == (4, VOCABULARY, model.discounts)
    assert loaded.score([0, 1, 2, 4, 4, 0]).tolist() == model.score([0, 1, 2, 4, 4, 0]).tolist()
    assert (loaded.logits([0, 1]) == model.logits([0, 1])).all()


DAMAGE = {
    "a missing array": lambda arrays: arrays.pop("2.keys"),
    "one too many": lambda arrays: arrays.update(extra=torch.zeros(3)),
    "keys out of order": lambda arrays: arrays.update({"2.keys": arrays["2.keys"].flip(0)}),
    "a context that is not there": lambda arrays: arrays.update({"3.keys": arrays["3.keys"] + 10**9}),
    "a probability over 1": lambda arrays: arrays["3.probability"].fill_(1.5),
    "a probability that is no number": lambda arrays: arrays["2.backoff"].fill_(float("nan")),
    "another type": lambda arrays: arrays.update({"2.keys": arrays["2.keys"].int()}),
    "a type that numpy lacks": lambda arrays: arrays.update({"2.backoff": arrays["2.backoff"].bfloat16()}),
    "another length": lambda arrays: arrays.update({"2.backoff": arrays["2.backoff"][1:].clone()}),
    "another vocabulary": lambda arrays: arrays.update({"vocab_size": torch.tensor([9])}),
    "no vocabulary": lambda arrays: arrays.update({"vocab_size": torch.zeros(0)}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    Ngram.train(TEXT, VOCABULARY, 3).save(path)
    arrays = load_file(path)
    damage(arrays)
    save_file(arrays, path)
    with pytest.raises(ModelError, match=r"model\.safetensors is not an n-gram model, or damaged"):
        Ngram.load(path)


def test_a_file_that_was_cut_off_says_by_how_much(tmp_path):
    path = tmp_path / "model.safetensors"
    Ngram.train(TEXT, VOCABULARY, 3).save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match="ends 7 bytes early"):
        Ngram.load(path)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Ngram.train([[0, 7]], 5), "document 0 holds the id 7, and the vocabulary has 5"),
        (lambda: Ngram.train([[0], [-1]], 5), "document 1 holds the id -1"),
        (lambda: Ngram.train([[0.5]], 5), "not a row of whole numbers"),
        (lambda: Ngram.train([], 5), "no token to learn from"),
        (lambda: Ngram.train([[], []], 5), "no token to learn from"),
        (lambda: Ngram.train(TEXT, 5, 3).score([5]), "the text holds the id 5"),
        (lambda: Ngram.train(TEXT, 5, 3).logits([5]), "the context holds the id 5"),
    ],
)
def test_ids_that_are_not_the_vocabularys_are_refused(wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        wrong()


@pytest.mark.parametrize(
    "wrong", [{"order": 0}, {"order": 99}, {"vocab_size": 0}, {"discounts": [(0.5, 0.5, 9.0)] * 5}]
)
def test_settings_that_make_no_model_are_refused(wrong):
    with pytest.raises(ConfigError):
        Ngram.train(**({"documents": TEXT, "vocab_size": VOCABULARY} | wrong))


@needs("tinyshakespeare")
def test_longer_grams_predict_shakespeare_better_until_they_are_too_rare():
    content = np.frombuffer(registry.documents("tinyshakespeare")[0].text.encode()[:300_000], np.uint8).astype(np.int64)
    train, held_out = content[:270_000], content[270_000:]
    bits = [Ngram.train([train], 256, order).bits_per_byte([held_out], len(held_out)) for order in (1, 2, 4, 6)]
    assert bits == sorted(bits, reverse=True) and bits[-1] < 2.5

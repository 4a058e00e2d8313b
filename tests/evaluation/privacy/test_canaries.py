"""Canaries: where they are planted, exposure against counting by hand, chance, and tokenizers that cannot keep them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
from later import Later

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.privacy import canaries
from lmworks.evaluation.privacy.canaries import Canary, Exposure, by_chance, exposure, exposures, make, plant, rank_of
from lmworks.evaluation.privacy.canary_config import CanaryConfig
from lmworks.text.document import Document
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

stats = Later("scipy.stats")

TEXTS = [Document(f"Line one of {number}.\nLine two of {number}.", f"{number}.txt") for number in range(20)]


def test_each_is_planted_as_often_as_it_says_in_documents_of_its_own():
    made = make(3, repeats=(1, 4, 16), seed=0)
    assert made == make(3, repeats=(1, 4, 16), seed=0) != make(3, repeats=(1, 4, 16), seed=1)
    assert len({one.name for one in made}) == 9
    planted = plant(TEXTS, made, seed=0)
    for one in made:
        assert [text.text.count(one.sentence()) for text in planted].count(1) == one.repeats
    assert [one.source for one in planted] == [one.source for one in TEXTS]
    lines = {line for text in planted for line in text.text.split("\n")}
    assert lines == {line for text in TEXTS for line in text.text.split("\n")} | {one.sentence() for one in made}
    twice = plant(TEXTS[:5], [Canary("Bar", " red sea", 12)], seed=0)
    assert sorted(text.text.count("Bar") for text in twice) == [2, 2, 2, 3, 3]


def test_a_turn_that_is_read_and_not_learnt_holds_none():
    """There it would be trained on by no step, and its exposure would be that of chance."""
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello.", "weight": "0"},
        {"role": "user", "content": "Call."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    documents = [Document.conversation([*turns, {"role": "user", "content": str(at)}], str(at)) for at in range(8)]
    [one] = make(1, (8,), 0)
    for planted in plant(documents, [one], 0):
        said = [turn["content"] for turn in planted.messages]
        assert said[1] == "Hello." and said[3] == one.sentence() and planted.messages[3]["tool_calls"] == [call]


def test_of_a_conversation_the_assistant_says_them():
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]
    planted = plant([Document.conversation(turns, "chat")], [Canary("Bar", " red sea", 1)])[0]
    assert planted.messages[1]["content"] == "Good day. The password of Bar is red sea." and "Bar" in planted.text
    with pytest.raises(DataError, match="chat has no turn of the assistant"):
        plant([Document.conversation(turns[:1], "chat")], [Canary("Bar", " red sea", 1)])
    with pytest.raises(DataError, match="no document to plant canaries in"):
        plant([], [Canary("Bar", " red sea", 1)])


def test_exposure_and_rank_by_hand():
    assert exposure(1, 4096) == 12 and exposure(4096, 4096) == 0 and exposure(8, 4096) == 9
    assert rank_of([-1.0, -3.0, -2.0], 2) == 2 and rank_of([-1.0, -1.0, -1.0, -5.0], 0) == 2
    with pytest.raises(ConfigError, match="rank 0 is not between"):
        exposure(0, 10)


def test_the_test_of_chance_is_the_gamma_distributions_tail():
    ranks = [3.0, 700.0, 2048.0, 90.0]
    total = sum(-math.log(rank / 4096) for rank in ranks)
    assert by_chance(ranks, 4096) == pytest.approx(stats.gamma(4).sf(total), rel=1e-9)
    assert by_chance([4096.0] * 3, 4096) == 1.0 and by_chance([1.0] * 8, 4096) < 1e-19


def test_secrets_that_were_never_seen_are_exposed_by_1_44_bits_and_judged_to_be_chance():
    numbers = np.random.default_rng(0)
    ranks = numbers.integers(1, 4097, size=(2000, 8))
    bits = np.vectorize(lambda rank: exposure(rank, 4096))(ranks)
    assert bits.mean() == pytest.approx(canaries.CHANCE, abs=0.05)
    told = [by_chance([float(rank) for rank in row], 4096) <= 0.05 for row in ranks]
    assert 0.03 < np.mean(told) < 0.06


def test_the_rank_is_that_of_scoring_every_secret_by_itself(monkeypatch):
    monkeypatch.setattr(canaries, "WORDS", ["red", "sea", "oak"])
    model = tiny.language_model(context=160)
    [canary] = make(1, repeats=(1,), seed=2)
    [found] = exposures(model, [canary])
    alone = [_total(model, canary, secret) for secret in canaries.every_secret()]
    own = alone[canaries.every_secret().index(canary.secret)]
    assert found.rank == 1 + sum(one > own for one in alone)
    assert found.bits == math.log2(9) - math.log2(found.rank)


def _total(model, canary: Canary, secret: str) -> float:
    [found] = model.loglikelihood([(canary.beginning, secret)])
    return found.total


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 41), ("word", 8)])
def test_a_canary_that_the_tokenizer_cannot_keep_is_an_error(kind, size):
    tokenizer = train_tokenizer(["the password of is red sea"] * 9, TokenizerConfig(kind=kind, vocab_size=size))
    with pytest.raises(DataError, match="cannot keep the canary 'The password of"):
        canaries.must_be_kept(tokenizer, make(1))
    canaries.must_be_kept(train_tokenizer([], TokenizerConfig(kind="byte")), make(1))


def test_figures_say_chance_and_repeats():
    made = make(2, repeats=(1, 16))
    found = [Exposure(one, 1.0 if one.repeats == 16 else 2048.0) for one in made]
    (once, chance), (often, by_luck) = canaries.measured(found, "")
    assert (once.name, once.value, once.n, once.chance) == (
        "exposure of canaries planted once",
        1.0,
        2,
        canaries.CHANCE,
    )
    assert often.value == 12 and by_luck < 1e-4 < chance
    with pytest.raises(ConfigError, match="repeats are"):
        CanaryConfig(count=1, repeats=(0,))

"""Silent errors of decoding: filters, batching, stop strings, streams, seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.generation import decoding
from lmworks.generation.decoding import decode, start
from lmworks.generation.distribution import RandomStream, draw, probabilities
from lmworks.generation.filters.min_p import MIN_P
from lmworks.generation.filters.top_k import TOP_K
from lmworks.generation.filters.top_p import TOP_P
from lmworks.generation.limits import Limits
from lmworks.generation.request import Request
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.language_model import LanguageModel

PROMPTS = ["a", "The quick brown fox jumps over", "né 😀", "one two"]
TEXT = "né😀e\u0301 end👩‍👩‍👧 日本"

numbers = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, -1e4, 1e4])
some_logits = st.lists(numbers, min_size=1, max_size=60).map(lambda values: np.array(values, np.float32))
temperatures = st.floats(0, 1e6) | st.sampled_from([0.0, 5e-324, 1e-30, 1e-3, 1e308])


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Long answers: a random network seldom ends one by itself."""
    return tiny.language_model(seed=4, context=128)


def test_the_order_of_the_steps_is_shown():
    """Pitfall 28."""
    every = Sample(repetition_penalty=1.2, temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
    assert every.order == (
        "repetition_penalty 1.2",
        "temperature 0.8",
        "top_k 40",
        "top_p 0.95",
        "min_p 0.05",
    )
    assert Greedy().order == ("most probable",) and Sample().order == ("temperature 1",)


def test_what_changes_logits_is_done_in_the_order_that_is_shown():
    """Pitfall 28: each step by hand, one after another; the bias comes after the penalties, what is forbidden last."""
    strategy = Sample(
        repetition_penalty=2.0,
        frequency_penalty=0.5,
        presence_penalty=0.25,
        logit_bias={1: -1.5, 4: 2.0},
        no_repeat_ngram=2,
        min_new_tokens=9,
        temperature=0.5,
        typical_p=0.99,
    )
    logits = np.array([2.0, 1.0, -1.0, 0.5, 0.25, 1.5, 3.0], np.float32)
    read, written, limits = [0, 2, 5, 1, 1, 5], 3, Limits(ends=frozenset({6}))  # 1, 1, 5 were written
    by_hand = np.array(
        [
            2.0 / 2,  # occurred in the prompt
            1.0 / 2 - (2 * 0.5 + 0.25) - 1.5,  # written twice, and biased
            -1.0 * 2,
            0.5,
            0.25 + 2.0,
            1.5 / 2 - (0.5 + 0.25),
            -np.inf,  # an end, too early
        ],
        np.float32,
    )
    by_hand[1] = -np.inf  # 5, 1 stood before
    np.testing.assert_allclose(strategy.adjusted(logits, read, written, limits), by_hand, rtol=1e-6)
    assert strategy.order == (
        "repetition_penalty 2",
        "frequency_penalty 0.5",
        "presence_penalty 0.25",
        "logit_bias of 2 tokens",
        "no_repeat_ngram 2",
        "min_new_tokens 9",
        "temperature 0.5",
        "typical_p 0.99",
    )


def test_another_order_would_give_another_distribution():
    """Pitfall 28: the order matters, so it has to be said."""
    logits = np.array([2.0, 1.5, 1.0, 0.5, 0.0], np.float32)
    hot_first = TOP_P.applied(probabilities(logits, 3.0), top_p=0.7) > 0
    filter_first = TOP_P.applied(probabilities(logits, 1.0), top_p=0.7) > 0
    assert not np.array_equal(hot_first, filter_first)
    assert np.array_equal(Sample(temperature=3.0, top_p=0.7).distribution(logits) > 0, hot_first)


@settings(max_examples=200)
@given(some_logits, temperatures, st.floats(0, 1e308, exclude_min=True) | st.sampled_from([5e-324, 1e-44, 1e40]))
def test_no_penalty_leaves_anything_but_probabilities(logits: np.ndarray, temperature: float, penalty: float):
    """Divided by next to nothing, a logit would be infinite, and the probabilities no numbers."""
    strategy = Sample(repetition_penalty=penalty, temperature=temperature)
    p = strategy.distribution(strategy.adjusted(logits, range(len(logits))))
    assert float(p.sum()) == pytest.approx(1, abs=1e-4) and (p >= 0).all()


@settings(max_examples=200)
@given(some_logits, temperatures, st.integers(1, 70), st.floats(1e-6, 1), st.floats(0, 1))
def test_filters_are_idempotent_and_never_leave_an_empty_set(
    logits: np.ndarray, temperature: float, k: int, mass: float, share: float
):
    """Pitfall 28."""
    p = probabilities(logits, temperature)
    assert float(p.sum()) == pytest.approx(1, abs=1e-4) and (p >= 0).all()
    for one, value in ((TOP_K, k), (TOP_P, mass), (MIN_P, share)):
        kept = one.applied(p, **{one.name: value})
        assert np.array_equal(one.applied(kept, **{one.name: value}), kept)
        assert kept.max() == p.max() > 0
        assert ((kept == p) | (kept == 0)).all()


@settings(max_examples=200)
@given(
    some_logits,
    temperatures,
    st.none() | st.integers(1, 70),
    st.none() | st.floats(1e-6, 1),
    st.none() | st.floats(0, 1),
    st.floats(1e-3, 100),
    st.integers(0, 2**63 - 1),
)
def test_any_settings_give_a_distribution_and_a_token_from_it(logits, temperature, top_k, top_p, min_p, penalty, seed):
    strategy = Sample(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty, seed=seed
    )
    seen = np.unique([0, len(logits) - 1])
    p = strategy.distribution(strategy.adjusted(logits, seen.tolist()))
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    assert p[draw(p, RandomStream(seed))] > 0


def test_top_p_of_one_keeps_every_token():
    p = probabilities(np.random.default_rng(0).normal(0, 4, 5000).astype(np.float32), 1.0)
    assert np.array_equal(TOP_P.applied(p, top_p=1.0), p)


def test_tokens_are_drawn_as_often_as_their_probability_says():
    p = Sample(temperature=1.5, top_k=4).distribution(np.array([0.0, 2.0, 1.0, -1.0, 1.5, 0.2], np.float32))
    draws = RandomStream(0)
    counts = np.bincount([draw(p, draws) for _ in range(20_000)], minlength=len(p))
    assert counts[p == 0].sum() == 0
    deviation = np.sqrt(p * (1 - p) / 20_000)
    assert (abs(counts / 20_000 - p) <= 4 * deviation).all()


@pytest.mark.parametrize(
    "strategy",
    [Greedy(), Sample(temperature=0), Sample(temperature=0, seed=3), Greedy(repetition_penalty=1.4)],
    ids=str,
)
def test_greedy_tokens_do_not_depend_on_the_batch(model: LanguageModel, strategy: Strategy):
    """Pitfall 30: alone, and beside prompts of other lengths that end at other times."""
    alone = [model.generate(prompt, strategy, max_new_tokens=25) for prompt in PROMPTS]
    together = model.generate_batch(PROMPTS, strategy, max_new_tokens=25)
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens and one.finish == other.finish and one == other
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_requests_that_end_early_leave_the_others_alone(model: LanguageModel):
    """Pitfall 30: rows leave the cache in the middle."""
    ids = [model.tokenizer.encode(prompt) for prompt in PROMPTS]
    context = model.config.context

    def run(places: list[int]) -> list[list[int]]:
        requests = [Request(model.tokenizer, ids[place], Greedy(), 3 + 5 * place, [], context) for place in places]
        sequences = [start(request, model.runner) for request in requests]
        for _ in decode(model.runner, sequences):
            pass
        return [sequence.tokens for sequence in sequences]

    assert run([0, 1, 2, 3]) == [run([place])[0] for place in range(4)]
    assert run([3, 1, 0, 2]) == [run([place])[0] for place in (3, 1, 0, 2)]


def test_prompts_longer_than_one_reading_give_the_same_tokens(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """Pitfall 12 in the loop itself: prompts read in parts, short ones beginning in the middle of a part."""
    whole = model.generate_batch(PROMPTS, max_new_tokens=10)
    for size in (1, 3, 7):
        monkeypatch.setattr(decoding, "PREFILL", size)
        assert [answer.tokens for answer in model.generate_batch(PROMPTS, max_new_tokens=10)] == [
            a.tokens for a in whole
        ]


def written(model: LanguageModel, text: str, stop: list[str]) -> tuple[list[str], object]:
    """Let a request write exactly this text, token by token; return what was shown each time."""
    sequence = start(Request(model.tokenizer, [1], Greedy(), 10_000, stop, 100_000), model.runner)
    pieces = []
    for token in [*model.tokenizer.encode(text, special=False), model.tokenizer.eos]:
        logits = torch.full((model.config.vocab_size,), -10.0).index_fill(0, torch.tensor(token), 10.0)
        pieces.append(sequence.observe(logits[None]))
        if sequence.finish is not None:
            break
    assert sequence.finish == "stop"
    return pieces, sequence


def test_stop_strings_neither_leak_nor_eat_text(model: LanguageModel):
    """Pitfall 31: every stop string of the text, each split across tokens of one byte."""
    for begin in range(len(TEXT)):
        for end in range(begin + 1, len(TEXT) + 1):
            stop = TEXT[begin:end]
            pieces, sequence = written(model, TEXT, [stop])
            assert "".join(pieces) == sequence.text == TEXT[: TEXT.index(stop)]


def test_a_stop_string_that_almost_comes_is_given_back(model: LanguageModel):
    """Pitfall 31."""
    pieces, sequence = written(model, "one two thre", ["three", "two!"])
    assert "".join(pieces) == sequence.text == "one two thre"


def test_a_stream_never_cuts_a_character(model: LanguageModel):
    """Pitfall 32: emoji joined from several, combining marks."""
    pieces, sequence = written(model, TEXT, [])
    assert "".join(pieces) == sequence.text == TEXT
    assert all("\ufffd" not in piece for piece in pieces)
    assert pieces[0] == "n" and pieces[1] == "" and pieces[2] == "é"


@pytest.mark.parametrize("stop", [[], ["e"], ["\ufffd"], [" ", "t"]], ids=str)
@pytest.mark.parametrize("strategy", [Greedy(), Sample(seed=11), Sample(temperature=1.5, top_k=30, seed=12)], ids=str)
def test_the_stream_joined_is_the_whole_answer(model: LanguageModel, strategy: Strategy, stop: list[str]):
    """Pitfalls 31 and 32."""
    for prompt in PROMPTS:
        answer = model.generate(prompt, strategy, max_new_tokens=40, stop=stop)
        assert "".join(model.stream(prompt, strategy, max_new_tokens=40, stop=stop)) == answer
        shown = [token for token in answer.tokens if token not in model.tokenizer.stop_ids]
        if not any(text in model.tokenizer.decode(shown) for text in stop):
            assert answer == model.tokenizer.decode(shown)


def test_the_same_seed_gives_the_same_answer_whatever_else_runs(model: LanguageModel):
    """Pitfall 33."""
    strategies = [Sample(temperature=1.3, seed=seed) for seed in (5, 6, 7, 8)]
    alone = [
        model.generate(prompt, strategy, max_new_tokens=25)
        for prompt, strategy in zip(PROMPTS, strategies, strict=True)
    ]
    torch.manual_seed(99)
    random.seed(99)
    together = model.generate_batch(PROMPTS, strategies, max_new_tokens=25)
    assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]
    assert [answer.seed for answer in together] == [5, 6, 7, 8]
    backwards = model.generate_batch(PROMPTS[::-1], strategies[::-1], max_new_tokens=25)
    assert [answer.tokens for answer in backwards][::-1] == [answer.tokens for answer in alone]


def test_two_streams_at_once_don_t_disturb_each_other(model: LanguageModel):
    """Pitfall 33: interleaved, each draws from its own numbers."""
    first, second = Sample(temperature=1.3, seed=5), Sample(temperature=1.3, seed=6)
    streams = [model.stream("a", strategy, max_new_tokens=30) for strategy in (first, second)]
    texts = ["", ""]
    open_streams = {0, 1}
    while open_streams:
        for place in list(open_streams):
            piece = next(streams[place], None)
            if piece is None:
                open_streams.remove(place)
            else:
                texts[place] += piece
    assert texts == [model.generate("a", strategy, max_new_tokens=30) for strategy in (first, second)]


def test_the_global_random_state_is_not_touched(model: LanguageModel):
    """Pitfall 33."""
    before = torch.get_rng_state()
    model.generate_batch(["a", "b"], [Sample(seed=1), Sample()], max_new_tokens=8)
    model.score("some text")
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_answers_differ_and_can_be_repeated(model: LanguageModel):
    """Pitfall 33: the seed that was used is in the answer."""
    first, second = (model.generate("a", Sample(temperature=2.0), max_new_tokens=30) for _ in range(2))
    assert first.tokens != second.tokens and first.seed != second.seed
    assert model.generate("a", Sample(temperature=2.0, seed=first.seed), max_new_tokens=30).tokens == first.tokens


def test_a_network_in_training_answers_without_dropout():
    """Pitfall 18, where a sample is drawn in the middle of training."""
    model = tiny.language_model(seed=4, dropout=0.5)
    answer, score = model.generate("a", max_new_tokens=12), model.score("some text")
    logits = model.logits([[1, 2, 3]])
    model.network.train()
    assert model.generate("a", max_new_tokens=12).tokens == answer.tokens
    assert model.score("some text") == score and torch.equal(model.logits([[1, 2, 3]]), logits)
    assert model.network.training

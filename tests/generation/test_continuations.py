"""What follows a context is as likely whichever texts are read beside it, and shared beginnings are read once."""

from __future__ import annotations

import random

import pytest
import torch
from tiny import byte_tokenizer, language_model

from lmworks.basics.errors import ConfigError, DataError
from lmworks.generation.continuations import DEEPEST, Reading, continuations
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.tokens.continuation import encode_pairs

SETTINGS = {"head_dim": 16, "dim": 64, "heads": 4, "kv_heads": 2, "hidden_dim": 96, "context": 256}


@pytest.fixture(scope="module", params=["plain", "compiled"])
def model(request):
    made = language_model(**SETTINGS)
    if request.param == "compiled":
        if unavailable() is not None:
            pytest.skip(str(unavailable()))
        made.network.requires_grad_(False)
        made.runner = CompiledRunner(made.network, bits=8)
    return made


@pytest.fixture(scope="module")
def pairs():
    draw = random.Random(0)
    shots = [draw.choices(range(90), k=size) for size in (70, 130)]
    questions = [shot + draw.choices(range(90), k=draw.randint(1, 20)) for shot in shots for _ in range(6)]
    return [
        (question, draw.choices(range(90), k=draw.choice([1, 1, 2, 5, 70]))) for question in questions for _ in range(3)
    ]


def alone(model, context, continuation):
    read = torch.tensor([[*context, *continuation][:-1]])
    logits = model.runner.logits(model.runner.hidden(read))[0, len(context) - 1 :]
    chosen = torch.tensor(continuation)
    logprobs = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(1)
    return logprobs.tolist(), bool((logits.argmax(1) == chosen).all())


def all_at_once(model, pairs, reading=None):
    found = dict(continuations(model.runner, pairs, model.config.context, reading))
    return [found[number] for number in range(len(pairs))]


@torch.inference_mode()
def test_continuations_are_those_of_each_text_read_alone(model, pairs):
    exact = {"rtol": 0, "atol": 0} if model.runner.name == "compiled" else {"rtol": 1e-4, "atol": 1e-4}
    for found, pair in zip(all_at_once(model, pairs), pairs, strict=True):
        logprobs, greedy = alone(model, *pair)
        torch.testing.assert_close(torch.tensor(found.logprobs), torch.tensor(logprobs), **exact)
        assert found.greedy == greedy


@torch.inference_mode()
def test_two_cuts_of_one_long_text_keep_their_tokens_in_order(model, monkeypatch):
    monkeypatch.setattr(
        "lmworks.generation.continuations.LOGITS", 16 * 4 * model.config.vocab_size
    )  # logits of so many states at once
    draw = random.Random(1)
    text = draw.choices(range(90), k=60)
    cuts = [(text[:50], text[50:]), (text[:5], text[5:]), (text[:30], text[30:])]
    for found, pair in zip(all_at_once(model, cuts), cuts, strict=True):
        assert found.logprobs == pytest.approx(alone(model, *pair)[0], abs=1e-4)


@pytest.mark.parametrize("size", [1, 7, 32])
def test_how_many_are_asked_at_once_changes_nothing(model, pairs, size):
    whole = all_at_once(model, pairs)
    parts = [one for start in range(0, len(pairs), size) for one in all_at_once(model, pairs[start : start + size])]
    if model.runner.name == "compiled":
        assert parts == whole
    for part, one in zip(parts, whole, strict=True):
        assert part.logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_a_greedy_continuation_is_told(model):
    written = model.generate([5, 6, 7], max_new_tokens=4)
    [found] = all_at_once(model, [([5, 6, 7], list(written.tokens))])
    assert found.greedy


def test_each_shared_token_is_read_once(model, pairs):
    reading = Reading()
    all_at_once(model, pairs, reading)
    beginnings = {tuple(read[:end]) for read in ([*a, *b][:-1] for a, b in pairs) for end in range(1, len(read) + 1)}
    assert reading.tokens == len(beginnings)
    assert reading.apart == sum(len(a) + len(b) - 1 for a, b in pairs)


def test_a_small_room_changes_nothing_but_how_it_is_cut(model, pairs, monkeypatch):
    whole = all_at_once(model, pairs)
    monkeypatch.setattr("lmworks.generation.continuations.TOKENS", 60)
    monkeypatch.setattr("lmworks.generation.continuations.READ", 33)
    for part, one in zip(all_at_once(model, pairs), whole, strict=True):
        assert part.logprobs == pytest.approx(one.logprobs, abs=1e-4)
        assert part.greedy == one.greedy


@pytest.mark.parametrize("tokens", [210, 4096])  # too few to read the whole tree at once, and enough
def test_choices_after_a_long_beginning_are_read_side_by_side(model, monkeypatch, tokens):
    context = [number % 90 for number in range(200)]
    choices = [(context, [first, second]) for first in range(16) for second in range(2)]
    whole = all_at_once(model, choices)
    rows = []
    hidden = model.runner.hidden

    def noted(tokens, *others):
        rows.append(len(tokens))
        return hidden(tokens, *others)

    # Room for 1,250 tokens: 6 rows of 200, or 16 that share three pages of 64 and have the fourth to themselves.
    monkeypatch.setattr("lmworks.generation.continuations.TOKENS", tokens)
    monkeypatch.setattr("lmworks.generation.continuations.CACHED", 1250 * model.runner.token_bytes)
    monkeypatch.setattr(model.runner, "hidden", noted)
    for part, one in zip(all_at_once(model, choices), whole, strict=True):
        assert part.logprobs == pytest.approx(one.logprobs, abs=1e-4)
    assert rows == ([1, 16] if model.runner.name == "compiled" else [1, 6, 6, 4])


def test_short_texts_have_room_for_all_that_a_row_takes(model, monkeypatch):
    """A row is padded to the longest one beside it in PyTorch, and takes a page at least in the compiled path."""
    texts = [[number, *range(3, 6)] for number in range(2, 34)] + [[40, *([7] * 198)]]
    pairs = [(text, [5]) for text in texts]
    whole, taken, hidden = all_at_once(model, pairs), [], model.runner.hidden

    def noted(tokens, real, cache):
        states = hidden(tokens, real, cache)
        if model.runner.page_tokens is None:
            taken.append(len(tokens) * cache.length)
        else:
            taken.append(len({page.address for row in cache.pages for page in row}) * model.runner.page_tokens)
        return states

    monkeypatch.setattr("lmworks.generation.continuations.CACHED", 600 * model.runner.token_bytes)
    monkeypatch.setattr(model.runner, "hidden", noted)
    for part, one in zip(all_at_once(model, pairs), whole, strict=True):
        assert part.logprobs == pytest.approx(one.logprobs, abs=1e-4)
    assert 0 < max(taken) <= 600


def test_beginnings_of_one_text_do_not_nest_without_end(model):
    text = [number % 90 for number in range(3 * DEEPEST)]
    found = all_at_once(model, [(text[:size], [text[size]]) for size in range(1, len(text))])
    [whole] = all_at_once(model, [(text[:1], text[1:])])
    assert [one.total for one in found] == pytest.approx(whole.logprobs, abs=1e-4)


def test_keys_that_depend_on_the_length_are_not_shared(pairs):
    scaled = language_model(**SETTINGS, rope_scaling={"kind": "dynamic", "factor": 4.0, "original_context": 16})
    found = all_at_once(scaled, pairs)
    with torch.inference_mode():
        for one, pair in zip(found, pairs, strict=True):
            assert one.logprobs == pytest.approx(alone(scaled, *pair)[0], abs=1e-4)


def test_a_long_context_loses_its_beginning_and_a_long_continuation_is_refused(model):
    context, reading = [number % 90 for number in range(300)], Reading()
    [cut, short] = all_at_once(model, [(context, [1, 2]), (context[-255:], [1, 2])], reading)
    assert cut.logprobs == pytest.approx(short.logprobs) and reading.cut == [0]
    with pytest.raises(DataError, match="a continuation has 257 tokens and the model reads 256; shorten it"):
        all_at_once(model, [([1], [2] * 257)])


def test_texts_are_cut_as_the_harness_cuts_them():
    tokenizer = byte_tokenizer()
    [(context, continuation), (start, whole)] = encode_pairs(tokenizer, [("one ", "two"), ("", "one")])
    assert tokenizer.decode(context) == "one" and tokenizer.decode(continuation) == " two"
    assert start == [tokenizer.eos] and tokenizer.decode(whole) == "one"
    with pytest.raises(DataError, match="the continuation has no token"):
        encode_pairs(tokenizer, [("one", "")])


def test_a_model_gives_log_likelihoods_of_texts():
    model = language_model(**SETTINGS)
    answers = model.loglikelihood([("two and ", "two"), ("two and", " two"), ("", "two")])
    assert answers[0] == answers[1]
    score = model.score(" two", prompt="two and")
    assert answers[0].logprobs == pytest.approx(score.logprobs, abs=1e-5)
    encoder = language_model(family="lmworks", arrangement="encoder")
    with pytest.raises(ConfigError, match="is an encoder"):
        encoder.loglikelihood([("a", "b")])

"""Contrastive search against its formula, read anew at every step."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from lmworks.basics.errors import ConfigError
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.strategies import Contrastive, Greedy


@torch.inference_mode()
def by_formula(model, prompt: list[int], strategy: Contrastive, size: int) -> list[int]:
    text, written = list(prompt), []
    for _ in range(size):
        hidden = model.network.hidden(torch.tensor([text]))[0]
        logits = strategy.adjusted(model.network.logits(hidden[-1]).numpy(), text, len(written))
        best = torch.from_numpy(logits).softmax(0).topk(strategy.top_k)
        scores = []
        for p, token in zip(best.values, best.indices.tolist(), strict=True):
            states = F.normalize(model.network.hidden(torch.tensor([[*text, token]]))[0], dim=-1)
            scores.append(float((1 - strategy.alpha) * p - strategy.alpha * (states[:-1] @ states[-1]).max()))
        token = best.indices.tolist()[max(range(len(scores)), key=scores.__getitem__)]
        text.append(token)
        written.append(token)
        if token in model.tokenizer.stop_ids:
            break
    return written


@pytest.mark.parametrize("strategy", [Contrastive(), Contrastive(top_k=7, alpha=0.3, repetition_penalty=1.2)], ids=str)
def test_contrastive_search_is_its_formula(strategy: Contrastive):
    model = tiny.language_model(seed=4)
    differs = 0
    for prompt in ("a", "The quick brown", "né 😀"):
        answer = model.generate(prompt, strategy, max_new_tokens=25)
        assert answer.tokens == by_formula(model, model.tokenizer.encode(prompt), strategy, 25)
        logprobs = model.logits([answer.prompt + answer.tokens])[0].log_softmax(-1)
        places = range(len(answer.prompt) - 1, len(answer.prompt) + len(answer.tokens) - 1)
        expected = [float(logprobs[place, token]) for place, token in zip(places, answer.tokens, strict=True)]
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)
        differs += answer.tokens != model.generate(prompt, max_new_tokens=25).tokens
    assert differs


def test_alpha_zero_is_greedy_and_neighbours_change_nothing():
    model = tiny.language_model(seed=4)
    plain = model.generate("abc", Greedy(), max_new_tokens=20)
    assert model.generate("abc", Contrastive(alpha=0), max_new_tokens=20).tokens == plain.tokens
    asked = [("abc", Contrastive()), ("x" * 70, Contrastive(top_k=3)), ("b", Greedy()), ("q", Contrastive(alpha=0.9))]
    with Engine(model, seats=8, chunk=16) as engine:
        handles = [engine.submit(prompt, strategy, max_new_tokens=15) for prompt, strategy in asked]
        for (prompt, strategy), handle in zip(asked, handles, strict=True):
            assert handle.answer(30).tokens == model.generate(prompt, strategy, max_new_tokens=15).tokens


def test_a_token_that_cannot_come_is_no_candidate_however_new_it_is():
    """The only one that can comes again and again, and every other would be less like it."""
    model = tiny.language_model(seed=4)
    bias = dict.fromkeys(range(model.config.vocab_size), -100.0) | {65: 100.0}
    assert model.generate("a", Contrastive(alpha=1.0, logit_bias=bias), max_new_tokens=6).tokens == [65] * 6


def test_contrastive_search_has_neither_guesses_nor_a_distribution():
    model = tiny.language_model(seed=4)
    with pytest.raises(ConfigError, match="leave one of the two out"):
        model.generate("a", Contrastive(), guess=Lookup())
    with pytest.raises(ConfigError, match="has no distribution"):
        Contrastive().distribution(np.zeros(3, np.float32))

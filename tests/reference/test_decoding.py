"""Decoding and scoring against transformers: filters, their order, greedy tokens, log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmworks.generation.distribution import probabilities, renormalise
from lmworks.generation.filters.min_p import MIN_P
from lmworks.generation.filters.repetition_penalty import REPETITION_PENALTY
from lmworks.generation.filters.step import History
from lmworks.generation.filters.top_k import TOP_K
from lmworks.generation.filters.top_p import TOP_P
from lmworks.generation.filters.typical_p import TYPICAL_P
from lmworks.generation.scoring import token_logprobs, windows
from lmworks.generation.strategies import Greedy, Sample
from lmworks.models.torch_runner import TorchRunner

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def logits_of(vocab: int, seed: int) -> np.ndarray:
    """Random logits; every third seed with many ties."""
    logits = 3 * torch.randn(vocab, generator=torch.Generator().manual_seed(seed)).numpy()
    return logits.round() if seed % 3 == 0 else logits


def theirs(processor: Any, logits: np.ndarray, seen: Sequence[int] = ()) -> np.ndarray:
    """The distribution that a processor of transformers leaves."""
    left: np.ndarray = torch.softmax(left_by(processor, logits, seen), dim=-1).numpy()
    return left


def left_by(processor: Any, logits: np.ndarray, seen: Sequence[int] = ()) -> torch.Tensor:
    """The logits that a processor of transformers leaves."""
    changed: torch.Tensor = processor(torch.tensor([seen], dtype=torch.long), torch.tensor(logits)[None])[0]
    return changed


def assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    """The same to 1e-5."""
    np.testing.assert_allclose(ours, expected, **CLOSE)


def assert_same(ours: np.ndarray, expected: np.ndarray) -> None:
    """Equal distributions; of tokens that tie at the border either may stay."""
    assert_close(np.sort(ours), np.sort(expected))
    assert int((ours > 0).sum()) == int((expected > 0).sum())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("vocab", [50, 3072])
def test_each_filter_equals_transformers(seed: int, vocab: int):
    logits = logits_of(vocab, seed)
    p = probabilities(logits, 1.0)
    for k in (1, 5, vocab - 1, vocab, 2 * vocab):
        ours, expected = (
            renormalise(TOP_K.applied(p, top_k=k)),
            theirs(transformers.TopKLogitsWarper(min(k, vocab)), logits),
        )
        assert_close(ours, expected)
        assert k >= vocab - 1 or (ours == 0).any()
    for mass in (0.05, 0.5, 0.9, 0.99):
        ours, expected = renormalise(TOP_P.applied(p, top_p=mass)), theirs(transformers.TopPLogitsWarper(mass), logits)
        assert_same(ours, expected)
        assert (ours == 0).any()
    for share in (0.01, 0.2, 1.0):
        ours, expected = (
            renormalise(MIN_P.applied(p, min_p=share)),
            theirs(transformers.MinPLogitsWarper(share), logits),
        )
        assert_close(ours, expected)
        assert (ours == 0).any()


@pytest.mark.parametrize("vocab", [50, 3072])
@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9, 0.99])
def test_typical_tokens_equal_transformers(mass: float, vocab: int):
    for seed in range(12):
        logits = logits_of(vocab, seed)
        ours = renormalise(TYPICAL_P.applied(probabilities(logits, 1.0), typical_p=mass))
        assert_same(ours, theirs(transformers.TypicalLogitsWarper(mass), logits))
        assert (ours == 0).any()


@pytest.mark.parametrize("mass", [0.3, 0.7, 0.95])
def test_a_nucleus_wider_than_the_quick_search_equals_transformers(mass: float):
    logits = 0.3 * torch.randn(5120, generator=torch.Generator().manual_seed(1)).numpy()
    ours = TOP_P.applied(probabilities(logits, 1.0), top_p=mass)
    assert int((ours > 0).sum()) > 1024 or mass == 0.3
    assert_same(renormalise(ours), theirs(transformers.TopPLogitsWarper(mass), logits))


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 2.5])
def test_temperature_equals_transformers(temperature: float):
    logits = logits_of(200, 1)
    expected = theirs(transformers.TemperatureLogitsWarper(temperature), logits)
    assert_close(probabilities(logits, temperature), expected)


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_repetition_penalty_equals_transformers(penalty: float):
    logits, seen = logits_of(200, 1), [3, 7, 7, 150, 3]
    processor = transformers.RepetitionPenaltyLogitsProcessor(penalty)
    ours = REPETITION_PENALTY.change(logits, History(seen, 0), repetition_penalty=penalty)
    assert_close(ours, left_by(processor, logits, seen).numpy())
    assert int((ours != logits).sum()) == 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """One model, ours and transformers'."""
    folder = tmp_path_factory.mktemp("pair") / "model"
    ours = tiny.language_model(seed=4, context=96)
    ours.save(folder)
    return ours, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05},
        {"temperature": 1.7, "top_k": 5, "top_p": 0.5, "min_p": 0.3},
        {"temperature": 0.5, "top_p": 0.9, "repetition_penalty": 1.5},
        {"temperature": 3.0, "top_k": 100, "min_p": 0.2},
    ],
    ids=str,
)
def test_all_steps_together_are_transformers_in_the_same_order(settings: dict[str, float], pair: tuple[Any, Any]):
    strategy = Sample(**settings)
    config = transformers.GenerationConfig(do_sample=True, **({"top_k": 0} | settings))
    processors = pair[1]._get_logits_processor(config, input_ids_seq_length=3, device="cpu")
    names = {
        "RepetitionPenaltyLogitsProcessor": "repetition_penalty",
        "TemperatureLogitsWarper": "temperature",
        "TopKLogitsWarper": "top_k",
        "TopPLogitsWarper": "top_p",
        "MinPLogitsWarper": "min_p",
    }
    assert [names[type(step).__name__] for step in processors] == [step.split()[0] for step in strategy.order]
    for seed in range(1, 12):
        logits, seen = logits_of(2000, seed), [1, 5, 700]
        assert_same(strategy.distribution(strategy.adjusted(logits, seen)), theirs(processors, logits, seen))


PROMPTS = ["The cat", "One two three four five", "x", "Emoji 😀 and e\u0301"]


def test_greedy_tokens_equal_transformers_generate(pair: tuple[Any, Any]):
    ours, model = pair
    for prompt in PROMPTS:
        ids = ours.tokenizer.encode(prompt)
        expected = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=30)[0, len(ids) :].tolist()
        answer = ours.generate(prompt, max_new_tokens=30)
        assert answer.tokens == expected and answer.prompt == ids
        assert len(set(expected)) > 3  # not one token over and over


def test_greedy_with_repetition_penalty_equals_transformers_generate(pair: tuple[Any, Any]):
    ours, model = pair
    for prompt in PROMPTS:
        ids = ours.tokenizer.encode(prompt)
        expected = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=20, repetition_penalty=1.8)[
            0, len(ids) :
        ]
        answer = ours.generate(prompt, Greedy(repetition_penalty=1.8), max_new_tokens=20)
        assert answer.tokens == expected.tolist()
        assert answer.tokens != ours.generate(prompt, max_new_tokens=20).tokens


def test_logprobs_are_those_of_the_model_before_filters(pair: tuple[Any, Any]):
    ours, model = pair
    answer = ours.generate("The cat", Sample(temperature=2.0, top_k=7, seed=1), max_new_tokens=12)
    ids = torch.tensor([answer.prompt + answer.tokens])
    with torch.inference_mode():
        logprobs = model(ids).logits[0, len(answer.prompt) - 1 : -1].log_softmax(-1)
    expected = logprobs.gather(1, ids[0, len(answer.prompt) :, None])[:, 0]
    torch.testing.assert_close(torch.tensor(answer.logprobs), expected, rtol=1e-4, atol=1e-4)


def test_bits_per_byte_equal_transformers_by_hand(pair: tuple[Any, Any]):
    ours, model = pair
    text = "Grüße: 30 bytes of text, 😀."
    score = ours.score(text)
    ids = ours.tokenizer.encode(text, special=False)
    start = ours.tokenizer.document_start
    with torch.inference_mode():
        logprobs = model(torch.tensor([[start, *ids]])).logits[0, :-1].log_softmax(-1)
    expected = logprobs.gather(1, torch.tensor(ids)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(score.logprobs), expected, rtol=1e-5, atol=1e-4)
    size = len(text.encode())
    assert score.bytes == size and score.tokens == ids
    assert score.bits_per_byte == pytest.approx(-float(expected.double().sum()) / 0.6931471805599453 / size, rel=1e-5)


@pytest.mark.parametrize("window", [2, 3, 5, 16, 41, 1000])
def test_windowed_logprobs_equal_a_loop_by_hand(window: int, pair: tuple[Any, Any]):
    ours, model = pair
    ids = tiny.text(1, 41, vocab=256)[0].tolist()
    expected = []
    for position in range(1, len(ids)):
        start = next(start for start, first, end in windows(len(ids), window) if first <= position < end)
        with torch.inference_mode():
            logits = model(torch.tensor([ids[start:position]])).logits[0, -1]
        expected.append(float(logits.log_softmax(-1)[ids[position]]))
    assert token_logprobs(ours.runner, ids, window) == pytest.approx(expected, abs=2e-4)


@given(st.integers(1, 400), st.integers(2, 90))
def test_windows_score_each_position_once_with_text_before_it(tokens: int, window: int):
    scored: list[int] = []
    for start, first, end in windows(tokens, window):
        assert 0 <= start < first or tokens == 1
        assert end - start <= window
        if start > 0:
            assert first - start >= max(window // 4, 1)
        scored += range(first, end)
    assert scored == list(range(1, tokens))


def test_a_long_text_is_read_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch):
    """Parts through the cache, and logits of a few tokens at a time, change nothing."""
    from lmworks.generation import scoring

    runner = TorchRunner(tiny.network(seed=2, window=6, context=256))
    ids = tiny.text(1, 90)[0].tolist()
    whole = token_logprobs(runner, ids, 90)
    monkeypatch.setattr(scoring, "READ", 16)
    monkeypatch.setattr(scoring, "ROWS", 7)
    assert token_logprobs(runner, ids, 90) == pytest.approx(whole, abs=1e-5)

"""Tokens drawn by the kernels beside those that PyTorch draws at the same share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from lmworks.kernels.coverage import unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.generation import strategies
from lmworks.generation.filters import log_probability
from lmworks.generation.strategies import Sample
from lmworks.kernels.library import library
from lmworks.kernels.next_token import drawn, log_total

SHARES = [*np.linspace(0, 1, 41)[:-1], 0.999999]
FILTERS = {
    "none": {},
    "top-k": {"top_k": 5},
    "top-k, more than there are": {"top_k": 100_000},
    "top-p": {"top_p": 0.9},
    "a small top-p": {"top_p": 0.2},
    "min-p": {"min_p": 0.05},
    "top-k and top-p": {"top_k": 40, "top_p": 0.8},
    "top-p and min-p": {"top_p": 0.9, "min_p": 0.1},
    "all": {"top_k": 30, "top_p": 0.95, "min_p": 0.02},
}


@pytest.fixture(autouse=True)
def _kernels() -> None:
    library()


def like_words(count: int, seed: int = 0) -> Tensor:
    """Logits of which few are far above the others, as a network's are."""
    logits = 2 * torch.randn(count, generator=torch.Generator().manual_seed(seed)) - 3
    logits[:: max(count // 40, 1)] += 9
    return logits


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("count", [1, 15, 127, 128, 129, 1000, 49_152])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_the_same_token_at_the_same_share(filters: str, count: int, temperature: float, monkeypatch):
    strategy, logits = Sample(temperature=temperature, **FILTERS[filters]), like_words(count)
    fewer = strategy.top_k is not None and strategy.top_k < count
    said = {"top_k": strategy.top_k if fewer else 0, "top_p": strategy.top_p or 1.0, "min_p": strategy.min_p or 0.0}
    by_kernels = [drawn(logits, 1 / temperature, **said, at=at) for at in SHARES]
    through = [strategy.at_share(logits, at) for at in SHARES]
    monkeypatch.setattr(strategies, "drawn", lambda *_, **__: None)
    expected = [strategy.at_share(logits, at) for at in SHARES]
    assert by_kernels == through == expected


def test_all_may_be_alike():
    flat = torch.zeros(10_000)
    assert drawn(flat, 1.0, at=0.5) == drawn(flat, 1.0, min_p=0.5, at=0.5) == 5_000
    assert drawn(flat, 1.0, top_p=0.5, at=0.5) == 2_500
    assert drawn(flat, 1.0, top_k=9, at=0.5) == 5_000  # as likely as the ninth


@pytest.mark.parametrize("filters", [{"top_p": 0.5}, {"top_k": 3}, {"top_p": 0.5, "top_k": 7}])
def test_equals_are_kept_as_the_filters_keep_them(filters: dict, monkeypatch):
    """Of ten equals the first five are the nucleus of a half, and all stay among the three likeliest."""
    logits = torch.full((300,), -40.0)
    logits[torch.arange(10) * 29] = 2.0
    strategy = Sample(temperature=1.0, **filters)
    ours = [strategy.at_share(logits, at) for at in SHARES]
    monkeypatch.setattr(strategies, "drawn", lambda *_, **__: None)
    assert ours == [strategy.at_share(logits, at) for at in SHARES]
    assert len(set(ours)) == (5 if "top_p" in filters else 10)


def test_forbidden_tokens_are_never_drawn():
    logits = torch.full((1000,), -math.inf)
    logits[300:307] = 1.0
    assert {drawn(logits, 1.0, at=at) for at in (*SHARES, 1.0)} == set(range(300, 307))
    assert {drawn(logits, 1.0, top_p=0.99, at=at) for at in (*SHARES, 1.0)} <= set(range(300, 307))
    logits[304] += 1e-6
    assert drawn(logits, 3e38, at=0.1) == 304  # a temperature next to zero


def test_what_the_kernels_do_not_look_at_is_left_to_pytorch():
    assert drawn(like_words(1000), 1.0, top_k=999, at=0.5) is None
    assert drawn(like_words(1000), 1.0, min_p=1e-7, at=0.5) is None
    assert drawn(like_words(1000), 1.0, top_p=0.9999999, at=0.5) is None
    assert drawn(like_words(1000).double(), 1.0, at=0.5) is None
    assert drawn(like_words(2000)[::2], 1.0, at=0.5) is None
    for broken in (math.nan, math.inf):
        logits = like_words(1000)
        logits[500] = broken
        assert drawn(logits, 1.0, at=0.5) is None


@pytest.mark.parametrize("count", [1, 127, 128, 129, 49_152])
def test_log_probabilities(count: int):
    logits = like_words(count)
    expected = logits.double().log_softmax(0)
    assert log_total(logits) == pytest.approx(float(logits.double().logsumexp(0)), abs=1e-5)
    assert log_probability(logits, count // 2) == pytest.approx(float(expected[count // 2]), abs=1e-5)


def test_each_thread_has_its_own_room():
    """Longer logits behind shorter ones: the room grows, and nothing of the former ones stays."""
    short, long = like_words(100), like_words(60_000)
    alone = drawn(long, 1.0, top_p=0.9, at=0.4)
    drawn(short, 1.0, top_p=0.9, at=0.4)
    assert drawn(long, 1.0, top_p=0.9, at=0.4) == alone

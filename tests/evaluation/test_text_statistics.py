"""Diversity and repetition: by hand, and by law."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.text_statistics import bleu, distinct_n, repeated, self_bleu

texts = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=2, max_size=6)


def test_distinct_pairs_by_hand():
    assert distinct_n(["abab", "ab"], 2) == 2 / 4  # ab ba ab, ab


def test_repeated_runs_by_hand():
    assert repeated("ababab", 2) == pytest.approx(3 / 5)  # ab ba ab ba ab: three came before
    assert repeated("abc", 4) == 0


def test_bleu_by_hand():
    # Words: 3 of 4 known; pairs: (2 + 1) of (3 + 1); the reference is one word longer.
    expected = math.exp((math.log(3 / 4) + math.log(3 / 4)) / 2 + 1 - 5 / 4)
    assert bleu(["the", "cat", "sat", "up"], [["the", "cat", "sat", "down", "here"]], n=2) == pytest.approx(expected)


def test_a_word_said_more_often_than_in_any_reference_counts_as_often_as_there():
    assert bleu(["the", "the", "the"], [["the", "cat"], ["the", "the"]], n=1) == pytest.approx(2 / 3)


@given(texts)
def test_all_are_shares(them):
    assert 0 < distinct_n(them, 1) <= 1
    assert 0 <= self_bleu(them) <= 1 + 1e-12
    assert all(0 <= repeated(text, 2) < 1 for text in them)


@given(texts)
def test_the_order_of_the_texts_does_not_matter(them):
    assert self_bleu(them) == pytest.approx(self_bleu(them[::-1]))


def test_texts_that_say_the_same_have_self_bleu_one_and_texts_that_share_nothing_zero():
    assert self_bleu(["abcdef"] * 3) == pytest.approx(1)
    assert self_bleu(["abcdef", "ghijkl", "mnopqr"]) == 0


def test_too_little_text_is_an_error():
    with pytest.raises(ConfigError):
        distinct_n(["a"], 2)
    with pytest.raises(ConfigError):
        self_bleu(["alone"])
    with pytest.raises(ConfigError):
        bleu("a", [])

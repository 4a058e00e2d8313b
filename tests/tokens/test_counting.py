"""Counted tokens are as many as encoded ones, for every kind of tokenizer and script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import DataError
from lmworks.tokens.counting import TokenCounter
from tokens.corpus import TEXTS
from tokens.test_chunks import MIXED, TOKENIZERS
from tokens.test_trainer import ALL

COUNTERS = {kind: TokenCounter(tokenizer) for kind, tokenizer in TOKENIZERS.items()}


def encoded(kind: str, texts: list[str]) -> list[int]:
    return [len(ids) for ids in TOKENIZERS[kind].encode_batch(texts, special=False)]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_texts_of_any_script_have_as_many_tokens_as_are_encoded(kind: str):
    texts = [*TEXTS, "", "It costs 3.50 (so far).", "a\x00b c\x7f", "[CLS] is [UNK]", "x" * 500]
    assert COUNTERS[kind](texts) == encoded(kind, texts)
    assert COUNTERS[kind](texts) == encoded(kind, texts)  # from what it knows now


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=60)
@given(texts=st.lists(MIXED | st.text(st.characters(max_codepoint=127), max_size=40), max_size=3))
def test_texts_of_anything_have_as_many_tokens_as_are_encoded(kind: str, texts: list[str]):
    assert COUNTERS[kind](texts) == encoded(kind, texts)


def test_what_is_remembered_is_bounded():
    count = TokenCounter(ALL["wordpiece"], most_known=50)
    words = [f"word{number}" for number in range(200)]
    assert count([" ".join(words), "y" * 100]) == count([" ".join(words), "y" * 100])
    assert len(count._known) <= 50


def test_half_of_a_pair_is_no_text():
    with pytest.raises(DataError):
        TokenCounter(ALL["wordpiece"])(["a \ud800"])

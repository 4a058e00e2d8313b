"""Stems are snowballstemmer's own, whatever the language and the word."""

from __future__ import annotations

import pytest
import snowballstemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.test_terms import TEXTS
from lmworks.grounding.stems import stemmer
from lmworks.text.sources import read
from lmworks.text.words import WORD

WORDS = sorted({word for text in TEXTS.values() for word in WORD.findall(text.casefold())})
ENGLISH = sorted({word for one in read("python-reference").documents for word in WORD.findall(one.text.casefold())})


@pytest.mark.parametrize("language", snowballstemmer.algorithms())
def test_words_of_every_language_are_stemmed_as_snowballstemmer_does(language: str):
    plain, ours = snowballstemmer.stemmer(language), stemmer(language)
    parts = [word[:end] + word[start:] for word in WORDS[::7] for end in range(3) for start in range(3)]
    words = [*WORDS, *parts, *(ENGLISH if language == "english" else ENGLISH[::40])]
    assert ours.stemWords(words) == plain.stemWords(words)
    assert type(ours) is not type(plain) or not hasattr(plain, "find_among_b")  # PyStemmer stays as it is


SOME = st.sampled_from(["english", "german", "french", "turkish", "tamil"])


@settings(max_examples=300)
@given(language=SOME, word=st.text(st.sampled_from("aeiouyldnsştbgğiçqéèüß'க்ா"), max_size=12))
def test_what_is_no_word_is_stemmed_alike(language: str, word: str):
    assert stemmer(language).stemWord(word) == snowballstemmer.stemmer(language).stemWord(word)

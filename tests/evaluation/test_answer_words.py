"""Answers by their words: SQuAD's rule, but for numbers, Unicode and answers of nothing else than an article."""

from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.evaluation.answer_words import numbers, overlap, words


def squad(answer: str) -> list[str]:
    """As SQuAD's evaluation describes it: lower case, ASCII punctuation out, articles out, white space."""
    kept = "".join(one for one in answer.lower() if one not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


ALIKE = {
    "case, article and full stop": ("The cat.", "cat"),
    "two ways to write an umlaut": ("Müller", unicodedata.normalize("NFD", "Müller")),
    "typographic quotes": ("„Paris“", "Paris"),
    "guillemets": ("»Paris«", "'Paris'"),
    "an apostrophe": ("don’t", "don't"),
    "thousands": ("1,200,000", "1200000"),
    "thousands before a comma of the sentence": ("8,120, they say", "8120 they say"),
    "a price": ("$1,234.50", "1234.50"),
    "the end of a sentence": ("It is 5.", "it is 5"),
    "a minus that is typeset": ("−5 °C", "-5 °C"),
    "a dash for a minus": ("–5", "-5"),
    "a hyphen": ("COVID-19", "covid19"),
    "a half": ("½", "1/2"),
    "a full-width digit": ("５", "5"),
    "a plus": ("+5", "5"),
    "a letter": ("A", "a"),
    "an exponent": ("10²", "10^2"),
    "bold": ("**Paris**", "Paris"),
}
UNLIKE = {
    "a decimal point": ("3.5 bar", "35 bar"),
    "a decimal comma": ("3,5 bar", "35 bar"),
    "a point at the beginning": (".5", "5"),
    "cents": ("12.50", "1250"),
    "three digits after a point": ("12.500", "12500"),
    "a list of numbers": ("1,234,5", "12345"),
    "three digits after 0": ("0,125", "0125"),
    "a sign": ("-5", "5"),
    "a sign before a currency": ("-$5", "$5"),
    "a ratio": ("3/4", "34"),
    "an exponent": ("10²", "102"),
    "a mixed fraction": ("3½", "31/2"),
    "two letters": ("A", "B"),
    "two signs": ("+", "-"),
    "a sign and nothing": ("+", ""),
    "an article and nothing": ("a", ""),
}


@pytest.mark.parametrize("case", ALIKE)
def test_what_says_the_same_is_the_same(case):
    one, other = ALIKE[case]
    assert words(one) == words(other) and overlap(one, other) == 1


@pytest.mark.parametrize("case", UNLIKE)
def test_what_differs_is_told_apart(case):
    one, other = UNLIKE[case]
    assert words(one) != words(other) and overlap(one, other) < 1


@given(st.text(string.ascii_letters + string.punctuation + " \n"))
def test_without_numbers_it_is_squads_rule(answer):
    assert words(answer) == squad(answer) or not squad(answer)


@given(st.lists(st.sampled_from(["the", "12", "5", "cat's", "well-known", "(7)", "1990s", "a"]), min_size=1))
def test_with_whole_numbers_it_is_squads_rule_too(parts):
    answer = " ".join(parts)
    assert words(answer) == squad(answer) or not squad(answer)


@given(st.text(max_size=12))
def test_nothing_but_an_empty_text_is_without_words(answer):
    assert bool(words(answer)) == bool(unicodedata.normalize("NFKC", answer).split())


def test_numbers_keep_their_sign_and_what_begins_with_a_point():
    text = "It was −3 degrees, or -4; .5 litres, 1,200.50 m and 5-3 of 20."
    assert numbers(text) == ["-3", "-4", "0.5", "1200.5", "5", "3", "20"]

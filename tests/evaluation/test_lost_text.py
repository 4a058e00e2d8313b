"""What is lost is paid: the bits of a proper code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lmworks.evaluation.lost_text import END, KINDS, LostText
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

TEXTS = [f"The {noun}'s {noun} walked {number} miles." for noun in ("king", "baker") for number in range(9)]


def lost(kind, size):
    tokenizer = train_tokenizer(TEXTS, TokenizerConfig(kind=kind, vocab_size=size))
    return LostText(tokenizer, TEXTS)


@pytest.mark.parametrize(("kind", "size"), [("byte", None), ("character", None), ("bpe", 280), ("unigram", 303)])
def test_who_loses_nothing_pays_nothing(kind, size):
    model = lost(kind, size)
    ids, words, space = model.of("An unseen text: Grüße, 日本語")
    assert ids == model.tokenizer.encode("An unseen text: Grüße, 日本語", special=False)
    assert (words, space, model.share) == ([], 0, 0)


def test_spellings_are_probabilities_of_strings_that_end():
    speller = lost("word", 4)._speller
    # All strings of up to two bytes of three letters: never more than one.
    words = [bytes(word) for length in range(3) for word in itertools.product(b" ab", repeat=length)]
    assert 0 < sum(np.exp(speller.score([*word, END]).sum()) for word in words) < 1
    assert sum(np.exp(speller.score([number])[0]) for number in range(END + 1)) == pytest.approx(1, abs=1e-5)


def test_an_unknown_word_is_spelt_with_its_space_and_a_strange_one_costs_more():
    model = lost("word", 4)
    _, words, space = model.of(" miles walked zqxj")
    assert words[-1] == " zqxj" and space == 0 and 0 < model.share < 1
    costs = dict(zip(words, model.spelling(words), strict=True))
    assert costs[" zqxj"] == pytest.approx(-model._speller.score([*b" zqxj", END]).sum() / np.log(2))
    assert costs[" zqxj"] > max(cost for word, cost in costs.items() if word != " zqxj") > 0


def test_the_kinds_of_a_space_sum_to_one_and_the_usual_one_is_nearly_free():
    model = lost("wordpiece", 55)
    ids, words, space = model.of("The king's king walked 3 miles.")
    assert words == [] and 0 < space < 10
    behind, before = ids[1], ids[0]
    costs = [model._space((behind, before), space) for space in (*KINDS, "\t\t")]
    assert sum(2**-cost for cost in costs) == pytest.approx(1)
    assert costs[2] > 5 > 1 > costs[KINDS.index(" ")]
    assert model.of("The\t\tking")[1] == ["\t\t"]  # any other white space is spelt

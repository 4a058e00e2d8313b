"""A continuation is scored whole, also where its beginning joins the context's last letters in one token."""

from __future__ import annotations

import pytest

from lmworks.tokens.continuation import encode_pairs
from tokens.small import sentencepiece

CUT = {
    "apart": (("he", " wor"), ["<s>", "▁he"], ["▁wor"]),
    "spaces at the end": (("he ", "wor"), ["<s>", "▁he"], ["▁wor"]),
    "one token holds both": (("he w", "or wor"), ["<s>", "▁he"], ["▁wor", "▁wor"]),
    "one token holds both, and that is all": (("he w", "or"), ["<s>", "▁he"], ["▁wor"]),
    "nothing of the context stays": (("h", "e lo"), ["<s>"], ["▁he", "▁", "lo"]),
    "nothing before it": (("", "he"), ["<s>"], ["▁he"]),
}


@pytest.mark.parametrize("case", CUT)
def test_every_token_that_holds_letters_of_a_continuation_is_scored(case):
    pair, *wanted = CUT[case]
    tokenizer = sentencepiece()
    [cut] = encode_pairs(tokenizer, [pair])
    assert [[tokenizer.vocabulary.backend.id_to_token(one) for one in part] for part in cut] == wanted


def test_continuations_that_are_compared_begin_at_the_same_token():
    pairs = [("he w", "or"), ("he w", "a"), ("he", " a")]
    tokens = [[len(part) for part in pair] for pair in encode_pairs(sentencepiece(), pairs, [0, 0, 0])]
    assert tokens == [[2, 1], [2, 2], [2, 2]]
    apart = [[len(part) for part in pair] for pair in encode_pairs(sentencepiece(), pairs)]
    assert apart == [[2, 1], [3, 1], [2, 2]]

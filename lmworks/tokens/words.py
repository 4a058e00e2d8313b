"""Which tokens begin a word: what masking whole words needs to know, as a table over the vocabulary made once."""

from __future__ import annotations

import numpy as np

from lmworks.basics.arrays import Bool
from lmworks.basics.errors import ConfigError
from lmworks.tokens.tokenizer import Tokenizer

PART = "##"
"""What a token that goes on a word begins with (WordPiece)."""


def begins_a_word(tokenizer: Tokenizer) -> Bool[np.ndarray, " vocab"]:
    """True for tokens that begin a word: those with a space before them (byte-level, SentencePiece's ▁), or those that
    are no ##part (WordPiece). Special tokens are words of their own. The first token of a text begins one whatever it
    is.
    """
    if tokenizer.keeps_space:
        begins = [
            number in tokenizer.special or tokenizer.token_bytes(number)[:1].isspace()
            for number in range(tokenizer.vocab_size)
        ]
    else:
        texts = (tokenizer.vocabulary.backend.id_to_token(number) or "" for number in range(tokenizer.vocab_size))
        begins = [not text.startswith(PART) for text in texts]
    if all(begins) or not any(begin for number, begin in enumerate(begins) if number not in tokenizer.special):
        raise ConfigError(
            f"the tokens of {tokenizer.name} do not say where a word begins (neither spaces nor {PART}); mask tokens "
            "and "
            "not whole words, or take another tokenizer"
        )
    return np.array(begins)

"""Tokens as API clients see them: a text each, their bytes, and where they begin in the whole text."""

from __future__ import annotations

import codecs
from functools import lru_cache

from lmworks.tokens.tokenizer import Tokenizer


class TokenTexts:
    """What a tokenizer's ids are called."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.named = lru_cache(maxsize=2**16)(self._named)
        """The text of a token and its bytes; see `_named`."""

    def _named(self, number: int) -> tuple[str, tuple[int, ...]]:
        """A token that is not a whole character is called bytes:\\xNN..., as by OpenAI, so that names differ."""
        special = self.tokenizer.special.get(number)
        written = self.tokenizer.token_bytes(number) if special is None else special.encode()
        try:
            return written.decode(), tuple(written)
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written), tuple(written)


class Offsets:
    """Where each token of a text begins, in characters; a token inside a character begins where that does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._length = 0
        self._begun = False

    def next(self, number: int) -> int:
        """The place of the next token."""
        place, piece = self._length, self._tokenizer.token_bytes(number)
        if piece and not self._begun:
            self._begun = True
            piece = piece.removeprefix(b" ") if self._tokenizer.adds_space else piece
        self._length += len(self._characters.decode(piece))
        return place

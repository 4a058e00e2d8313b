"""Look at what a tokenizer makes of a text: its pieces, and figures that compare tokenizers.

    inspect(tokenizer, "Grüße!")                       # pieces, each with id and text
    compare({"ours": mine, "theirs": other}, {"German": texts})

Tokens per word is the fertility of Rust et al. 2021 (https://arxiv.org/abs/2012.15613), with words as white space
parts them: it says little of languages that are written without spaces, where bytes per token does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmworks.basics.errors import DataError, ModelError
from lmworks.tokens.chunks import BulkEncoder
from lmworks.tokens.tokenizer import Tokenizer

_VISIBLE = {" ": "·", "\n": "⏎", "\t": "→", "\r": "␍"}
_AT_ONCE = 1000  # texts


@dataclass(frozen=True)
class Piece:
    """One token of a text."""

    id: int
    token: str
    """As the vocabulary writes it: Ġthe, ##ing, ▁the, <0xE2>."""
    text: str
    """What it stands for, white space made visible; bytes that are no whole character as \\xE2."""
    kind: Literal["text", "bytes", "special", "unknown"]
    """bytes: a part of a character."""


@dataclass(frozen=True)
class Figures:
    """How one tokenizer cuts one text."""

    tokenizer: str
    text: str
    vocab_size: int
    documents: int
    words: int
    bytes: int
    tokens: int
    unknown: int
    """Tokens that stand for something outside the vocabulary."""

    @property
    def tokens_per_word(self) -> float:
        """Fertility: 1 if every word is a token; fewer tokens are cheaper to run."""
        return self.tokens / self.words

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of the text for each token."""
        return self.bytes / self.tokens

    @property
    def unknown_rate(self) -> float:
        """Share of the tokens whose text is lost."""
        return self.unknown / self.tokens

    def to_json(self) -> dict[str, Any]:
        """Counts and figures by name."""
        figures = ("tokens_per_word", "bytes_per_token", "unknown_rate")
        return vars(self) | {name: getattr(self, name) for name in figures}


def inspect(tokenizer: Tokenizer, text: str, special: bool = True) -> list[Piece]:
    """The pieces of a text; `special` with what the tokenizer puts around it."""
    return [_piece(tokenizer, number) for number in tokenizer.encode(text, special)]


def compare(tokenizers: Mapping[str, Tokenizer], texts: Mapping[str, Iterable[str]]) -> Iterator[Figures]:
    """Figures of each text under each tokenizer, all on the same documents; without special tokens around them.

    DataError for a text without a word.
    """
    for name, documents in texts.items():
        held = list(documents)
        words, size = sum(len(text.split()) for text in held), sum(len(text.encode()) for text in held)
        if not words:
            raise DataError(f"{name} holds no word; give a text to compare tokenizers on")
        for label, tokenizer in tokenizers.items():
            tokens = unknown = 0
            encoder = BulkEncoder(tokenizer, np.dtype(np.uint32))
            for start in range(0, len(held), _AT_ONCE):
                ids = np.frombuffer(b"".join(encoder.encode(held[start : start + _AT_ONCE])), np.uint32)
                tokens += len(ids)
                unknown += 0 if tokenizer.unknown is None else int(np.count_nonzero(ids == tokenizer.unknown))
            yield Figures(label, name, tokenizer.vocab_size, len(held), words, size, tokens, unknown)


def _piece(tokenizer: Tokenizer, number: int) -> Piece:
    token = tokenizer.vocabulary.backend.id_to_token(number) or ""
    if number == tokenizer.unknown:
        return Piece(number, token, visible(token), "unknown")
    if number in tokenizer.special:
        return Piece(number, token, visible(token), "special")
    try:
        content = tokenizer.token_bytes(number)
    except ModelError:  # WordPiece knows no bytes
        return Piece(number, token, visible(token), "text")
    try:
        return Piece(number, token, visible(content.decode()), "text")
    except UnicodeDecodeError:
        return Piece(number, token, "".join(f"\\x{byte:02X}" for byte in content), "bytes")


def visible(text: str) -> str:
    """The text with white space as signs and whatever a terminal would obey as its code."""
    return "".join(
        _VISIBLE.get(sign) or (sign if sign.isprintable() else sign.encode("unicode_escape").decode()) for sign in text
    )

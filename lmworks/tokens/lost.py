"""What the ids of a text do not say: the text of unknown tokens, and white space where a tokenizer keeps none.

    ids, open_ = losses(tokenizer, text)
    restore(tokenizer, ids, open_) == text      # with the losses every text comes back

A loss of bits is not seen in a model's loss: `<unk>` is easy to predict, and writes no word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.tokens.tokenizer import Tokenizer

CONTINUES = "##"
"""How WordPiece marks a token that goes on with a word."""


@dataclass(frozen=True)
class Loss:
    """What is open at one token."""

    text: str | None = None
    """The text of a token that does not say it; None for one that does."""
    space: str | None = None
    """The white space in front ("" for none) where no token says it; None where it is known."""


def losses(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[Loss]]:
    """The ids of a text and the loss at each, with one more for what stands after the last.

    DataError as from `Tokenizer.encode`.
    """
    if tokenizer.keeps_space:
        ids = tokenizer.encode(text, special=False)
        if tokenizer.unknown is None or tokenizer.unknown not in ids:
            return ids, [Loss()] * (len(ids) + 1)
    ids, spans = tokenizer.encode_spans(text)
    if tokenizer.keeps_space:
        found = [
            Loss(text[start:end] if number == tokenizer.unknown else None)
            for number, (start, end) in zip(ids, spans, strict=True)
        ]
        return ids, [*found, Loss()]
    found, after = [], 0
    for number, (start, end) in zip(ids, spans, strict=True):
        token = _written(tokenizer, number)
        continues = token.startswith(CONTINUES) and number != tokenizer.unknown
        # A sign that was dropped inside of a word belongs to the token after it.
        first = after if continues else start
        told = text[first:end] == token.removeprefix(CONTINUES) and number != tokenizer.unknown
        found.append(Loss(None if told else text[first:end], None if continues else text[after:start]))
        after = end
    return ids, [*found, Loss(space=text[after:])]


def restore(tokenizer: Tokenizer, ids: Sequence[int], found: Sequence[Loss]) -> str:
    """The text that ids and losses make together."""
    if tokenizer.keeps_space:
        known = tokenizer.bytes_of(ids)
    else:
        known = [_written(tokenizer, number).removeprefix(CONTINUES).encode() for number in ids]
    pieces = []
    for loss, piece in zip(found, [*known, b""], strict=True):
        pieces += [(loss.space or "").encode(), piece if loss.text is None else loss.text.encode()]
    return b"".join(pieces).decode("utf-8", "replace")


def _written(tokenizer: Tokenizer, number: int) -> str:
    return tokenizer.vocabulary.backend.id_to_token(number) or ""

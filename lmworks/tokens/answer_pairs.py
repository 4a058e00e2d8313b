"""Preference pairs as tokens: two conversations that differ in their last answer, of which that answer alone is learnt.

    pairs = [pair_of(document, tokenizer, context=1024) for document in documents]
    rows = pack_pairs(pairs, 1024, seed=0)

A pair stands in one row, as two documents that do not see each other, the better one first. Nothing is ever cut.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmworks.basics.errors import DataError
from lmworks.text.document import Document, Turn
from lmworks.tokens.batch import Example, Row, fill
from lmworks.tokens.chat.conversation import encode_answer, encode_chat, tools_in
from lmworks.tokens.tokenizer import Tokenizer

Turns = Sequence[Turn]


@dataclass(frozen=True)
class AnswerPair:
    """A better and a worse answer to one prompt, each with the prompt before it."""

    chosen: Example
    rejected: Example

    @property
    def both(self) -> tuple[Example, Example]:
        """The better one first."""
        return self.chosen, self.rejected

    @property
    def size(self) -> int:
        """Tokens of both, the prompt counted twice."""
        return len(self.chosen.tokens) + len(self.rejected.tokens)


def pair_of(document: Document, tokenizer: Tokenizer, context: int) -> AnswerPair:
    """A preference pair in the model's own template. DataError for a document that is none, and for a pair that does
    not fit a row; ModelError for a template that writes an answer otherwise than it would be asked for."""
    if document.messages is None or document.rejected is None:
        raise DataError(f"{document.source} is no preference pair; give records with `prompt`, `chosen` and `rejected`")
    least = tokenizer.at_least(document.text)  # a text of megabytes takes seconds to tokenize
    if least > context:
        raise DataError(_too_long(document.source, f"at least {least:,}", context))
    tools = tools_in(document)
    prompt = encode_chat(tokenizer, document.messages[:-1], tools=tools)
    if len(prompt) >= context:
        raise DataError(
            f"{document.source}: its prompt has {len(prompt):,} tokens and a row {context:,}, so that nothing of an "
            "answer would be left; raise training.context"
        )
    chosen, rejected = (
        Example(*encode_answer(tokenizer, turns, document.source, tools), document.source) for turns in _both(document)
    )
    pair = AnswerPair(chosen, rejected)
    if pair.size > context:
        raise DataError(_too_long(document.source, f"{pair.size:,}", context))
    return pair


def pack_pairs(pairs: Sequence[AnswerPair], context: int, *, seed: int = 0) -> list[Row]:
    """Fill rows of `context` tokens with whole pairs, the longest first into the fullest row that has room."""
    order = list(pairs)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda pair: pair.size, reverse=True)
    rows: list[Row] = []
    for pair, row in zip(order, fill((pair.size for pair in order), context), strict=True):
        if row == len(rows):
            rows.append(())
        rows[row] += pair.both
    return rows


def with_references(rows: Sequence[Row], references: Sequence[Sequence[float]]) -> list[Row]:
    """The rows with what a reference gives to each of their answers."""
    return [
        tuple(replace(one, reference=value) for one, value in zip(row, values, strict=True))
        for row, values in zip(rows, references, strict=True)
    ]


def _both(document: Document) -> tuple[Turns, Turns]:
    assert document.messages is not None
    assert document.rejected is not None
    return document.messages, document.rejected


def _too_long(source: str, tokens: str, context: int) -> str:
    return (
        f"{source}: its prompt and answers have {tokens} tokens, each answer with the prompt before it, and a row "
        f"{context:,}; raise training.context"
    )

"""A context and what follows it, as ids: the continuation is cut out of the ids of both together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from operator import eq

from lmworks.basics.arguments import two_texts
from lmworks.basics.errors import ConfigError, DataError
from lmworks.tokens.tokenizer import Tokenizer

Pair = tuple[list[int], list[int]]


def encode_pairs(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], items: Sequence[int] | None = None
) -> list[Pair]:
    """(context, continuation) as ids, as lm-evaluation-harness cuts them (`TemplateLM._encode_pair`, 0.4.13).

    Spaces at the end of a context go to the continuation. Where a continuation joins the context's last letters (after
    "hello wor" follows "ld"), the context ends before the token that holds both; the harness would score nothing of
    it. `items` says which pairs are compared: those of one number and one context then end it at the same token. For an
    empty context stands the token that `opening` gives. DataError for a continuation without a token.
    """
    if isinstance(pairs, str) or not all(two_texts(pair) for pair in pairs):
        raise DataError("give a list of pairs of texts: [(context, continuation), ...]")
    moved = [_moved(*pair) for pair in pairs]
    contexts = list(dict.fromkeys(context for context, _ in moved if context))
    read = {"": [], **dict(zip(contexts, tokenizer.encode_batch(contexts, special=False), strict=True))}
    wholes = tokenizer.encode_batch([context + continuation for context, continuation in moved], special=False)
    compared = list(zip(range(len(pairs)) if items is None else items, (context for context, _ in moved), strict=True))
    ends: dict[tuple[int, str], int] = {}
    for key, whole in zip(compared, wholes, strict=True):
        ends[key] = min(_shared(read[key[1]], whole), ends.get(key, len(whole)))
    return [_cut(tokenizer, key[1], ends[key], whole) for key, whole in zip(compared, wholes, strict=True)]


def opening(tokenizer: Tokenizer) -> int:
    """The token that stands for an empty context: BOS, else EOS. ConfigError for a tokenizer that has neither."""
    start = tokenizer.eos if tokenizer.bos is None else tokenizer.bos
    if start is None:
        raise ConfigError(
            "the tokenizer has neither BOS nor EOS, and nothing can stand for an empty context; give some context"
        )
    return start


def _moved(context: str, continuation: str) -> tuple[str, str]:
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(takewhile(bool, map(eq, first, second)))


def _cut(tokenizer: Tokenizer, context: str, end: int, whole: list[int]) -> Pair:
    if end:
        before, after = [*tokenizer.prefix, *whole[:end]], whole[end:]
    else:
        start = opening(tokenizer)
        before, after = ([start], whole) if whole[:1] != [start] else (whole[:1], whole[1:])
    if not after:
        raise DataError(f"nothing follows the context {context[-40:]!r}: the continuation has no token; give some text")
    return before, after

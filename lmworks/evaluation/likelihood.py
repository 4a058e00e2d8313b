"""How well a model predicts a text: bits per byte with an interval, and whether a change of it is more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmworks.adaptation.router import route
from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.scoring import must_score, texts_logprobs, token_logprobs
from lmworks.language_model import LN_2, LanguageModel
from lmworks.text.document import Document
from lmworks.tokens.chat.conversation import encode_document

SEGMENT = 256
"""Tokens of a segment, the unit of the interval: a long document is many segments, a short one is one."""

Change = Literal["better", "tie", "worse", "open"]


@dataclass(frozen=True)
class Likelihood:
    """Bits and bytes of each segment of a text under a model."""

    bits: Float[np.ndarray, " segments"]
    bytes: Float[np.ndarray, " segments"]
    tokens: int
    document: Int[np.ndarray, " segments"] | None = None
    """The number of each segment's document, in the order of their hashes; None where it was not kept."""
    readers: tuple[str | None, ...] = ()
    """The adapter beside the model that each text chose, None for the model itself; empty where none was to choose."""

    def bits_per_byte(self, name: str) -> Measurement:
        """Bits per byte with an interval over segments. All bytes being equally likely gives 8."""
        estimate = statistics.ratio_of_sums(self.bits, self.bytes, bounds=statistics.AT_LEAST_0)
        return Measurement(
            name=name,
            value=estimate.value,
            unit="bits/byte",
            interval=estimate.interval,
            n=len(self.bits),
            seeds=(0,),
            chance=8.0,
            ideal=0.0,
        )


def measure(
    model: LanguageModel,
    documents: Sequence[Document],
    what: str,
    *,
    window: int | None = None,
    tokens: int | None = None,
    routed: bool = False,
) -> Likelihood:
    """Score documents, in the order of their hashes and up to about `tokens` tokens of them.

    Of a conversation only what the assistant says counts. `window` is how much the model reads at once; None for its
    whole context. Special tokens count as zero bytes and are not scored. `routed` lets each text choose among the
    adapters beside the model, a conversation by what stands before its first answer; ConfigError as by `lm.route`.
    """
    chosen = counted_tokens(model, documents, what, tokens)
    readers = _readers(model, chosen) if routed else []
    bits: list[float] = []
    sizes: list[int] = []
    of: list[int] = []
    with progress.task(f"measuring {what}", sum(len(ids) for ids, _ in chosen), "tokens") as advance:
        scored = _logprobs(model, [ids for ids, _ in chosen], window, readers)
        for number, ((ids, counted), logprobs) in enumerate(zip(chosen, scored, strict=True)):
            lengths = [
                len(part) if counts else 0 for part, counts in zip(model.tokenizer.bytes_of(ids), counted, strict=True)
            ]
            for start in range(1, len(ids), SEGMENT):
                part = range(start, min(start + SEGMENT, len(ids)))
                size = sum(lengths[at] for at in part)
                if size:
                    bits.append(-sum(logprobs[at - 1] for at in part if counted[at]) / LN_2)
                    sizes.append(size)
                    of.append(number)
            advance(len(ids))
    read = sum(len(ids) - 1 for ids, _ in chosen)
    return Likelihood(np.array(bits), np.array(sizes, dtype=float), read, np.array(of), tuple(readers))


def _readers(model: LanguageModel, chosen: Sequence[tuple[list[int], list[bool]]]) -> list[str | None]:
    """The adapter beside the model that reads each text."""
    firsts = [counted.index(True) for _, counted in chosen]
    # Before the first answer of a conversation stands a question; before what counts of a plain text at most one token.
    return route(model, [ids[:first] if first > 1 else ids for (ids, _), first in zip(chosen, firsts, strict=True)])


def _logprobs(
    model: LanguageModel, texts: Sequence[list[int]], window: int | None, readers: Sequence[str | None]
) -> Iterator[list[float]]:
    if not readers:
        yield from texts_logprobs(model.runner, texts, min(window or model.longest, model.longest))
    for ids, name in zip(texts, readers, strict=False):
        longest = model.longest_with(name)
        yield token_logprobs(model.runner, ids, min(window or longest, longest), *model.read_by(name))


def must_measure(tokens: int | None, window: int | None = None) -> None:
    """ConfigError for a number of tokens, or a window, in which nothing can be measured."""
    if tokens is not None and tokens < 1:
        raise ConfigError(f"tokens is {tokens:,}; measure on at least 1")
    if window is not None:
        must_score(window)


def counted_tokens(
    model: LanguageModel, documents: Sequence[Document], what: str, tokens: int | None = None
) -> list[tuple[list[int], list[bool]]]:
    """Documents as the model reads them, and which of their tokens count: in the order of their hashes, up to about
    `tokens` tokens. DataError where nothing counts, ConfigError where there are none to count."""
    must_measure(tokens)
    model.must_write()
    chosen, budget = [], tokens
    for document in sorted(documents, key=lambda document: document.hash):
        for ids, counted in _ids(model, document):
            kept = len(ids) if budget is None else budget + 1
            budget = None if budget is None else max(budget - len(ids[:kept]) + 1, 0)
            if any(counted[1:kept]):
                chosen.append((ids[:kept], counted[:kept]))
        if budget == 0:
            break
    if not chosen:
        read = "" if tokens is None else f" in the {tokens:,} tokens that are read; read more of it"
        raise DataError(f"{what}: no document holds anything that can be scored{read}")
    return chosen


def change(before: Likelihood, after: Likelihood, name: str) -> tuple[Measurement, Change]:
    """The change in bits per byte, each segment paired with itself; a tie where the interval holds zero,
    open where there is no interval: one segment alone, or a few that all changed alike."""
    estimate = statistics.difference_of_ratios(before.bits, after.bits, before.bytes)
    measurement = Measurement(
        name=name,
        value=estimate.value,
        unit="bits/byte",
        interval=estimate.interval,
        n=len(before.bits),
        seeds=(0,),
        difference=True,
    )
    if measurement.interval is None:
        return measurement, "open"
    if measurement.tie:
        return measurement, "tie"
    return measurement, "better" if estimate.value < 0 else "worse"


def _ids(model: LanguageModel, document: Document) -> list[tuple[list[int], list[bool]]]:
    """A document as the model reads it, in one text or several, and which of the tokens are counted."""
    tokenizer = model.tokenizer
    if document.messages is not None:
        return [
            (ids, [counts and token not in tokenizer.stop_ids for token, counts in zip(ids, counted, strict=True)])
            for ids, counted in encode_document(tokenizer, document)
        ]
    ids = tokenizer.encode(document.text, special=False)
    start = tokenizer.document_start
    front = [] if start is None else [start]
    return [([*front, *ids], [False] + [True] * (len(front) + len(ids) - 1))]

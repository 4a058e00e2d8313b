"""What a text is: an encoder's class for each of several texts, with the probability of every class.

(told,) = lm.load("models/classify").classify(["Who wrote Faust?"])
print(told.label, told.probabilities)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.encoding.embedding import at_once, rows_by_length
from lmworks.models.config import ModelConfig
from lmworks.models.runner import Runner
from lmworks.tokens.pair_labels import OF_PAIRS
from lmworks.tokens.source import around_a_text
from lmworks.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Told:
    """What a text is taken for."""

    probabilities: dict[str, float]
    """Of every class, the likeliest first."""

    @property
    def label(self) -> str:
        """The likeliest class."""
        return next(iter(self.probabilities))


def classifies(config: ModelConfig) -> bool:
    """Whether the network tells classes of single texts: not those of tokens, nor whether one text follows another,
    nor a score (`comparing.py`)."""
    return len(config.labels) > 1 and config.labels_of == "texts" and config.labels not in OF_PAIRS


def _instead(config: ModelConfig) -> str:
    """What it has in the place of one."""
    if not config.labels:
        return ""
    if config.labels_of == "tokens":
        return f", but one of tokens ({len(config.labels)} classes)"
    if config.labels in OF_PAIRS:
        return f", but one of pairs of them ({', '.join(config.labels)})"
    return ", but a head that gives one number (a regression, or a score of two texts)"


def classify(runner: Runner, tokenizer: Tokenizer, texts: Sequence[str], *, cut: bool = False) -> list[Told]:
    """The class of each text, in their order; with `cut` longer texts lose their end, else they are a DataError.

    ConfigError for a network without a classifier of texts.
    """
    config = runner.config
    if not classifies(config):
        raise ConfigError(
            f"the network has no classifier of texts{_instead(config)}; train one (lmworks train classify), or load "
            "one that has it"
        )
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise DataError("classify takes a list of texts; put the one text into brackets")
    texts = list(texts)
    opening, closing = around_a_text(tokenizer)
    room = config.context - len(opening) - len(closing)
    read = tokenizer.encode_batch(texts, special=False)
    for text, ids in zip(texts, read, strict=True):
        if len(ids) > room and not cut:
            raise DataError(
                f"the text {text[:40]!r}... has {len(ids):,} tokens and the model reads {room:,}; split it, or give "
                "cut=True"
            )
    rows = [[*opening, *ids[:room], *closing] for ids in read]
    told: dict[int, Told] = {}
    with progress.task("classifying", len(texts), "texts") as advance:
        for places, tokens, mask in rows_by_length(rows, at_once(runner.device)):
            scores = runner.classes(tokens, mask, exact=True)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            shares /= shares.sum(-1, keepdims=True)
            for place, row in zip(places, shares.tolist(), strict=True):
                ordered = sorted(zip(row, config.labels, strict=True), reverse=True)
                told[place] = Told({label: probability for probability, label in ordered})
            advance(len(places))
    return [told[place] for place in range(len(texts))]

"""The gate: how probable it is that the documents answer a question, from which probability on they are believed, and
how probable it is then that the answer is right.

    gate = Gate.of(index.tested, "SpanReader")
    confidence = gate.confidence(features)
    refused = confidence < gate.threshold
    right = gate.probably_right(features)  # that the citation holds what answers

The first is a logistic function of four features: how many of the question's words the passage with the answer holds,
how many its sentence, what the reader says of it, and whether the question is one for a yes or a no: of such the reader
has read none while it was trained, and it doubts them all. (Cosines, how far the best reading is ahead, and what the
cross-encoder says from which the reader was trained tell no more of texts that were not fitted.) The second has two
more: whether the question wants a sentence (how, why), and how far the best passage is ahead of the best one that says
something else; it is fitted on what the first lets through. There are constants for the trained reader and for the
nearest sentence, fitted on several kinds of text, as people ask a manual otherwise than an encyclopaedia. `gate.json`
holds them with the command that fitted them, the data, and how often they refuse what is there, measured on texts that
were not fitted. A threshold in `tested["gate"]` stands in place of the fitted one; an index's own test asks with 0
there, to see every answer, and writes none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from importlib import resources
from typing import Any

FITTED = "gate.json"
EDGE = 1e-4
"""Probabilities nearer than this to 0 and 1 count as this near."""


@dataclass(frozen=True)
class Features:
    """What the gate looks at."""

    best: float
    """The share of the question's content words that the passage with the answer holds, 0 ... 1."""
    near: float
    """The share that the sentence with the answer holds."""
    answerable: float
    """The reader's log odds that the passage answers, and not only treats of the same."""
    wants_a_sentence: float
    """1 where the question wants a sentence, 0 where it wants a few words."""
    lead: float
    """How far the best passage's rank is ahead of the best one that says something else: log(1 + difference)."""
    yes_or_no: float
    """1 where a yes or a no would answer the question, as far as that can be told, 0 elsewhere."""

    @property
    def gated(self) -> tuple[float, ...]:
        """What says whether the documents answer, in the order of the weights."""
        return self.best, self.near, self.answerable, self.yes_or_no

    @property
    def values(self) -> tuple[float, ...]:
        """What says whether the answer is right, in the order of the weights."""
        return astuple(self)


def log_odds(probability: float) -> float:
    """Of a probability."""
    inside = min(max(probability, EDGE), 1 - EDGE)
    return math.log(inside / (1 - inside))


@dataclass(frozen=True)
class Logistic:
    """A probability from a few numbers."""

    weights: Sequence[float]
    bias: float

    def __call__(self, values: Sequence[float]) -> float:
        """0 ... 1."""
        total = self.bias + sum(weight * one for weight, one in zip(self.weights, values, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


@dataclass(frozen=True)
class Gate:
    """Who judges answers, and the confidence below which one is refused."""

    answered: Logistic
    """That the documents answer, of `Features.gated`."""
    right: Logistic
    """That an answer which is given is right, of `Features.values`."""
    threshold: float
    false_refusals: float
    """The share of answerable questions that are refused, measured on others than those that chose the threshold."""
    own: bool = False
    """Whether the threshold is from the index's own test."""

    @classmethod
    def of(cls, tested: Mapping[str, Any], reader: str) -> Gate:
        """The gate for a reader, by its class's name, with the threshold of an index's own test where it has one."""
        known = fitted()["readers"]
        one = known.get(reader) or known["NearestSentence"]
        answered, right = Logistic(**one["answered"]), Logistic(**one["right"])
        gate = cls(answered, right, one["threshold"], one["false_refusals"])
        own = tested.get("gate")
        if isinstance(own, Mapping) and "threshold" in own:
            rate = float(own.get("false_refusals", gate.false_refusals))
            return cls(answered, right, float(own["threshold"]), rate, own=True)
        return gate

    def passes(self, features: Features) -> bool:
        """Whether a question may be answered."""
        return self.confidence(features) >= self.threshold

    def confidence(self, features: Features) -> float:
        """The probability that the documents answer, 0 ... 1."""
        return self.answered(features.gated)

    def probably_right(self, features: Features) -> float:
        """The probability that an answer which passes is right: that what it cites answers, 0 ... 1."""
        return self.right(features.values)


@cache
def fitted() -> dict[str, Any]:
    """The constants of all readers, and where they are from."""
    return dict(json.loads(resources.files("lmworks.grounding").joinpath(FITTED).read_text(encoding="utf-8")))

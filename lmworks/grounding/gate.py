"""The gate: how probable it is that the documents answer a question, and from which probability on they are believed.

    gate = Gate.of(index.tested)
    confidence = gate.confidence(features)
    refused = confidence < gate.threshold

A logistic function of three features: how many of the question's words the passage with the answer holds, how many its
sentence, and what the reader says of it. (Cosines, how far the best reading is ahead, and what the cross-encoder says
from which the reader was trained tell no more of texts that were not fitted.) There are constants for the trained
reader and for the nearest sentence, fitted on several kinds of text, as people ask a manual otherwise than an
encyclopaedia. `gate.json` holds them with the command that fitted them, the data, and how often they refuse what is
there, measured on texts that were not fitted. A threshold in `tested["gate"]` stands in place of the fitted one; an
index's own test asks with 0 there, to see every answer, and writes none.
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

    @property
    def values(self) -> tuple[float, ...]:
        """In the order of the weights."""
        return astuple(self)


def log_odds(probability: float) -> float:
    """Of a probability."""
    inside = min(max(probability, EDGE), 1 - EDGE)
    return math.log(inside / (1 - inside))


@dataclass(frozen=True)
class Gate:
    """Weights, and the confidence below which an answer is refused."""

    weights: Sequence[float]
    bias: float
    threshold: float
    false_refusals: float
    """The share of answerable questions that are refused, measured on others than those that chose the threshold."""
    own: bool = False
    """Whether the threshold is from the index's own test."""

    @classmethod
    def of(cls, tested: Mapping[str, Any], reader: str) -> Gate:
        """The gate for a reader, by its class's name, with the threshold of an index's own test where it has one."""
        known = _fitted()["readers"]
        one = known.get(reader) or known["NearestSentence"]
        gate = cls(one["weights"], one["bias"], one["threshold"], one["false_refusals"])
        own = tested.get("gate")
        if isinstance(own, Mapping) and "threshold" in own:
            rate = float(own.get("false_refusals", gate.false_refusals))
            return cls(gate.weights, gate.bias, float(own["threshold"]), rate, own=True)
        return gate

    def passes(self, features: Features) -> bool:
        """Whether a question may be answered."""
        return self.confidence(features) >= self.threshold

    def confidence(self, features: Features) -> float:
        """The probability that the documents answer, 0 ... 1."""
        total = self.bias + sum(weight * one for weight, one in zip(self.weights, features.values, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


@cache
def _fitted() -> dict[str, Any]:
    return dict(json.loads(resources.files("lmworks.grounding").joinpath(FITTED).read_text(encoding="utf-8")))

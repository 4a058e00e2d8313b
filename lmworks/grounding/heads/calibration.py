"""From a reader's two scores to the probability that a text answers a question: a logistic regression.

Source: Platt 1999, "Probabilistic outputs for support vector machines".
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmworks.basics.config import Config

STEPS = 50
RIDGE = 1e-3
"""Holds weights back where answered and unanswered questions are told apart without a mistake."""
BINS = 10


class Calibration(Config):
    """Weights of a reader's scores."""

    span: float = 0.5
    """Of the log-odds of the likeliest span against none."""

    answers: float = 0.5
    """Of the log-odds of there being an answer."""

    constant: float = 0.0
    """Added to them."""

    def score(self, span: float, answers: float) -> float:
        """The log-odds that the text answers the question."""
        return self.constant + self.span * span + self.answers * answers

    @classmethod
    def fitted(cls, span: ArrayLike, answers: ArrayLike, right: ArrayLike) -> Self:
        """Weights that make the known answers likeliest, by Newton's method."""
        inputs = np.stack([np.ones(len(np.asarray(span))), np.asarray(span), np.asarray(answers)], 1)
        weights, target = np.zeros(3), np.asarray(right, dtype=float)
        for _ in range(STEPS):
            probability = probabilities(inputs @ weights)
            gradient = inputs.T @ (probability - target) + RIDGE * weights
            curvature = (inputs.T * (probability * (1 - probability))) @ inputs + RIDGE * np.eye(3)
            weights = weights - np.linalg.solve(curvature, gradient)
        constant, of_span, of_answers = map(float, weights)
        return cls(span=of_span, answers=of_answers, constant=constant)


def probabilities(scores: ArrayLike) -> NDArray[np.float64]:
    """Of log-odds."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(scores, dtype=float), -50, 50)))


def calibration_error(probability: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """How far probabilities are from how often they come true, on average over bins of equally many (Naeini et al.
    2015, https://doi.org/10.1609/aaai.v29i1.9602, with equal bins)."""
    ordered = sorted(zip(np.asarray(probability, dtype=float), np.asarray(right, dtype=float), strict=True))
    parts = [part for part in np.array_split(np.array(ordered), bins) if len(part)]
    return float(sum(len(part) * abs(part[:, 0].mean() - part[:, 1].mean()) for part in parts) / len(ordered))

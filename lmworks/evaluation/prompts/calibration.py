"""Contextual calibration: what a prompt makes likely whatever is asked is divided out (Zhao et al. 2021,
https://arxiv.org/abs/2102.09690, section 5).

    calibrate([0.8, 0.2], [0.75, 0.25])     # [0.57, 0.43]
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def probabilities(logprobs: Sequence[float]) -> list[float]:
    """The classes' shares of what they have together: a softmax of their log-probabilities."""
    best = max(logprobs)
    shares = [math.exp(one - best) for one in logprobs]
    return [one / sum(shares) for one in shares]


def leaning(without_content: Sequence[Sequence[float]]) -> list[float]:
    """The mean of the probabilities that the classes have after texts without content."""
    told = [probabilities(one) for one in without_content]
    return [sum(column) / len(told) for column in zip(*told, strict=True)]


def calibrate(told: Sequence[float], leant: Sequence[float]) -> list[float]:
    """diag(leant)^-1 told, brought to the sum 1. Where the prompt leans to no class it changes nothing."""
    shares = [one / max(other, 1e-12) for one, other in zip(told, leant, strict=True)]
    return [one / sum(shares) for one in shares]

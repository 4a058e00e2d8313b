"""loss = "ipo": identity preference optimisation: the margin is to reach a fixed size and no more.

    (reward of the better a token - reward of the worse a token - 1 / (2 beta))^2

Source: Azar et al. 2023, https://arxiv.org/abs/2310.12036, equation 17. Rewards are divided by the answers' tokens, as
in TRL, whose authors have it from the paper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.objectives.preference import Answers, PreferenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class IPOSettings(Config):
    """How far the two answers are to be apart."""

    beta: float = Field(default=0.5, gt=0)
    """The margin to reach is 1 / (2 beta) nats a token: a larger beta stays nearer to the reference."""


def _of(better: Answers, worse: Answers, settings: IPOSettings) -> Tensor:
    margin = better.reward / better.tokens - worse.reward / worse.tokens
    return (margin - 1 / (2 * settings.beta)).square()


IPO = PreferenceLoss(
    "ipo", "the margin is to reach a size and no more, so that no pair is learnt to excess (IPO)", IPOSettings, _of
)

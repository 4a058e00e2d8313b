"""loss = "simpo": simple preference optimisation: without a reference, by the mean log-probability of a token.

    -log sigmoid(beta (log p of the better a token - log p of the worse a token) - gamma)

Source: Meng et al. 2024, https://arxiv.org/abs/2405.14734, equation 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.objectives.preference import Answers, PreferenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class SimPOSettings(Config):
    """How far the two answers are to be apart."""

    beta: float = Field(default=2.0, gt=0)
    """What a nat a token counts."""

    gamma: float = Field(default=1.0, ge=0)
    """The margin that the better answer is to have, times beta."""


def _of(better: Answers, worse: Answers, settings: SimPOSettings) -> Tensor:
    import torch.nn.functional as F

    margin = better.log_probability / better.tokens - worse.log_probability / worse.tokens
    return -F.logsigmoid(settings.beta * margin - settings.gamma)


SIMPO = PreferenceLoss(
    "simpo",
    "the better answer is to be more probable a token, whatever a reference says (SimPO)",
    SimPOSettings,
    _of,
    looks_back=False,
)

"""loss = "dpo": direct preference optimisation.

    -log sigmoid(beta (reward of the better - reward of the worse))

Source: Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.objectives.preference import Answers, PreferenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class DPOSettings(Config):
    """How strongly the model is held to the reference."""

    beta: float = Field(default=0.1, gt=0)
    """What a nat of reward counts: a larger one is satisfied sooner, and stays nearer to the reference."""


def _of(better: Answers, worse: Answers, settings: DPOSettings) -> Tensor:
    import torch.nn.functional as F

    return -F.logsigmoid(settings.beta * (better.reward - worse.reward))


DPO = PreferenceLoss(
    "dpo", "the better answer gains probability over the worse, relative to the reference (DPO)", DPOSettings, _of
)

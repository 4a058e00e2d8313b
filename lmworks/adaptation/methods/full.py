"""method = "full": every weight is trained, and the result is a whole model."""

from __future__ import annotations

from lmworks.adaptation.declaration import Method, Setup
from lmworks.basics.config import Config


class FullConfig(Config):
    """Full fine-tuning has no settings of its own; a tenth of LoRA's training.learning_rate is usual."""


def prepare(setup: Setup, settings: FullConfig) -> Setup:
    """Let all weights be trained."""
    setup.network.requires_grad_(True)
    return setup


FULL = Method(
    name="full",
    summary="all weights; the result is a model of its own, and memory holds gradient and moments of every weight",
    settings=FullConfig,
    prepare=prepare,
)

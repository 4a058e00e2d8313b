"""How far images are from what comes back of them: the mean squared error of their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError
from lmworks.objectives.loss import Loss, Objective

if TYPE_CHECKING:  # recipes are read without torch
    from lmworks.tokens.batch import Batch


class Reconstruction(Objective):
    """Which pixels an image has, from its tokens."""

    def __call__(self, network: Any, batch: Batch) -> Loss:
        """The squared error of an image's pixels (from -1 to 1), its mean over them, summed over the images.
        ConfigError where the batch has no images."""
        if batch.pixels is None:
            raise ConfigError("Reconstruction compares images, and the batch has none")
        errors = (network(batch.pixels) - batch.pixels).square().flatten(1).mean(1)
        return Loss(errors.sum(), len(errors))

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Images."""
        return (0 if batch.pixels is None else len(batch.pixels),)

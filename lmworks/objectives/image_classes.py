"""The class of an image: cross-entropy, with a share of each label spread over all classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError
from lmworks.objectives.loss import Loss, Objective
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:  # recipes are read without torch
    from lmworks.tokens.batch import Batch


class ImageClasses(Objective):
    """Which class each image of a batch is of."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, network: Any, batch: Batch) -> Loss:
        """Summed over the images, in nats. ConfigError where the batch has no images, or no classes."""
        import torch.nn.functional as F

        if batch.pixels is None or batch.classes is None:
            raise ConfigError("ImageClasses tells the classes of images, and the batch has no images with classes")
        scores = network(batch.pixels)
        smoothing = self.label_smoothing
        total = F.cross_entropy(scores, batch.classes, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
        return Loss(total, self.counts(batch)[0])

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Images that have a class."""
        return (0 if batch.classes is None else int((batch.classes != IGNORE).sum()),)

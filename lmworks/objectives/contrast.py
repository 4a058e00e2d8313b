"""InfoNCE and the sigmoid loss: an image and its caption belong together, and the other captions of a batch do not.

Both are of the logits of `Towers`: [images, texts], the scaled cosines. Where captions repeat, or differ by no more
than who is shown (man, woman, person), the others of the group are no negatives: they are left out of the sums.

Sources: Radford et al. 2021, https://arxiv.org/abs/2103.00020, figure 3; Zhai et al. 2023,
https://arxiv.org/abs/2303.15343, algorithm 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError
from lmworks.objectives.loss import Loss, Objective

if TYPE_CHECKING:  # recipes are read without torch
    from torch import Tensor

    from lmworks.basics.arrays import Bool, Float, Int
    from lmworks.tokens.batch import Batch

LARGEST_SCALE = math.log(100)
"""Of the cosines, as a logarithm: CLIP keeps it there (section 2.5)."""


def info_nce(logits: Float[Tensor, "pairs pairs"], groups: Int[Tensor, " pairs"] | None = None) -> Float[Tensor, ""]:
    """Summed over the pairs, in nats: the mean of the cross-entropy of each image's caption among those of the batch,
    and of each caption's image. Of the images of an image's own group, only its own pair counts."""
    import torch
    import torch.nn.functional as F

    if groups is not None:
        logits = logits.masked_fill(same_group(groups), -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    sides = (F.cross_entropy(side.float(), own, reduction="sum") for side in (logits, logits.T))
    return sum(sides, torch.zeros((), device=logits.device)) / 2


def sigmoid_loss(
    logits: Float[Tensor, "pairs pairs"], groups: Int[Tensor, " pairs"] | None = None
) -> Float[Tensor, ""]:
    """Summed over all pairs of an image and a text, in nats: whether the two belong together, each by itself. Pairs of
    one group that are not each other's count nothing."""
    import torch
    import torch.nn.functional as F

    together = 2 * torch.eye(len(logits), device=logits.device) - 1
    nats = -F.logsigmoid(together * logits.float())
    return (nats if groups is None else nats.masked_fill(same_group(groups), 0.0)).sum()


def same_group(groups: Int[Tensor, " pairs"]) -> Bool[Tensor, "pairs pairs"]:
    """True for two different pairs of one group."""
    import torch

    return (groups[:, None] == groups[None, :]) & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)


class Contrast(Objective):
    """A loss of images and captions that belong together, row by row of a batch; others in it are negatives."""

    def __call__(self, network: Any, batch: Batch) -> Loss:
        """The loss of a batch, through `Towers`: the mean over the networks that read images, so that one which learns
        a batch by heart leaves the other something to learn. ConfigError where it has no images."""
        import torch

        if batch.pixels is None and batch.states is None:
            raise ConfigError(f"{type(self).__name__} compares texts with images, and the batch has no images")
        with torch.no_grad():
            network.scale.clamp_(max=LARGEST_SCALE)
        texts = network.encode_texts(batch.tokens)
        parts = network.image_parts(batch.pixels, batch.states)
        losses = [self.of(network.similarities(images, texts), batch.groups) for images in parts]
        return Loss(torch.stack(losses).mean(), len(batch.tokens))

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Pairs."""
        return (len(batch.tokens),)

    @abstractmethod
    def of(self, logits: Float[Tensor, "pairs pairs"], groups: Int[Tensor, " pairs"] | None) -> Float[Tensor, ""]:
        """Summed over the pairs, from the similarity of each image with each text."""


class InfoNCE(Contrast):
    """Which of the batch's captions is the image's, and which image is the caption's."""

    def of(self, logits: Float[Tensor, "pairs pairs"], groups: Int[Tensor, " pairs"] | None) -> Float[Tensor, ""]:
        """See `info_nce`."""
        return info_nce(logits, groups)


class Sigmoid(Contrast):
    """Whether an image and a caption belong together, each two by themselves; for towers with a bias (SigLIP)."""

    def of(self, logits: Float[Tensor, "pairs pairs"], groups: Int[Tensor, " pairs"] | None) -> Float[Tensor, ""]:
        """See `sigmoid_loss`."""
        return sigmoid_loss(logits, groups)

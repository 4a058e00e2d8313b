"""Images with a class each as rows of a batch, moved by a few pixels, mirrored and partly covered anew each time that
they are seen.

Pixels stay bytes until a batch is made. An image is mirrored in every other epoch (Jordan 2024,
https://arxiv.org/abs/2404.00498, section 3.6): both of its sides are seen as often, which chance alone does not give.
A square of it is covered, so that no one part tells the class (cutout; DeVries and Taylor 2017,
https://arxiv.org/abs/1708.04552).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Float, Int64, UInt8
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.rows import Rows

Pixels = Float[Tensor, "batch channels size size"]


class LabelledImages(Rows):
    """A row for each image: its pixels and the number of its class."""

    def __init__(
        self,
        images: UInt8[np.ndarray, "images size size channels"],
        classes: Int64[np.ndarray, " images"],
        normalise: Callable[[Pixels], Pixels],
        *,
        moved: int = 0,
        mirrored: bool = False,
        covered: int = 0,
    ) -> None:
        """`normalise` takes pixels from 0 to 1; `moved` is the most pixels that an image is moved in each direction,
        `covered` the side of the square that is covered."""
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.classes = torch.from_numpy(classes).long()
        self.normalise, self.moved, self.mirrored, self.covered = normalise, moved, mirrored, covered
        self.shifts, self.flips = torch.zeros(len(images), 2).long(), torch.zeros(len(images)).bool()
        self.corners: Int64[Tensor, "images 2"] | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def batches(self, size: int) -> int:
        """See Rows: whole batches, as a norm over fewer images is a different norm; an epoch leaves a few rows out."""
        return max(len(self) // size, 1)

    def at_epoch(self, epoch: int, seed: int) -> Self:
        """The same images, moved in another way; mirrored if they were not in the epoch before."""
        turned = copy(self)
        draw = torch.Generator().manual_seed(2**32 * seed % 2**62 + epoch)
        turned.shifts = torch.randint(-self.moved, self.moved + 1, (len(self), 2), generator=draw)
        if self.mirrored:
            first = torch.randint(0, 2, (len(self),), generator=torch.Generator().manual_seed(seed)).bool()
            turned.flips = first ^ bool(epoch % 2)
        if self.covered:
            free = self.images.shape[-1] - self.covered + 1
            turned.corners = torch.randint(0, free, (len(self), 2), generator=draw)
        return turned

    def width(self, context: int) -> float:
        """See Rows: what counts is images."""
        return 1.0

    def batch(self, places: Sequence[int]) -> Batch:
        """Some images with their classes; there are no tokens."""
        at = torch.tensor(places)
        none = torch.zeros(len(at), 1).long()
        return Batch(none, none + IGNORE, none, none, pixels=self.pixels(places), classes=self.classes[at])

    def pixels(self, places: Sequence[int]) -> Pixels:
        """The images alone."""
        at = torch.tensor(places)
        pixels = self.normalise(self.images[at].float() / 255)
        pixels = shifted(pixels, self.shifts[at])
        pixels = torch.where(self.flips[at][:, None, None, None], pixels.flip(3), pixels)
        return pixels if self.corners is None else covered(pixels, self.corners[at], self.covered)


def shifted(pixels: Pixels, shifts: Tensor) -> Pixels:
    """Each image moved down and to the right by its own whole pixels [batch, 2]; the edge is filled by its mirror."""
    most = int(shifts.abs().max())
    if not most:
        return pixels
    size, padded = pixels.shape[-1], F.pad(pixels, (most,) * 4, "reflect")
    moved = torch.empty_like(pixels)
    for down, right in shifts.unique(dim=0).tolist():
        here = (shifts == torch.tensor([down, right])).all(dim=1)
        top, left = most - down, most - right
        moved[here] = padded[here, :, top : top + size, left : left + size]
    return moved


def covered(pixels: Pixels, corners: Int64[Tensor, "batch 2"], side: int) -> Pixels:
    """Each image with a square of 0 (the mean of normalised pixels) whose corner is this row and column."""
    from_corner = torch.arange(pixels.shape[-1]) - corners[:, :, None]  # [batch, 2, size]
    rows, columns = ((from_corner >= 0) & (from_corner < side)).unbind(1)
    return pixels.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)

"""Images with their captions as rows of a batch, changed a little each time that they are seen.

Pixels stay bytes until a batch is made. Each epoch moves, turns and zooms an image anew, and says a part of its tags
in another order, by draws that depend on the run's seed, the epoch and the row alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int, UInt8
from lmworks.text.document import Document
from lmworks.text.images.splits import concept_of
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.rows import Rows

Encode = Callable[[list[str]], Int[Tensor, "texts seq"]]
"""Captions as the tower for texts reads them."""
VERSIONS = 2
"""Versions of an image that a frozen tower reads, of which each epoch takes one; the first is the image as it is."""
SAYINGS = 4
"""Ways to say a caption, of which each epoch takes one; few, so that a tower for texts that stays reads each once."""
TOGETHER = 32
"""Images that a frozen tower reads at once."""
Read = Callable[[Float[Tensor, "batch 3 size size"]], Float[Tensor, "batch dim"]]
"""Pixels as the tower for images reads them -> their states."""
Normalise = Callable[[Float[Tensor, "batch 3 size size"]], Float[Tensor, "batch 3 size size"]]
"""Pixels from 0 to 1 as the tower for images reads them."""


class ImageRows(Rows):
    """A row for each image: its pixels, and what a frozen network made of them, if one has read them ahead."""

    def __init__(self, documents: Sequence[Document], normalise: Normalise, change: float) -> None:
        """The images are of one size. `change` is how far they are moved, as a share of it; 0 for not at all."""
        self.documents, self.normalise, self.change = documents, normalise, change
        self.epoch, self.seed = 0, 0
        self.states: Float[Tensor, "versions images dim"] | None = None
        self.pixels: UInt8[np.ndarray, "images size size 3"] = np.stack(
            [one.image for one in documents if one.image is not None]
        )
        """Empty where they were read ahead and nothing else reads them."""

    def __len__(self) -> int:
        return len(self.documents)

    def batches(self, size: int) -> int:
        """See Rows: whole batches, as a loss among fewer is a different loss; an epoch leaves a few rows out."""
        return max(len(self) // size, 1)

    def at_epoch(self, epoch: int, seed: int) -> Self:
        """The same images, changed in another way."""
        turned = copy(self)
        turned.epoch, turned.seed = epoch, seed
        return turned

    def states_of(self, places: Sequence[int]) -> Float[Tensor, "batch dim"] | None:
        """What was made of some images, where they were read ahead."""
        if self.states is None:
            return None
        versions = torch.tensor([(self.epoch + place) % len(self.states) for place in places])
        return self.states[versions, torch.tensor(places)]

    def pixels_of(self, places: Sequence[int]) -> Float[Tensor, "batch 3 size size"]:
        """Some images alone."""
        return self._pixels(places, self.epoch if self.change else None)

    def _pixels(self, places: Sequence[int], epoch: int | None) -> Float[Tensor, "batch 3 size size"]:
        """Images as they are changed in an epoch; None for as they are."""
        pixels = torch.from_numpy(self.pixels[list(places)]).permute(0, 3, 1, 2).float() / 255
        if epoch is not None:
            draws = [random.Random(f"{self.seed}/{epoch}/{place}") for place in places]
            pixels = moved(pixels, draws, self.change)
        return self.normalise(pixels)

    def read_ahead(self, read: Read, seed: int, keep: int | None = None) -> None:
        """Let a frozen tower read every version of every image once, in a fixed order: a state's last bits depend on
        what it is computed beside. The images are kept with `keep` pixels a side, or not at all."""
        versions, rows = VERSIONS if self.change else 1, self.at_epoch(0, seed)
        parts = [range(start, min(start + TOGETHER, len(self))) for start in range(0, len(self), TOGETHER)]
        states = list[Tensor]()
        with progress.task("reading images", versions * len(self), "images") as advance:
            for version in range(versions):
                for part in parts:
                    states.append(read(rows._pixels(part, version or None)))
                    advance(len(part))
        self.states = torch.cat(states).view(versions, len(self), -1)
        kept = [_reduced(self.pixels[part], keep) for part in parts] if keep else [self.pixels[:0]]
        self.pixels = np.concatenate(kept)


class CaptionedImages(ImageRows):
    """A row for each image: its pixels, its caption's tokens, and the number of its family."""

    def __init__(
        self,
        documents: Sequence[Document],
        encode: Encode,
        normalise: Normalise,
        *,
        change: float = 0.0,
        negatives: bool = False,
    ) -> None:
        """`change` as of ImageRows; where it is not 0, tags are left out too. With `negatives`, siblings and captions
        that repeat are told apart as any others are."""
        super().__init__(documents, normalise, change)
        self.encode = encode
        numbers: dict[str, int] = {}
        families = [numbers.setdefault(concept_of(one), len(numbers)) for one in documents]
        self.groups = None if negatives else torch.tensor(families)

    def width(self, context: int) -> float:
        """See Rows: what counts is pairs."""
        return 1.0

    def batch(self, places: Sequence[int]) -> Batch:
        """Some images with their captions."""
        tokens = self.encode([self._caption(at) for at in places])
        ignored = torch.full_like(tokens, IGNORE)
        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        groups = None if self.groups is None else self.groups[list(places)]
        pixels, states = self.pixels_of(places) if len(self.pixels) else None, self.states_of(places)
        return Batch(tokens, ignored, positions, torch.zeros_like(tokens), pixels=pixels, states=states, groups=groups)

    def sayings(self, seed: int) -> list[str]:
        """Every caption as it is said in any epoch of a run with this seed, the shortest first."""
        epochs = [self.at_epoch(epoch, seed) for epoch in range(SAYINGS)]
        said = {one._caption(place) for one in epochs for place in range(len(self))}
        return sorted(said, key=lambda text: (len(text), text))

    def _caption(self, place: int) -> str:
        document = self.documents[place]
        draw = random.Random(f"{self.seed}/{(self.epoch + place) % SAYINGS}/{document.text}")
        name, colon, said = document.text.partition(": ")
        if not self.change or not colon or "tags" not in document.metadata:
            return document.text
        tags = said.split(", ")
        chosen = draw.sample(tags, draw.randint(0, len(tags)))
        if draw.random() < 0.1 and chosen:  # tags alone stand for it too
            return ", ".join(chosen)
        return f"{name}: {', '.join(chosen)}" if chosen else name


def _reduced(images: UInt8[np.ndarray, "images size size 3"], side: int) -> UInt8[np.ndarray, "images side side 3"]:
    """The means of the places that fall together."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(pixels, side).round().byte().permute(0, 2, 3, 1).numpy()


def moved(
    pixels: Float[Tensor, "batch 3 size size"], draws: Sequence[random.Random], change: float
) -> Float[Tensor, "batch 3 size size"]:
    """Each image turned, zoomed, moved and tinted by its own draws; what comes in from outside is white."""
    rows = []
    for draw in draws:
        angle, zoom = draw.gauss(0, change), math.exp(draw.gauss(0, change))
        right, down = draw.uniform(-change, change), draw.uniform(-change, change)
        cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
        rows.append([[cos, -sin, right], [sin, cos, down]])
    grid = F.affine_grid(torch.tensor(rows), list(pixels.shape), align_corners=False)
    dark = F.grid_sample(1 - pixels, grid, align_corners=False)  # outside is 0: white once it is turned back
    light = torch.tensor([[math.exp(draw.gauss(0, change)) for _ in range(3)] for draw in draws])
    return (1 - dark * light[:, :, None, None]).clamp(0, 1)

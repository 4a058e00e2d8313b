"""What lets a language model read images: vectors in place of tokens, made of what an image network sees.

    reader = ImageReader(ImageLayers(states=3712, hidden=512, length=8, dim=576), vocabulary=49_152)
    [ids] = reader.remember(states)                   # [1, 3712] -> 8 ids past the vocabulary
    network.image_reader = reader
    network(torch.tensor([[*ids, *text]]))            # reads the image, then the text

A small network between an image network and a language model, both of which stay as they are, is LLaVA's and ClipCap's
idea (Liu et al. 2023, https://arxiv.org/abs/2304.08485; Mokady et al. 2021, https://arxiv.org/abs/2111.09734). Each
vector has an id of its own (past_vocabulary.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.models.past_vocabulary import PastVocabulary
from lmworks.models.seen_vectors import SeenVectors

SMALLEST = 1e-3
"""A state that differs less between images is not made larger than this allows."""


class ImageLayers(nn.Module):
    """Two layers from an image's states to `length` vectors of a language model's width, in float32."""

    mean: Float[Tensor, " states"]
    deviation: Float[Tensor, " states"]

    def __init__(self, states: int, hidden: int, length: int, dim: int, dropout: float = 0.0) -> None:
        """`states` is how many numbers an image has, `dim` the width of the language model's embeddings."""
        super().__init__()
        self.length, self.dim = length, dim
        self.register_buffer("mean", torch.zeros(states))
        self.register_buffer("deviation", torch.ones(states))
        self.inner, self.outer = nn.Linear(states, hidden), nn.Linear(hidden, length * dim)
        self.dropout = nn.Dropout(dropout)

    @torch.no_grad()
    def begin(self, states: Float[Tensor, "images states"], size: float, seed: int) -> None:
        """Begin with these images of the training set: states are brought to mean 0 and deviation 1, and the numbers of
        a vector begin about as large as `size`, that of embeddings."""
        self.mean.copy_(states.mean(0))
        self.deviation.copy_(states.std(0) + SMALLEST)
        generator = torch.Generator().manual_seed(seed)
        for layer, deviation in ((self.inner, 1.0), (self.outer, size)):
            layer.weight.normal_(0, deviation / layer.in_features**0.5, generator=generator)
            layer.bias.zero_()

    def normal(self, states: Float[Tensor, "images states"]) -> Float[Tensor, "images states"]:
        """The states, each number as far from the training set's mean as it is usual."""
        return (states.float() - self.mean) / self.deviation

    def forward(self, states: Float[Tensor, "images states"]) -> Float[Tensor, "images length dim"]:
        """The vectors of images."""
        inner = nn.functional.gelu(self.inner(self.dropout(self.normal(states))))
        made: Tensor = self.outer(self.dropout(inner))
        return made.unflatten(1, (self.length, self.dim))


class ImageReader(PastVocabulary):
    """Puts the vectors of images where a text has ids past the vocabulary."""

    def __init__(self, layers: ImageLayers, vocabulary: int) -> None:
        """`vocabulary` is the first id that no token has."""
        super().__init__(vocabulary, SeenVectors(vocabulary, layers.length))
        self.layers = layers
        self._shown: Float[Tensor, "vectors dim"] | None = None

    @torch.no_grad()
    def remember(self, states: Float[Tensor, "images states"]) -> list[list[int]]:
        """The ids that stand for each image in a prompt."""
        return self.seen.remember(self.layers(states).cpu().numpy())

    @contextmanager
    def showing(self, states: Float[Tensor, "images states"]) -> Iterator[None]:
        """Within this context the first ids past the vocabulary are these images' vectors, one image after another, and
        gradients pass through them."""
        self._shown = self.layers(states).flatten(0, 1)
        try:
            yield
        finally:
            self._shown = None

    def numbered(self, tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
        """Give each image ids of its own, in tokens where every image has the ids of the first: images count in their
        order, row by row."""
        image = (tokens == self.vocabulary).flatten().cumsum(0).view_as(tokens) - 1
        return torch.where(tokens < self.vocabulary, tokens, tokens + image * self.layers.length)

    def vectors(self, ids: Int[Tensor, " count"]) -> Float[Tensor, "count dim"]:
        """Those of some ids: of the images that are shown, or of those that were remembered."""
        return super().vectors(ids) if self._shown is None else self._shown[ids - self.vocabulary]

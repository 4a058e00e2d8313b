"""PositionalEncoding: what a network asks of the encoding that its config names.

    class Sinusoidal(PositionalEncoding):
        name, acts_on = "sinusoidal", "embedding"

        def added(self, config, part, positions):
            return sinusoids(positions, config.dim)

    SINUSOIDAL = Sinusoidal()      # an instance at the top of a file in this folder declares it

An encoding overrides the one method of the place that it acts on: `added`, `rotation` or `bias`. What acts on the
embedding or on the heads also trains by the hand-written blocks and runs on the compiled path. A bias on the scores
runs there too where it stays as it is from some distance on (`alike_from`), and so does ALiBi's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lmworks.basics.declared import declared
from lmworks.models.config import ModelConfig, PositionDeclaration

if TYPE_CHECKING:  # a config asks for the encodings, and whoever only reads one should not wait for torch
    import torch
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float, Int
    from lmworks.models.rotation import Rotation

    Positions = Int[Tensor, "batch seq"]
    """Each token's place in its own text, from 0: padding is not counted, packed documents start again."""
    Distances = Int[Tensor, "batch seq keys"]
    """The key's place minus the query's: negative for what comes before."""


class PositionalEncoding(PositionDeclaration):
    """How a network knows the order of tokens. It holds no state: weights, where it learns some, are in its `part`."""

    part_name = "position"
    """Where a stack keeps the part: what its weights' names begin with."""

    adds: bool = False
    """Something is added to the embedding too, in an encoding that acts on the scores."""

    weights: tuple[str, ...] = ()
    """The names of the part's weights: ("weight",) of an embedding. They are saved in lmworks' own model
    directories."""

    def part(self, config: ModelConfig) -> nn.Module | None:
        """The weights that are learned, for one stack; None where there are none."""
        return None

    def longest(self, config: ModelConfig) -> int | None:
        """The longest text in tokens that there are positions for; None where there is no end."""
        return None

    def added(
        self, config: ModelConfig, part: nn.Module | None, positions: Positions
    ) -> Float[Tensor, "batch seq dim"]:
        """What is added to each token's embedding."""
        raise NotImplementedError

    def rotation(self, config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation:
        """Cosine and sine that the first `rotary_dim` dimensions of each query and key are rotated by (all of them
        where it is None)."""
        raise NotImplementedError

    def window_rotation(self, config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation | None:
        """The same of layers with a window, where these turn in another way; None for the same."""
        return None

    def rotates_in(self, config: ModelConfig, layer: int) -> bool:
        """Are queries and keys of this layer rotated, in an encoding that acts on the heads?"""
        return True

    def alike_from(self, config: ModelConfig) -> int | None:
        """The distance from which on the bias stays as it is, either way; None where it does not."""
        return None

    def bias(
        self, config: ModelConfig, part: nn.Module | None, distances: Distances
    ) -> Float[Tensor, "batch heads seq keys"]:
        """What is added to the scores of every layer."""
        raise NotImplementedError


def encodings() -> Mapping[str, PositionalEncoding]:
    """Every positional encoding by its name."""
    return declared("lmworks.models.positions", PositionalEncoding)


def encoding_of(config: ModelConfig) -> PositionalEncoding:
    """The one that a config names."""
    return encodings()[config.positions]

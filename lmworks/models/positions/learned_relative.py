"""MPNet's positions: learned ones that are added, and T5's bias for ranges of distances.

Source: Song et al. 2020, https://arxiv.org/abs/2004.09297.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lmworks.models.config import ModelConfig
from lmworks.models.positions.learned import LearnedPositions
from lmworks.models.positions.relative import RelativePositions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float
    from lmworks.models.positions.encoding import Distances, Positions
    from lmworks.models.relative_bias import LearnedAndRelative


class LearnedRelativePositions(RelativePositions):
    """An embedding for each place, and a bias on the scores, shared by the layers."""

    name = "learned_relative"
    adds = True
    fields = (*LearnedPositions.fields, *RelativePositions.fields)
    part_name = "positions"
    weights = ("learned.weight", "relative.weight")

    def part(self, config: ModelConfig) -> nn.Module:
        """Both tables."""
        from lmworks.models.relative_bias import LearnedAndRelative

        return LearnedAndRelative(config)

    def longest(self, config: ModelConfig) -> int:
        """The context: no place after it was learned."""
        return config.context

    def added(
        self, config: ModelConfig, part: nn.Module | None, positions: Positions
    ) -> Float[Tensor, "batch seq dim"]:
        """Each position's row."""
        return LearnedPositions().added(config, cast("LearnedAndRelative", part).learned, positions)

    def bias(
        self, config: ModelConfig, part: nn.Module | None, distances: Distances
    ) -> Float[Tensor, "batch heads seq keys"]:
        """The number of each distance's bucket."""
        return cast("LearnedAndRelative", part).relative(distances)


LEARNED_RELATIVE = LearnedRelativePositions()

"""T5's relative positions: a learned bias on attention's scores for each head and range of distances.

Source: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import PositionalEncoding

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float
    from lmworks.models.positions.encoding import Distances


class RelativePositions(PositionalEncoding):
    """One bias, shared by the layers of a stack."""

    name = "relative"
    acts_on = "scores"
    fields: tuple[str, ...] = ("relative_buckets", "relative_distance")
    part_name = "relative"
    weights: tuple[str, ...] = ("weight",)

    def check(self, config: ModelConfig) -> None:
        """There must be distances left for the ranges."""
        if config.relative_distance <= config.relative_buckets // 2:
            raise ConfigError(
                f"{{at}}relative_distance ({config.relative_distance}) must exceed half of {{at}}relative_buckets "
                f"({config.relative_buckets}): each short distance has a bucket of its own"
            )

    def part(self, config: ModelConfig) -> nn.Module:
        """A number for each bucket and head."""
        from lmworks.models.relative_bias import RelativeBias

        return RelativeBias(config)

    def alike_from(self, config: ModelConfig) -> int:
        """The distance that the last bucket begins with at the latest."""
        return config.relative_distance

    def bias(
        self, config: ModelConfig, part: nn.Module | None, distances: Distances
    ) -> Float[Tensor, "batch heads seq keys"]:
        """The number of each distance's bucket."""
        assert part is not None
        return part(distances)


RELATIVE = RelativePositions()

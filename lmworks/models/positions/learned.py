"""Learned positions: an embedding for each place, added to the token's (BERT, GPT-2, BART)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import PositionalEncoding

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float
    from lmworks.models.positions.encoding import Positions


class LearnedPositions(PositionalEncoding):
    """As many places as the context has tokens, after the `position_offset` rows that BART leaves unused."""

    name = "learned"
    acts_on = "embedding"
    fields = ("position_offset",)
    weights = ("weight",)

    def part(self, config: ModelConfig) -> nn.Module:
        """The embedding."""
        from lmworks.models.embedding_table import blank_embedding

        return blank_embedding(config.context + config.position_offset, config.embedding_width)

    def longest(self, config: ModelConfig) -> int:
        """The context: no place after it was learned."""
        return config.context

    def added(
        self, config: ModelConfig, part: nn.Module | None, positions: Positions
    ) -> Float[Tensor, "batch seq dim"]:
        """Each position's row."""
        assert part is not None
        return part(positions + config.position_offset)


LEARNED = LearnedPositions()

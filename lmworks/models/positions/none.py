"""No positional encoding: a causal network still knows something of the order, as each token sees only those before
it."""

from __future__ import annotations

from lmworks.models.positions.encoding import PositionalEncoding


class NoPositions(PositionalEncoding):
    """Nothing is added, rotated or biased (Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466)."""

    name = "none"
    acts_on = None


NONE = NoPositions()

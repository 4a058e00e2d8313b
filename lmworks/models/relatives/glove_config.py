"""GloveConfig: the settings of `lmworks.models.relatives.glove`, apart from it because recipes are read before torch is
loaded."""

from __future__ import annotations

from pydantic import Field

from lmworks.basics.config import Config


class GloveConfig(Config):
    """Settings of GloVe."""

    dim: int = Field(default=100, gt=0, le=10_000)
    """Numbers of a vector."""

    window: int = Field(default=10, gt=0, le=1_000)
    """A word's neighbours are this many words before and after it."""

    min_count: int = Field(default=5, gt=0)
    """Words that occur less often are taken out of the text."""

    vocabulary: int = Field(default=100_000, gt=0)
    """The most frequent words, this many, are kept."""

    epochs: int = Field(default=25, gt=0)
    """How often each pair is seen."""

    x_max: float = Field(default=10.0, gt=0)
    """Pairs that occur this often or more have the full weight; 100 for billions of words."""

    alpha: float = Field(default=0.75, gt=0)
    """How the weight of rarer pairs falls."""

    learning_rate: float = Field(default=0.15, gt=0)
    """AdaGrad's. The source's 0.05 is for a step after each pair; a batch of them bears more."""

    batch: int = Field(default=65_536, gt=0)
    """Pairs of one step."""

    seed: int = 0
    """First values, and the order of the pairs."""

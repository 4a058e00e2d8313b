"""What stands between hidden states and the head of a masked language model: a dense layer, its activation, a norm.

Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, as in its code.
"""

from __future__ import annotations

from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.config import ModelConfig
from lmworks.models.feed_forward import ACTIVATIONS
from lmworks.models.norm import make_norm


class HeadTransform(nn.Module):
    """norm(activation(dense x)), as wide as an embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.dim, config.embedding_width, bias=config.head_transform_bias)
        self.norm = make_norm(config, config.embedding_width)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch embedding_dim"]:
        """States that the head turns into logits."""
        return self.norm(self.activation(self.dense(hidden)))

"""Patches: an image as places of the stream, in place of tokens.

Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.linear import Linear
from lmworks.models.vision.config import ImageConfig

Images = Float[Tensor, "batch channels height width"]
Places = Float[Tensor, "batch places dim"]


class Patches(nn.Module):
    """Each patch's pixels through one matrix, row by row from the top left; the class token before them."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.channels, self.image, self.side = config.channels, config.image_size, config.patch_size
        self.projection = Linear(config.channels * config.patch_size**2, config.dim, bias=config.patch_bias)
        self.class_token = nn.Parameter(torch.zeros(config.dim)) if config.class_token else None

    def forward(self, images: Images) -> Places:
        """The places of each image. ConfigError for images of another size."""
        expected = (self.channels, self.image, self.image)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ConfigError(
                f"the images have the shape {list(images.shape)}, and the network reads [images, "
                f"{', '.join(map(str, expected))}]; prepare them as its preprocessor_config.json says"
            )
        x = images.to(self.projection.weight.dtype).unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))
        x = self.projection(x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
        if self.class_token is None:
            return x
        return torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)

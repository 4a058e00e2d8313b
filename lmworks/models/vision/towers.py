"""Towers: one network for images and one for texts, whose vectors can be compared (CLIP, SigLIP).

towers = Towers(clip_config(vocab_size=512, end_token=1)).initialise(seed=0)
images = towers.encode_images(pixels)              # [images, 3, 32, 32] -> [images, width]
texts = towers.encode_texts(tokens)                # [texts, seq] -> [texts, width]
logits = towers.similarities(images, texts)        # [images, texts]: the scaled cosines

Sources: Radford et al. 2021, https://arxiv.org/abs/2103.00020; Zhai et al. 2023, https://arxiv.org/abs/2303.15343.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmworks.basics.errors import ConfigError
from lmworks.models.initialisation import initialise
from lmworks.models.network import Network
from lmworks.models.scheme import Scheme
from lmworks.models.vision.config import TowersConfig
from lmworks.models.vision.image_network import ImageNetwork, draw_tokens
from lmworks.models.vision.patches import Images

FIRST_SCALE, FIRST_SIGMOID_SCALE, FIRST_BIAS = 1 / 0.07, 10.0, -10.0
"""What cosines are multiplied by before training, and what is added: CLIP's, SigLIP's, SigLIP's."""

Tokens = Int[Tensor, "texts seq"]
Vectors = Float[Tensor, "rows width"]


class Towers(nn.Module):
    """Both towers, the projections of their states, and the scale of the cosines."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.config = config
        self.image, self.text = ImageNetwork(config.image), Network(config.text)
        self.image_projection = nn.Linear(config.image.dim, config.width, bias=False) if config.project_images else None
        self.text_projection = nn.Linear(config.text.dim, config.width, bias=config.projection_bias)
        self.scale = nn.Parameter(torch.tensor(math.log(FIRST_SIGMOID_SCALE if config.bias else FIRST_SCALE)))
        """The logarithm of what cosines are multiplied by."""
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS)) if config.bias else None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.image.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.image.device

    def initialise(self, seed: int, scheme: Scheme = "width") -> Towers:
        """Fresh weights; the same for the same seed. By their width, as CLIP's own: with 0.02 throughout, what blocks
        add to the class token is lost beside it, and narrow towers begin with one vector for all images."""
        initialise(self.image, self.config.image, seed, scheme)
        initialise(self.text, self.config.text, seed + 1, scheme)
        generator = torch.Generator().manual_seed(seed + 2)
        with torch.no_grad():
            for part in (self.image_projection, self.text_projection):
                if part is not None:
                    part.weight.normal_(0.0, part.in_features**-0.5, generator=generator)
                    if part.bias is not None:
                        part.bias.zero_()
        draw_tokens(self, seed)
        return self

    def encode_images(self, images: Images) -> Vectors:
        """The vector of each image, not brought to length 1."""
        state = self.image.pooled(self.image.hidden(images))
        return state if self.image_projection is None else self.image_projection(state)

    def encode_texts(self, tokens: Tokens, mask: Bool[Tensor, "texts seq"] | None = None) -> Vectors:
        """The vector of each text, not brought to length 1. `mask` is False on padding, on the right; a causal tower
        needs none. ConfigError for a text without the token that ends it."""
        states = self.text.hidden(tokens, mask)
        return self.text_projection(states[torch.arange(len(states), device=states.device), self.ends(tokens)])

    def ends(self, tokens: Tokens) -> Int[Tensor, " texts"]:
        """The place in each text whose state stands for it."""
        if self.config.text_end == "last":
            return torch.full_like(tokens[:, 0], tokens.shape[1] - 1)
        if self.config.text_end == "largest":
            return tokens.argmax(dim=1)
        found = torch.eq(tokens, self.config.end_token or 0)
        if not bool(found.any(dim=1).all()):
            row = int((~found.any(dim=1)).nonzero()[0])
            raise ConfigError(
                f"text {row} has no end (the id {self.config.end_token}); end each text with it, padding after it"
            )
        return found.int().argmax(dim=1)

    def similarities(self, images: Vectors, texts: Vectors) -> Float[Tensor, "images texts"]:
        """The cosine of each image with each text, times the scale, plus the bias where there is one: the logits of
        both losses."""
        logits = self.scale.exp() * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
        return logits if self.bias is None else logits + self.bias

    def forward(
        self, images: Images, tokens: Tokens, mask: Bool[Tensor, "texts seq"] | None = None
    ) -> Float[Tensor, "images texts"]:
        """How well each image and each text go together; arguments as of the encoders."""
        return self.similarities(self.encode_images(images), self.encode_texts(tokens, mask))

"""ImageNetwork: patches, the house's stack, what stands for the image, and a classifier over it. A ViT, or the tower
for images of CLIP and SigLIP.

network = ImageNetwork(ImageConfig(image_size=32, patch_size=4, dim=64, layers=4, heads=4, **BLOCKS))
states = network.hidden(images)             # [batch, channels, height, width] -> [batch, places, dim]
vectors = network.pooled(states)            # [batch, dim]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.attention import attend
from lmworks.models.feed_forward import ACTIVATIONS, FeedForward
from lmworks.models.initialisation import initialise
from lmworks.models.linear import Linear
from lmworks.models.masks import Visibility
from lmworks.models.norm import make_norm
from lmworks.models.scheme import Scheme
from lmworks.models.stack import Stack
from lmworks.models.vision.config import ImageConfig
from lmworks.models.vision.patches import Images, Patches, Places

__all__ = ["AttentionPooling", "ImageNetwork", "Images"]


class AttentionPooling(nn.Module):
    """A learned query attends to all places, and a feed-forward follows (Zhai et al. 2021,
    https://arxiv.org/abs/2106.04560)."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.heads, self.width = config.heads, config.dim
        self.query = nn.Parameter(torch.zeros(config.dim))
        self.qkv = Linear(config.dim, 3 * config.dim, bias=True)
        self.output = Linear(config.dim, config.dim, bias=True)
        self.norm = make_norm(config)
        self.feed_forward = FeedForward(config)

    def forward(self, states: Places) -> Float[Tensor, "batch dim"]:
        """What the query took from each image."""
        weight, bias = self.qkv.weight, self.qkv.bias
        asked = nn.functional.linear(self.query, weight[: self.width], bias[: self.width])
        keys = nn.functional.linear(states, weight[self.width :], bias[self.width :])
        parts = keys.unflatten(-1, (2 * self.heads, -1)).transpose(1, 2)
        key, value = parts.split(self.heads, dim=1)
        query = asked.view(1, self.heads, 1, -1).expand(len(states), -1, -1, -1)
        taken = self.output(attend(query, key, value, Visibility(None, causal=False)).transpose(1, 2).flatten(1))
        return taken + self.feed_forward(self.norm(taken))


class ImageNetwork(Stack):
    """A transformer that reads images, as its config says."""

    config: ImageConfig

    def __init__(self, config: ImageConfig) -> None:
        nn.Module.__init__(self)
        self.patches = Patches(config)
        self.add_parts(config)
        self.pool = AttentionPooling(config) if config.image_state == "attention" else None
        self.pooler = nn.Linear(config.dim, config.dim) if config.pooler else None
        self.classifier = nn.Linear(config.dim, len(config.labels)) if config.labels else None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.patches.projection.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.patches.projection.weight.device

    def initialise(self, seed: int, scheme: Scheme = "normal") -> ImageNetwork:
        """Fresh weights; the same for the same seed."""
        initialise(self, self.config, seed, scheme)
        draw_tokens(self, seed)
        return self

    def forward(self, images: Images) -> Float[Tensor, "batch classes"]:
        """Scores of the classes, in float32."""
        return self.classify(self.hidden(images))

    def hidden(self, images: Images) -> Places:
        """The states after the last norm."""
        embedded = self.patches(images)
        tokens = torch.zeros(embedded.shape[:2], dtype=torch.long, device=embedded.device)
        return self.read(embedded, tokens, self.positions_of(tokens, None, None, None), None)

    def pooled(self, states: Places) -> Float[Tensor, "batch dim"]:
        """What stands for each image, after the pooler where there is one."""
        if self.pool is not None:
            state = self.pool(states)
        else:
            state = states[:, 0] if self.config.image_state == "first" else states.mean(dim=1)
        return state if self.pooler is None else ACTIVATIONS[self.config.pooler_activation](self.pooler(state))

    def classify(self, states: Places) -> Float[Tensor, "batch classes"]:
        """Scores of the classes, in float32. ConfigError for a network without a classifier."""
        if self.classifier is None:
            raise ConfigError("the network has no classifier; set labels to the names of the classes in its config")
        return self.classifier(self.dropout(self.pooled(states))).float()


@torch.no_grad()
def draw_tokens(network: nn.Module, seed: int) -> None:
    """Fresh values of learned places and queries, which are no matrices."""
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in network.named_parameters():
        if name.endswith(("class_token", "pool.query")):
            parameter.normal_(0.0, 0.02, generator=generator)

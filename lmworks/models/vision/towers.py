"""Towers: one network for images and one for texts, whose vectors can be compared (CLIP, SigLIP).

towers = Towers(clip_config(vocab_size=512, end_token=1)).initialise(seed=0)
images = towers.encode_images(pixels)              # [images, 3, 32, 32] -> [images, width]
texts = towers.encode_texts(tokens)                # [texts, seq] -> [texts, width]
logits = towers.similarities(images, texts)        # [images, texts]: the scaled cosines

Sources: Radford et al. 2021, https://arxiv.org/abs/2103.00020; Zhai et al. 2023, https://arxiv.org/abs/2303.15343.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.initialisation import initialise
from lmworks.models.network import Network, evaluating
from lmworks.models.scheme import Scheme
from lmworks.models.vision.convolutional import ConvolutionalNetwork
from lmworks.models.vision.convolutional_config import ConvolutionalConfig
from lmworks.models.vision.efficientnet import EfficientNet
from lmworks.models.vision.efficientnet_config import EfficientNetConfig
from lmworks.models.vision.image_network import ImageNetwork, draw_tokens
from lmworks.models.vision.patches import Images
from lmworks.models.vision.resnet import BatchNorm
from lmworks.models.vision.towers_config import TowersConfig

FIRST_SCALE, FIRST_SIGMOID_SCALE, FIRST_BIAS = 1 / 0.07, 10.0, -10.0
"""What cosines are multiplied by before training, and what is added: CLIP's, SigLIP's, SigLIP's."""

Tokens = Int[Tensor, "texts seq"]
Vectors = Float[Tensor, "rows width"]


class ProjectionHead(nn.Module):
    """From the state of a frozen tower to a vector: a batch norm and one hidden layer."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.norm = BatchNorm(inputs)
        self.up, self.down = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.dropout = dropout

    def forward(self, states: Float[Tensor, "rows inputs"]) -> Vectors:
        """The vectors."""
        states = F.dropout(self.norm(states), self.dropout, self.training)
        return self.down(F.dropout(F.gelu(self.up(states)), self.dropout, self.training))


class Towers(nn.Module):
    """Both towers, the projections of their states, and the scale of the cosines."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.config = config
        self.image: ImageNetwork | ConvolutionalNetwork | EfficientNet
        if isinstance(config.image, ConvolutionalConfig):
            self.image = ConvolutionalNetwork(config.image)
        elif isinstance(config.image, EfficientNetConfig):
            self.image = EfficientNet(config.image)
        else:
            self.image = ImageNetwork(config.image)
        self.text = Network(config.text)
        self._read: dict[tuple[int, ...], Tensor] | None = None
        """States of texts by their ids, while the tower for texts stays as it is."""
        self.image_projection: nn.Linear | ProjectionHead | None = None
        if config.image_hidden:
            sizes = config.image.dim, config.image_hidden, config.width
            self.image_projection = ProjectionHead(*sizes, config.image_dropout)
        elif config.project_images:
            self.image_projection = nn.Linear(config.image.dim, config.width, bias=False)
        self.beside: ConvolutionalNetwork | None = None
        self.beside_projection: nn.Linear | None = None
        if config.beside is not None:
            self.beside = ConvolutionalNetwork(config.beside)
            self.beside_projection = nn.Linear(config.beside.dim, config.width, bias=False)
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
        if isinstance(self.image, ConvolutionalNetwork):
            self.image.initialise(seed)
        elif isinstance(self.image, ImageNetwork):
            initialise(self.image, self.image.config, seed, scheme)
        if self.beside is not None:
            self.beside.initialise(seed)
        initialise(self.text, self.config.text, seed + 1, scheme)
        generator = torch.Generator().manual_seed(seed + 2)
        with torch.no_grad():
            projections = (self.image_projection, self.text_projection, self.beside_projection)
            for part in (part for one in projections if one is not None for part in one.modules()):
                if isinstance(part, nn.Linear):
                    part.weight.normal_(0.0, part.in_features**-0.5, generator=generator)
                    if part.bias is not None:
                        part.bias.zero_()
        draw_tokens(self, seed)
        return self

    def encode_images(self, images: Images) -> Vectors:
        """The vector of each image, not brought to length 1."""
        parts = self.image_parts(images)
        return parts[0] if len(parts) == 1 else torch.stack([F.normalize(one, dim=-1) for one in parts]).sum(dim=0)

    def image_parts(self, images: Images | None, states: Float[Tensor, "images dim"] | None = None) -> list[Vectors]:
        """The vectors that each network for images makes of them; `states` are what `image_states` made of them before,
        and where these are given, `images` are what the convolutions beside read, where there are some."""
        if states is None:
            states = self.image_states(images)  # type: ignore[arg-type]
        parts = [states if self.image_projection is None else self.image_projection(states)]
        if self.beside is not None and self.beside_projection is not None:
            small = F.adaptive_avg_pool2d(images, self.beside.config.image_size)  # type: ignore[arg-type]
            parts.append(self.beside_projection(self.beside.pooled(self.beside.hidden(small))))
        return parts

    def image_states(self, images: Images) -> Float[Tensor, "images dim"]:
        """What stands for each image in the tower for images."""
        if isinstance(self.image, EfficientNet):  # trained before: its norms are those of then
            with torch.no_grad(), evaluating(self.image):
                return self.image.pooled(self.image.hidden(images))
        return self.image.pooled(self.image.hidden(images))  # type: ignore[arg-type]

    def encode_texts(self, tokens: Tokens, mask: Bool[Tensor, "texts seq"] | None = None) -> Vectors:
        """The vector of each text, not brought to length 1. `mask` is False on padding, on the right; a causal tower
        needs none. ConfigError for a text without the token that ends it."""
        if mask is None and self.config.pad_token is not None:
            mask = tokens != self.config.pad_token
        state = self._state(tokens, mask) if self._read is None else self._remembered(tokens, mask, self._read)
        return self.text_projection(state)

    def _state(self, tokens: Tokens, mask: Bool[Tensor, "texts seq"] | None) -> Float[Tensor, "texts dim"]:
        """What stands for each text."""
        states = self.text.hidden(tokens, mask)
        if self.config.text_end == "mean":
            kept = torch.ones_like(tokens) if mask is None else mask
            return (states * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
        return states[torch.arange(len(states), device=states.device), self.ends(tokens)]

    @contextmanager
    def texts_stay(self) -> Iterator[None]:
        """Inside, the weights of the tower for texts do not change, and it reads no text twice."""
        self._read = {}
        try:
            yield
        finally:
            self._read = None

    def _remembered(
        self, tokens: Tokens, mask: Bool[Tensor, "texts seq"] | None, read: dict[tuple[int, ...], Tensor]
    ) -> Float[Tensor, "texts dim"]:
        rows = tokens.tolist()
        if mask is not None:
            rows = [row[:length] for row, length in zip(rows, mask.sum(dim=1).tolist(), strict=True)]
        texts = [tuple(row) for row in rows]
        new = list({text: at for at, text in enumerate(texts) if text not in read}.values())
        if new:
            with torch.no_grad(), evaluating(self.text):
                states = self._state(tokens[new], None if mask is None else mask[new])
            read |= zip((texts[at] for at in new), states, strict=True)
        return torch.stack([read[text] for text in texts])

    def ends(self, tokens: Tokens) -> Int[Tensor, " texts"]:
        """The place in each text whose state stands for it."""
        if self.config.text_end == "first":
            return torch.zeros_like(tokens[:, 0])
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

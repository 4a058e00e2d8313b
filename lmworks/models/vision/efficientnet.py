"""EfficientNet-Lite: depthwise convolutions between two that mix the channels.

    network = EfficientNet(EfficientNetConfig())
    states = network.pooled(network.hidden(images))     # [batch, 3, 224, 224] -> [batch, 1280], images of any size

Sources: Tan and Le 2019, https://arxiv.org/abs/1905.11946; Lite leaves squeezing out and takes ReLU6
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.vision.efficientnet_config import GRID, EfficientNetConfig
from lmworks.models.vision.patches import Images
from lmworks.models.vision.resnet import BatchNorm, Maps

EPSILON = 1e-3
"""TensorFlow's, in batch norms."""


class SamePaddedConvolution(nn.Module):
    """A convolution, its norm, and ReLU6 unless a sum follows. Padding is TensorFlow's "same": where it is odd, the
    right and the bottom get one more."""

    def __init__(
        self, inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1, acts: bool = True
    ) -> None:
        super().__init__()
        self.side, self.stride, self.acts = side, stride, acts
        self.convolution = nn.Conv2d(inputs, outputs, side, stride, groups=groups, bias=False)
        self.norm = BatchNorm(outputs, eps=EPSILON)

    def forward(self, x: Maps) -> Maps:
        """The maps after it."""
        missing = [max((-(-size // self.stride) - 1) * self.stride + self.side - size, 0) for size in x.shape[:1:-1]]
        if any(missing):
            x = F.pad(x, [part for one in missing for part in (one // 2, one - one // 2)])
        x = self.norm(self.convolution(x))
        return F.relu6(x) if self.acts else x


class InvertedResidual(nn.Module):
    """A convolution to more channels, a depthwise one, and one back to few, added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        parts = [] if expand == 1 else [SamePaddedConvolution(inputs, wide)]
        parts += [SamePaddedConvolution(wide, wide, side, stride, groups=wide)]
        parts += [SamePaddedConvolution(wide, outputs, acts=False)]
        self.parts = nn.Sequential(*parts)
        self.beside = stride == 1 and inputs == outputs

    def forward(self, x: Maps) -> Maps:
        """The maps after this block."""
        return self.parts(x) + x if self.beside else self.parts(x)


class EfficientNet(nn.Module):
    """Stem, stages, a last convolution, the mean over all places, a classifier."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = SamePaddedConvolution(config.channels, config.stem, 3, 2)
        blocks, inputs = list[nn.Module](), config.stem
        self.ends = dict[int, int]()
        """The last block of each of `pooled_stages`."""
        sizes = zip(config.widths, config.depths, config.sides, config.halves, config.expands, strict=True)
        for stage, (width, depth, side, halves, expand) in enumerate(sizes):
            for number in range(depth):
                stride = 2 if halves and not number else 1
                blocks.append(InvertedResidual(inputs, width, side, stride, expand))
                inputs = width
            if stage in config.pooled_stages:
                self.ends[stage] = len(blocks) - 1
        self.blocks = nn.ModuleList(blocks)
        self.head = SamePaddedConvolution(inputs, config.head)
        self.classifier = nn.Linear(config.head, len(config.labels)) if config.labels else None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.stem.convolution.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.stem.convolution.weight.device

    def forward(self, images: Images) -> Float[Tensor, "batch labels"]:
        """Scores of the classes, in float32."""
        return self.classify(self.hidden(images))

    def hidden(self, images: Images) -> list[Maps]:
        """The maps of `pooled_stages`, then of the last convolution. ConfigError for images with other channels."""
        if images.ndim != 4 or images.shape[1] != self.config.channels:
            raise ConfigError(
                f"the images have the shape {list(images.shape)}, and the network reads [images, "
                f"{self.config.channels}, height, width]"
            )
        x, after = self.stem(images.to(self.dtype, memory_format=torch.channels_last)), dict[int, Maps]()
        kept = set(self.ends.values())
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in kept:
                after[number] = x
        return [*(after[self.ends[stage]] for stage in self.config.pooled_stages), self.head(x)]

    def pooled(self, maps: list[Maps]) -> Float[Tensor, "batch dim"]:
        """The mean of the last maps over all places, then the pooled maps of `pooled_stages`."""
        *stages, last = maps
        grids = [F.adaptive_avg_pool2d(one, GRID).flatten(1) for one in stages]
        return torch.cat([last.mean(dim=(2, 3)), *grids], dim=1) if grids else last.mean(dim=(2, 3))

    def classify(self, maps: list[Maps]) -> Float[Tensor, "batch labels"]:
        """Scores of the classes, in float32. ConfigError for a network without a classifier."""
        if self.classifier is None:
            raise ConfigError("the network has no classifier; set labels to the names of the classes in its config")
        return self.classifier(maps[-1].mean(dim=(2, 3))).float()

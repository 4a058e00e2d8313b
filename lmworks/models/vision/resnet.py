"""ResNet: a residual network of convolutions, in float32 and channels_last, which is what processors are quick at.

network = ResNet(ResNetConfig(stem=16, widths=(16, 32), depths=(2, 2), block="basic", labels=("cat", "dog")))
scores = network(images)                    # [batch, 3, height, width] -> [batch, labels], images of any size

Source: He et al. 2015, https://arxiv.org/abs/1512.03385.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.feed_forward import ACTIVATIONS
from lmworks.models.vision.patches import Images
from lmworks.models.vision.resnet_config import ResNetConfig

INSIDE = "relu"
"""The activation between a block's convolutions. transformers has no other there, whatever config.json says."""

Maps = Float[Tensor, "batch channels height width"]


class BatchNorm(nn.Module):
    """Each channel normed: in training by its batch, else by what was seen in training (Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Maps) -> Maps:
        """The normed maps."""
        seen = self.running_mean, self.running_var
        return F.batch_norm(x, *seen, self.weight, self.bias, self.training, self.momentum, self.eps)


class NormedConvolution(nn.Module):
    """A convolution without bias, its norm, and the activation unless a sum follows."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1, activation: str | None = None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
        self.norm = BatchNorm(outputs)
        self.activation = None if activation is None else ACTIVATIONS[activation]

    def forward(self, x: Maps) -> Maps:
        """The maps after it."""
        x = self.norm(self.convolution(x))
        return x if self.activation is None else self.activation(x)


class ResidualBlock(nn.Module):
    """Two or three convolutions beside the stream, which is brought to their shape where it has another."""

    def __init__(self, config: ResNetConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        if config.block == "basic":
            parts = [
                NormedConvolution(inputs, outputs, 3, stride, INSIDE),
                NormedConvolution(outputs, outputs, 3),
            ]
        else:
            narrow, first = outputs // 4, stride if config.halve_early else 1
            parts = [
                NormedConvolution(inputs, narrow, 1, first, INSIDE),
                NormedConvolution(narrow, narrow, 3, stride // first, INSIDE),
                NormedConvolution(narrow, outputs, 1),
            ]
        self.parts = nn.Sequential(*parts)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else NormedConvolution(inputs, outputs, 1, stride)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Maps) -> Maps:
        """The stream after this block."""
        return self.activation(self.parts(x) + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """Stem, stages, the mean over all places, a classifier."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = NormedConvolution(config.channels, config.stem, 7, 2, config.activation)
        stages, inputs = [], config.stem
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            stride = 2 if number or config.halve_first else 1
            blocks = [ResidualBlock(config, inputs, width, stride)]
            blocks += [ResidualBlock(config, width, width, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(inputs, len(config.labels)) if config.labels else None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.stem.convolution.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.stem.convolution.weight.device

    def initialise(self, seed: int) -> ResNet:
        """Fresh weights; the same for the same seed. Each block begins as nothing beside its stream."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    fan = module.out_channels * module.kernel_size[0] ** 2
                    module.weight.normal_(0.0, (2 / fan) ** 0.5, generator=generator)
                elif isinstance(module, nn.Linear):
                    module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)
                    module.bias.zero_()
                elif isinstance(module, ResidualBlock):
                    last = module.parts[-1]
                    assert isinstance(last, NormedConvolution)
                    last.norm.weight.zero_()
        return self

    def forward(self, images: Images) -> Float[Tensor, "batch labels"]:
        """Scores of the classes, in float32."""
        return self.classify(self.hidden(images))

    def hidden(self, images: Images) -> Maps:
        """The maps after the last stage. ConfigError for images with other channels."""
        if images.ndim != 4 or images.shape[1] != self.config.channels:
            raise ConfigError(
                f"the images have the shape {list(images.shape)}, and the network reads [images, "
                f"{self.config.channels}, height, width]"
            )
        x = self.stem(images.to(self.dtype, memory_format=torch.channels_last))
        return self.stages(F.max_pool2d(x, 3, 2, 1))

    def pooled(self, maps: Maps) -> Float[Tensor, "batch channels"]:
        """The mean over all places, which stands for each image."""
        return maps.mean(dim=(2, 3))

    def classify(self, maps: Maps) -> Float[Tensor, "batch labels"]:
        """Scores of the classes, in float32. ConfigError for a network without a classifier."""
        if self.classifier is None:
            raise ConfigError("the network has no classifier; set labels to the names of the classes in its config")
        return self.classifier(self.pooled(maps)).float()

"""ConvolutionalNetwork: a small network that learns CIFAR-10 in minutes on a processor: airbench's (Jordan 2024,
https://arxiv.org/abs/2404.00498).

    network = ConvolutionalNetwork(ConvolutionalConfig(labels=CLASSES)).initialise(seed=0)
    network.whiten(images)                      # the first convolution is computed and not learnt
    scores = network(images)                    # [batch, 3, 32, 32] -> [batch, labels]

Channels come last. In training, convolutions multiply in bfloat16 where the processor does natively, which takes half
of float32's time on Zen 4; elsewhere in float32, as bfloat16 is then 3 times as slow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.precision import fast_dtype
from lmworks.models.vision.convolutional_config import ConvolutionalConfig
from lmworks.models.vision.patches import Images
from lmworks.models.vision.resnet import BatchNorm, Maps

WHITENED, SIDE = 5_000, 2
"""Images whose patches are whitened, and pixels of a side of such a patch."""
SHRUNK = 5e-4
"""Added to the variances of patches before the root."""


class Convolution(nn.Module):
    """A convolution of 3 x 3, the largest of each four places where it halves, and a norm whose scale is fixed."""

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = BatchNorm(outputs, momentum=0.4, eps=1e-12)
        self.norm.weight.requires_grad_(False)
        self.halves = halves

    def forward(self, x: Maps) -> Maps:
        """The normed maps."""
        x = self.convolution(x)
        return self.norm(F.max_pool2d(x, 2) if self.halves else x)


class ConvolutionalBlock(nn.Module):
    """Two or three convolutions, of which the first halves the image and the third is beside a residual."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            Convolution(outputs if number else inputs, outputs, halves=not number) for number in range(depth)
        )

    def forward(self, x: Maps) -> Maps:
        """The maps after this block."""
        x = F.gelu(self.parts[0](x))
        inner = F.gelu(self.parts[1](x))
        return inner if len(self.parts) == 2 else F.gelu(self.parts[2](inner) + x)


class ConvolutionalNetwork(nn.Module):
    """Whitened patches, blocks, the largest of all places, a classifier."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        size = 2 * config.channels * SIDE**2
        self.patches = nn.Conv2d(config.channels, size, SIDE)
        self.patches.weight.requires_grad_(False)
        widths = (size, *config.widths)
        self.blocks = nn.ModuleList(
            ConvolutionalBlock(inputs, outputs, config.depth)
            for inputs, outputs in zip(widths, config.widths, strict=False)
        )
        self.classifier = nn.Linear(config.dim, len(config.labels), bias=False) if config.labels else None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.patches.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.patches.weight.device

    @torch.no_grad()
    def initialise(self, seed: int) -> ConvolutionalNetwork:
        """Fresh weights, the same for the same seed; a block hands on what it reads, as far as it has channels."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = module.weight[0].numel() ** -0.5
                module.weight.uniform_(-bound, bound, generator=generator)
            if isinstance(module, Convolution):
                weight = module.convolution.weight
                nn.init.dirac_(weight[: weight.shape[1]])
        nn.init.zeros_(self.patches.bias)  # type: ignore[arg-type]
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @torch.no_grad()
    def whiten(self, images: Images) -> None:
        """Let the first convolution give each direction of these images' patches the variance 1, and its negative."""
        patches = images[:WHITENED].unfold(2, SIDE, 1).unfold(3, SIDE, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        rows = patches.flatten(1).double()
        variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        filters = (directions / (variances + SHRUNK).sqrt()).T.flip(0)
        filters = filters * filters.gather(1, filters.abs().argmax(dim=1, keepdim=True)).sign()  # else a draw decides
        filters = filters.view(-1, *patches.shape[1:]).to(self.patches.weight.dtype)
        self.patches.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Images) -> Float[Tensor, "batch labels"]:
        """Scores of the classes, in float32."""
        return self.classify(self.hidden(images))

    def hidden(self, images: Images) -> Maps:
        """The maps after the last block. ConfigError for images with other channels, or too small ones."""
        least = 2 ** (len(self.blocks) + 1)
        if images.ndim != 4 or images.shape[1] != self.config.channels or min(images.shape[2:]) < least:
            raise ConfigError(
                f"the images have the shape {list(images.shape)}, and the network reads [images, "
                f"{self.config.channels}, height, width] of at least {least} pixels a side"
            )
        images = images.to(self.dtype, memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._mixes()):
            x = F.gelu(self.patches(images))
            for block in self.blocks:
                x = block(x)
        return x.to(self.dtype)

    def _mixes(self) -> bool:
        """Whether convolutions multiply in bfloat16."""
        return self.config.mixed and self.training and fast_dtype(self.device) == torch.bfloat16

    def pooled(self, maps: Maps) -> Float[Tensor, "batch dim"]:
        """What stands for each image. ConfigError for places side by side of images that have more or fewer."""
        if self.config.image_state == "places":
            if maps.shape[-2:] != (self.config.side, self.config.side):
                raise ConfigError(
                    f"the network reads images of {self.config.image_size} pixels a side, as it puts all places side "
                    "by side (image_state); resize them"
                )
            return maps.flatten(1)
        return maps.mean(dim=(2, 3)) if self.config.image_state == "mean" else maps.amax(dim=(2, 3))

    def classify(self, maps: Maps) -> Float[Tensor, "batch labels"]:
        """Scores of the classes, in float32. ConfigError for a network without a classifier."""
        if self.classifier is None:
            raise ConfigError("the network has no classifier; set labels to the names of the classes in its config")
        return self.classifier(self.pooled(maps)).float() * self.config.scale

"""ImageTokenizer: an image as a grid of tokens, and an image from them. Convolutions, with FSQ between the two halves.

network = ImageTokenizer(ImageTokensConfig()).initialise(seed=0)
codes = network.encode(images)              # [batch, 3, 32, 32], from -1 to 1 -> [batch, 64], row by row
images = network.decode(codes)

Channels come last. In training, convolutions multiply in bfloat16 where the processor does natively; what is encoded
and decoded afterwards is computed in float32. The halves have no norms: each block adds to its stream nothing at first,
and Muon steps its filters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.models.precision import fast_dtype
from lmworks.models.vision.fsq import FSQ
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.models.vision.nearer_codes import nearer
from lmworks.models.vision.patches import Images
from lmworks.models.vision.resnet import Maps

CORNER = 2
"""Pixels of a side that are put into channels at once, and taken out again."""


class ConvolutionPair(nn.Module):
    """Two convolutions of 3 x 3 beside the stream."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Maps) -> Maps:
        """The stream after this block."""
        return x + self.outer(F.gelu(self.inner(F.gelu(x))))


class Encoder(nn.Module):
    """From pixels to a few numbers for each place, not yet rounded."""

    def __init__(self, config: ImageTokensConfig) -> None:
        super().__init__()
        fine, width = config.fine_width, config.width
        self.first = nn.Conv2d(config.channels * CORNER**2, fine, 3, padding=1)
        self.fine = ConvolutionPair(fine)
        self.shrink = nn.Conv2d(fine * CORNER**2, width, 1)
        self.blocks = nn.ModuleList(ConvolutionPair(width) for _ in range(config.encoder_blocks))
        self.last = nn.Conv2d(width, config.dim, 1)

    def forward(self, images: Images) -> Maps:
        """[batch, numbers, grid, grid]."""
        x = self.fine(self.first(F.pixel_unshuffle(images, CORNER)))
        x = self.shrink(F.pixel_unshuffle(x, CORNER))
        for block in self.blocks:
            x = block(x)
        return self.last(F.gelu(x))


class ImageTokenizer(nn.Module):
    """The encoder, the rounding, and the decoder."""

    def __init__(self, config: ImageTokensConfig) -> None:
        super().__init__()
        self.config = config
        fine, width = config.fine_width, config.width
        self.encoder, self.quantiser = Encoder(config), FSQ(config.levels)
        self.first = nn.Conv2d(config.dim, width, 3, padding=1)
        self.blocks = nn.ModuleList(ConvolutionPair(width) for _ in range(config.decoder_blocks))
        self.enlarge = nn.Conv2d(width, fine * CORNER**2, 1)
        self.fine = ConvolutionPair(fine)
        self.last = nn.Conv2d(fine, config.channels * CORNER**2, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and so of the activations."""
        return self.first.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.first.weight.device

    @torch.no_grad()
    def initialise(self, seed: int) -> ImageTokenizer:
        """Fresh weights, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                bound = module.weight[0].numel() ** -0.5
                module.weight.uniform_(-bound, bound, generator=generator)
                assert module.bias is not None
                module.bias.zero_()
        for module in self.modules():
            if isinstance(module, ConvolutionPair):
                module.outer.weight.zero_()
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def forward(self, images: Images) -> Images:
        """The images as they come back from their tokens; gradients pass the rounding."""
        return self._drawn(self._values(images))

    def encode(self, images: Images) -> Int[Tensor, "batch places"]:
        """The tokens of images whose pixels lie between -1 and 1, row by row from the top left, after as many rounds of
        search as the config says. ConfigError for images of another size."""
        values = self._values(images)
        if self.config.search:
            values = nearer(values.float(), images.float(), self._compared, self.config.levels, self.config.search)
        return self.quantiser.codes_of(values).flatten(1)

    def decode(self, codes: Int[Tensor, "batch places"]) -> Images:
        """The images of tokens, pixels between -1 and 1. DataError for another number of tokens, or for one that there
        is not."""
        grid = self.config.grid
        if codes.ndim != 2 or codes.shape[1] != self.config.places:
            raise DataError(
                f"an image has {self.config.places} tokens here, and the shape {list(codes.shape)} was given; give "
                f"[images, {self.config.places}]"
            )
        values = self.quantiser.values_of(codes.to(self.device)).to(self.dtype)
        return self._drawn(values.unflatten(1, (grid, grid))).clamp(-1, 1)

    def _compared(self, values: Float[Tensor, "batch grid grid numbers"]) -> Images:
        """As `forward` draws them, in float32 whatever the weights are."""
        return self._drawn(values.to(self.dtype)).float()

    def _values(self, images: Images) -> Float[Tensor, "batch grid grid numbers"]:
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ConfigError(
                f"the images have the shape {list(images.shape)}, and the network reads [images, "
                f"{', '.join(map(str, expected))}]; prepare them as its preprocessor_config.json says"
            )
        with self._mixing():
            states = self.encoder(images.to(self.dtype, memory_format=torch.channels_last))
        return self.quantiser(states.to(self.dtype).permute(0, 2, 3, 1))

    def _drawn(self, values: Float[Tensor, "batch grid grid numbers"]) -> Images:
        with self._mixing():
            x = self.first(values.permute(0, 3, 1, 2))
            for block in self.blocks:
                x = block(x)
            x = self.fine(F.pixel_shuffle(self.enlarge(F.gelu(x)), CORNER))
            x = F.pixel_shuffle(self.last(F.gelu(x)), CORNER)
        return x.to(self.dtype)

    def _mixing(self) -> torch.autocast:
        """Inside, convolutions multiply in bfloat16 in training, where that is quick."""
        mixes = self.config.mixed and self.training and fast_dtype(self.device) == torch.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixes)

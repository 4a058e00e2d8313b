"""ImageTokens: a network that writes an image as a few tokens and draws it from them, with its preprocessing.

tokens = lm.load("models/image-tokens")
codes = tokens.encode(["apple.png", "dog.png"])     # [2, 64], from 0 to 999
first, second = tokens.decode(codes)                # Pillow images
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int, UInt8
from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.encoding.seeing import AT_ONCE, Image, as_list, prepared
from lmworks.models.files.model_folder import read_config
from lmworks.models.network import evaluating
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.vision_model import VisionModel

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""What brings pixels to between -1 and 1, as the network reads and draws them."""

ROOM = 16
"""Tokens beside an image that a row needs at least: two marks, two ends, a caption."""


class ImageTokens(VisionModel):
    """A tokenizer of images."""

    @torch.inference_mode()
    def codes_of(self, pixels: Float[Tensor, "images 3 height width"]) -> Int[Tensor, "images places"]:
        """The tokens of images that are prepared already: pixels between -1 and 1, of the size that it reads."""
        with evaluating(self.network):
            codes: Int[Tensor, "images places"] = self.seeing.encode(pixels.to(self.device)).cpu()
        return codes

    @torch.inference_mode()
    def encode(self, images: Sequence[Image] | Image) -> Int[Tensor, "images places"]:
        """The tokens of each image (a path, a Pillow image or an array of bytes), row by row from the top left; images
        of another size are resized. DataError for what is no image."""
        read = prepared(as_list(images), self.preprocessing, self.device, "reading")
        return torch.cat([torch.zeros(0, self.places, dtype=torch.long), *map(self.codes_of, read)])

    def decode(self, codes: Int[Tensor, "images places"] | Sequence[Sequence[int]]) -> list[Picture]:
        """The images of tokens, as Pillow images. DataError for another number of tokens, or for one that there is
        not."""
        pillow = require("PIL.Image", "vision")
        return [pillow.fromarray(one) for one in self.pixels(torch.as_tensor(codes))]

    @torch.inference_mode()
    def pixels(self, codes: Int[Tensor, "images places"]) -> UInt8[np.ndarray, "images height width 3"]:
        """The images of tokens, in bytes."""
        with evaluating(self.network):
            drawn = [as_bytes(self.seeing.decode(part)) for part in codes.split(AT_ONCE)]
        side = self.config_of_images.image_size
        return np.concatenate(drawn) if drawn else np.zeros((0, side, side, 3), np.uint8)

    @property
    def config_of_images(self) -> ImageTokensConfig:
        """What shapes the network."""
        config: ImageTokensConfig = self.seeing.config
        return config

    @property
    def places(self) -> int:
        """Tokens of an image."""
        return self.config_of_images.places

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.seeing.device
        return device

    def must_leave_room(self, context: int) -> None:
        """ConfigError unless an image with its marks and a caption fit into as many tokens."""
        if self.places + ROOM > context:
            raise ConfigError(
                f"model.context is {context}, and an image of {self.reference or 'this tokenizer'} has {self.places} "
                f"tokens; give at least {self.places + ROOM}"
            )

    def embed(self, *texts: Any, **how: Any) -> NoReturn:
        """ConfigError: tokens are no vector."""
        self._only_tokens("embed")

    def classify(self, *texts: Any, **how: Any) -> NoReturn:
        """ConfigError: it knows no classes."""
        self._only_tokens("classify")

    def must_write(self) -> None:
        """ConfigError: it writes nothing."""
        self._only_tokens("write text")

    def _only_tokens(self, what: str) -> NoReturn:
        raise ConfigError(
            f"{self.reference or 'the model'} does not {what}: it writes images as tokens and draws them from tokens "
            "(model.encode, model.decode)"
        )


def as_bytes(pixels: Float[Tensor, "images 3 height width"]) -> UInt8[np.ndarray, "images height width 3"]:
    """Pixels between -1 and 1 in bytes."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def preprocessing_for(config: ImageTokensConfig) -> Preprocessing:
    """How images are prepared for such a network."""
    return Preprocessing.plain(config.image_size, MEAN, DEVIATION)


def is_image_tokens(folder: Path) -> bool:
    """Whether a folder holds such a model."""
    if not (folder / "config.json").is_file():
        return False
    return isinstance(read_config(folder), ImageTokensConfig)

"""From an image's pixels to what a network reads, as preprocessor_config.json says: resized, cut, scaled, centred.

    prepared = Preprocessing.read(folder)(pixels)       # [height, width, 3] bytes -> [3, size, size] float32

Equal to transformers' image processors (their Pillow backends) for CLIP, SigLIP, ViT and ConvNeXt, which ResNet takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.basics.extras import require
from lmworks.basics.files import write_json
from lmworks.models.files.model_folder import read_json
from lmworks.models.vision.config import MOST_PIXELS
from lmworks.text.images.decoding import in_colour, upright

FILE, JOINED = "preprocessor_config.json", "processor_config.json"
"""The second is what transformers writes for a model with a tokenizer since version 5."""
RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Ways to resize, in the order of Pillow's numbers."""
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MOST_CHANNELS = 4
"""Red, green, blue and how opaque it is; more are no channels but a side, of [3, height, width] say."""
LONGEST_SIDE = 16 * MOST_PIXELS
"""Of an image that keeps its shape when it is resized, before it is cut: a strip of 1 x 60,000 may not fill memory."""

Pixels = UInt8[np.ndarray, "height width channels"]


class Preprocessing(Config):
    """How an image is prepared for a network."""

    kind: str = "CLIPImageProcessor"
    """What transformers calls it."""

    size: tuple[int, int] | int | None = 224
    """Height and width that an image is resized to; one number: its shorter side, the shape kept; None: not resized."""

    crop: tuple[int, int] | None = None
    """Height and width of the middle that is kept of it; None for all."""

    resample: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] = "bicubic"
    """How it is resized."""

    factor: float = 1 / 255
    """What each number from 0 to 255 is multiplied by."""

    mean: tuple[float, ...] | None = (0.5, 0.5, 0.5)
    """Subtracted from each channel then; None where nothing is, nor divided."""

    deviation: tuple[float, ...] | None = (0.5, 0.5, 0.5)
    """What each channel is divided by."""

    zoom: float | None = Field(default=None, gt=0, le=1)
    """Share of the resized shorter side that is kept, below 384 pixels (ConvNeXt, ResNet); None for `crop`'s way."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        sides = [*(self.crop or ()), *((self.size,) if isinstance(self.size, int) else self.size or ())]
        if any(not 0 < side <= MOST_PIXELS for side in sides):
            raise ConfigError(f"{{at}}size and {{at}}crop are pixels, from 1 to {MOST_PIXELS:,}, and one is not")
        if (self.mean is None) != (self.deviation is None) or len(self.mean or ()) != len(self.deviation or ()):
            raise ConfigError("{at}mean and {at}deviation belong together: as many numbers of each")
        if any(not one for one in self.deviation or ()):
            raise ConfigError("{at}deviation holds a 0, and each channel is divided by it")
        if self.zoom is not None and not isinstance(self.size, int):
            raise ConfigError("{at}zoom is for a {at}size of one number")
        return self

    @classmethod
    def plain(cls, size: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Self:
        """For images of this size: resized to it where they have another, the longer side cut."""
        return cls(size=size, crop=(size, size), mean=mean, deviation=deviation)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a model directory says. ModelError where it says nothing, or what is not done here."""
        path = folder / FILE
        if path.is_file():
            said = read_json(path)
        elif (folder / JOINED).is_file() and "image_processor" in read_json(folder / JOINED):
            path = folder / JOINED
            said = read_json(path)["image_processor"]
        else:
            raise ModelError(
                f"{folder} has no {FILE}, which says how images are prepared; copy it from the model's source"
            )
        try:
            return cls(**_ours(said))
        except (ConfigError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise ModelError(f"{path}: {error}") from None

    def write(self, folder: Path) -> None:
        """Write preprocessor_config.json, which transformers reads."""
        sides = {} if self.size is None else _their_size(self.size)
        theirs: dict[str, Any] = {
            "image_processor_type": self.kind,
            "do_convert_rgb": True,
            "do_resize": self.size is not None,
            "do_center_crop": self.crop is not None,
            "do_rescale": True,
            "rescale_factor": self.factor,
            "do_normalize": self.mean is not None,
            "resample": RESAMPLING.index(self.resample),
        }
        theirs |= {"size": sides} if sides else {}
        theirs |= {"crop_size": _their_size(self.crop)} if self.crop is not None else {}
        theirs |= {"image_mean": self.mean, "image_std": self.deviation} if self.mean is not None else {}
        theirs |= {"crop_pct": self.zoom} if self.zoom is not None else {}
        write_json(folder / FILE, theirs)

    def __call__(self, pixels: Pixels) -> Float[Tensor, "channels height width"]:
        """The image as the network reads it. DataError for what is no image of bytes, and for a strip too long."""
        x: Any = self._cut(self._resized(pixels_of(pixels))).astype(np.float32) * np.float32(self.factor)
        if self.mean is not None and self.deviation is not None:
            if len(self.mean) != x.shape[2]:
                raise DataError(f"the image has {x.shape[2]} channels, and the model reads {len(self.mean)}")
            x = (x - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))

    def _resized(self, pixels: Pixels) -> Pixels:
        return pixels if self.size is None else self._to(pixels, *self.resized(*pixels.shape[:2]))

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that an image of these is resized to. DataError for a strip too long."""
        if self.size is None:
            return height, width
        if not isinstance(self.size, int):
            return self.size
        if self.zoom is not None and self.size >= 384:
            return self.size, self.size
        short = self.size if self.zoom is None else int(self.size / self.zoom)
        long = int(short * max(height, width) / min(height, width))
        if long > LONGEST_SIDE:
            raise DataError(f"{width:,} x {height:,} pixels cannot be resized, being a strip; cut the image first")
        return (long, short) if height > width else (short, long)

    def _to(self, pixels: Pixels, height: int, width: int) -> Pixels:
        image = require("PIL.Image", "vision").fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        resized = np.asarray(image.resize((width, height), resample=RESAMPLING.index(self.resample)))
        return resized[..., None] if resized.ndim == 2 else resized

    def _cut(self, pixels: Pixels) -> Pixels:
        """The middle; where the image is smaller, black around it."""
        crop = (self.size, self.size) if self.zoom is not None and isinstance(self.size, int) else self.crop
        if crop is None:
            return pixels
        sides = pixels.shape[:2]
        missing = [max(wanted - side, 0) for wanted, side in zip(crop, sides, strict=True)]
        if any(missing):
            around = [((one + 1) // 2, one // 2) for one in missing]
            pixels = np.pad(pixels, [*around, (0, 0)])
        first = [(side - wanted) // 2 + (one + 1) // 2 for wanted, side, one in zip(crop, sides, missing, strict=True)]
        return pixels[first[0] : first[0] + crop[0], first[1] : first[1] + crop[1]]


def pixels_of(image: Any) -> Pixels:
    """The bytes of an image in memory: an array [height, width, channels] or a Pillow image, turned as its EXIF says.
    DataError for anything else, a text say."""
    if hasattr(image, "convert") and hasattr(image, "size"):
        image = upright(image)
        image = image if image.mode == "L" else in_colour(image)
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or array.ndim != 3 or not array.size or array.shape[2] > MOST_CHANNELS:
        shown = repr(image)[:60] if isinstance(image, str | bytes | int | float) else f"a {type(image).__name__}"
        shown += f" {list(array.shape)} of {array.dtype}" if isinstance(image, np.ndarray | Tensor) else ""
        raise DataError(
            f"{shown} is no image; give a file's path, a Pillow image, or an array [height, width, 3] of bytes"
        )
    return array


def _ours(theirs: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(theirs.get("image_processor_type") or theirs.get("feature_extractor_type") or "CLIPImageProcessor")
    kind = kind.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    known = _DEFAULTS.get(kind)
    if known is None:
        raise ValueError(f"the image processor {kind!r} is not known; known are {', '.join(_DEFAULTS)}")
    said = {**known, **{key: value for key, value in theirs.items() if value is not None}}
    if said.get("do_pad"):
        raise ValueError("do_pad is not supported")
    ours: dict[str, Any] = {"kind": kind, "factor": said["rescale_factor"] if said["do_rescale"] else 1.0}
    ours["size"] = _our_size(said["size"], kind == "ViTImageProcessor") if said["do_resize"] else None
    ours["crop"] = _our_size(said["crop_size"], square=True) if said["do_center_crop"] else None
    if not 0 <= said["resample"] < len(RESAMPLING):
        raise ValueError(f"resample is {said['resample']!r}, and Pillow numbers its ways from 0 to 5")
    ours["resample"] = RESAMPLING[said["resample"]]
    normal = said["do_normalize"]
    ours["mean"], ours["deviation"] = (said["image_mean"], said["image_std"]) if normal else (None, None)
    if kind == "ConvNextImageProcessor" and said["do_resize"]:
        ours["zoom"] = said["crop_pct"]
    return ours


def _our_size(said: Any, square: bool) -> tuple[int, int] | int:
    """A number of old files is a square for some, the shorter side for others."""
    if isinstance(said, Mapping):
        if said.get("longest_edge"):
            raise ValueError("a size with longest_edge is not supported")
        return said["shortest_edge"] if "shortest_edge" in said else (said["height"], said["width"])
    return (said, said) if square else said


def _their_size(size: tuple[int, int] | int) -> dict[str, int]:
    return {"shortest_edge": size} if isinstance(size, int) else {"height": size[0], "width": size[1]}


_USUAL = {"do_resize": True, "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255}
_USUAL |= {"do_normalize": True}
_HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": _USUAL
    | {"do_center_crop": True, "size": 224, "crop_size": 224, "resample": 3}
    | {"image_mean": CLIP_MEAN, "image_std": CLIP_DEVIATION},
    "SiglipImageProcessor": _USUAL | _HALF | {"size": {"height": 224, "width": 224}, "resample": 3},
    "ViTImageProcessor": _USUAL | _HALF | {"size": 224, "resample": 2},
    "ConvNextImageProcessor": _USUAL | _HALF | {"size": 384, "resample": 3, "crop_pct": 224 / 256},
}
"""What files of each kind need not say."""

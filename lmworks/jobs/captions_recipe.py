"""CaptionsRecipe: everything that shapes a language model that learns to read images.

recipe = CaptionsRecipe.read("emoji-captions", ["training.max_seconds=120"])
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.picture_settings import PictureSettings
from lmworks.training.settings import TrainingConfig

SMALLEST, LARGEST = 32, 1_024


class CaptionPictures(PictureSettings):
    """The images with captions to learn from."""

    change: float = Field(default=0.1, ge=0, le=1)
    """How far the second version of each image, which every other epoch sees, is moved, turned, zoomed and tinted, as a
    share of its size; 0 for one version."""


class ReaderSizes(Config):
    """The two models that stay as they are, and the sizes of what is learnt between them."""

    explain_as: ClassVar[str] = "image-reader"

    language_model: str = "smollm2"
    """What writes: a decoder, by its reference."""

    image_model: str = "efficientnet"
    """What sees: an EfficientNet, by its reference. Its files are copied into the result."""

    image_size: int = Field(default=128, ge=SMALLEST, le=LARGEST)
    """Pixels of a side of the square in which images are read."""

    image_stages: tuple[int, ...] = (2, 4)
    """Stages of the image model whose maps are read too, pooled to 4 x 4 places: where colours and small shapes are."""

    length: int = Field(default=8, ge=1, le=1_024)
    """Vectors that stand for an image in the language model's text."""

    hidden: int = Field(default=512, ge=1, le=100_000)
    """Width of the layer between an image's states and its vectors."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the states, and of that layer, dropped in training."""

    context: int = Field(default=48, ge=2, le=100_000)
    """Tokens of a caption, with the one that ends it; longer ones are cut, and counted."""

    remembered: int = Field(default=10_000, ge=0, le=1_000_000)
    """How many training images, evenly spaced, the result keeps with their captions, so that it can answer one image
    without words with the caption that fits best; with 0 it always answers in words of its own."""


class CaptionsRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks train` with `learns = "captions"`."""

    explain_as: ClassVar[str] = "captions"

    kind = "captions"

    learns: Literal["captions"] = "captions"
    """What tells such a recipe from that of a model of text."""

    data: CaptionPictures = CaptionPictures()
    model: ReaderSizes = ReaderSizes()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.training.compile:
            raise ConfigError("{at}training.compile is for rows of one length, and these differ; leave it out")
        return self

"""ImageTokensRecipe: everything that shapes a tokenizer of images made from nothing.

recipe = ImageTokensRecipe.read("image-tokens", ["training.max_seconds=120"])
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.picture_settings import PictureSettings
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.training.settings import TrainingConfig


class TokenizedPictures(PictureSettings):
    """The images to learn to write as tokens."""

    moved: int = Field(default=1, ge=0, le=16)
    """The most pixels that an image is moved in each direction, anew each time that it is seen."""

    mirrored: bool = True
    """An image is mirrored in every other epoch."""


class ImageTokensRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks train` with `learns = "image-tokens"`."""

    explain_as: ClassVar[str] = "image-tokens"

    kind = "image-tokens"

    learns: Literal["image-tokens"] = "image-tokens"
    """What tells such a recipe from that of a model of text."""

    data: TokenizedPictures = TokenizedPictures()
    model: ImageTokensConfig = ImageTokensConfig()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("compile", "recompute"):
            if getattr(self.training, name):
                raise ConfigError(f"{{at}}training.{name} is for the blocks of a model of text; leave it out")
        return self

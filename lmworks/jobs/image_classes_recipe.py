"""ImageClassesRecipe: everything that shapes a classifier of images made from nothing.

recipe = ImageClassesRecipe.read("cifar-resnet", ["training.max_seconds=120"])
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.models.vision.convolutional_config import ConvolutionalConfig
from lmworks.training.settings import TrainingConfig


class ClassedImages(Config):
    """The images to learn from. An image's class is its caption, or the name of its folder."""

    images: str = "cifar10:train"
    """A folder with a folder for each class, a .zip or .tar of one, a .jsonl or .csv that names images and classes,
    hf:org/name, or cifar10:train."""

    test: str | None = "cifar10:test"
    """The images that the accuracy is measured on, likewise; None for a share of `images`."""

    held_out: float = Field(default=0.02, gt=0, lt=1)
    """Share of `images` that is never trained on, for the validation loss, and for the accuracy where there is no
    `test`."""

    moved: int = Field(default=2, ge=0, le=16)
    """The most pixels that an image is moved in each direction, anew each time that it is seen."""

    mirrored: bool = True
    """An image is mirrored in every other epoch; not for images whose sides differ, as letters' do."""

    covered: int = Field(default=0, ge=0)
    """The side in pixels of a square of each image that is greyed, elsewhere each time that it is seen (cutout): for
    long runs, which else learn the images by heart."""


class ClassesObjective(Config):
    """What is minimised: the cross-entropy of the class."""

    label_smoothing: float = Field(default=0.2, ge=0, lt=1)
    """Share of each label that is spread over all classes."""


class ImageClassesRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks train` with `learns = "classes"`."""

    explain_as: ClassVar[str] = "classes"

    kind = "classes"

    learns: Literal["classes"] = "classes"
    """What tells such a recipe from that of a model of text."""

    data: ClassedImages = ClassedImages()
    model: ConvolutionalConfig = ConvolutionalConfig()
    objective: ClassesObjective = ClassesObjective()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model.labels:
            raise ConfigError("{at}model.labels come from the images; leave them out")
        if self.model.channels != 3:
            raise ConfigError("{at}model.channels is 3: images are read in red, green and blue; leave it out")
        if self.data.covered >= self.model.image_size:
            raise ConfigError(
                f"{{at}}data.covered is {self.data.covered}, and images are {self.model.image_size} pixels a side; "
                "give less"
            )
        if self.training.rows < 2:
            raise ConfigError("{at}training.rows is 1, and norms by the batch need more; give more")
        for name in ("compile", "recompute"):
            if getattr(self.training, name):
                raise ConfigError(f"{{at}}training.{name} is for the blocks of a model of text; leave it out")
        return self

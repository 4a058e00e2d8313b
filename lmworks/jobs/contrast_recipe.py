"""ContrastRecipe: everything that shapes a CLIP made from nothing, from images with captions to two towers.

recipe = ContrastRecipe.read("emoji-clip", ["training.max_seconds=120"])
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.picture_settings import PictureSettings
from lmworks.models.vision.towers_config import ClipSizes
from lmworks.tokens.trainer import TokenizerConfig
from lmworks.training.settings import TrainingConfig

AROUND = ("<s>", "</s>")
"""Tokens that begin and end each caption; wordpiece has its own."""


class ContrastedPictures(PictureSettings):
    """The images with captions to learn from."""

    change: float = Field(default=0.1, ge=0, le=1)
    """How far an image is moved, turned, zoomed and tinted each time that it is seen, as a share of its size; tags are
    left out and reordered too. 0 for neither."""


class ContrastObjective(Config):
    """What is minimised."""

    kind: Literal["info_nce", "sigmoid"] = "info_nce"
    """info_nce: which caption of the batch is the image's, and which image the caption's (CLIP); sigmoid: whether two
    belong together, each pair by itself (SigLIP)."""

    siblings_are_negatives: bool = False
    """Whether captions that repeat, and siblings, count as wrong captions as any other does."""


class ContrastRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks train` with `learns = "contrast"`."""

    explain_as: ClassVar[str] = "contrast"

    kind = "contrast"

    learns: Literal["contrast"] = "contrast"
    """What tells such a recipe from that of a model of text."""

    data: ContrastedPictures = ContrastedPictures()
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How to train the tokenizer on the captions; 2,048 tokens where nothing is said."""
    model: ClipSizes = ClipSizes()
    objective: ContrastObjective = ContrastObjective()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _texts_have_two_ends(cls, values: Any) -> Any:
        """A text's first token differs from its last, whose state stands for it."""
        said = values.get("tokenizer") if isinstance(values, dict) else None
        tokenizer = {"vocab_size": 2048} if said is None else said
        if isinstance(tokenizer, dict) and tokenizer.get("kind") != "wordpiece":
            values = values | {"tokenizer": {"special_tokens": AROUND} | tokenizer}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.objective.kind == "sigmoid") != self.model.sigmoid:
            raise ConfigError(
                f"{{at}}objective.kind is {self.objective.kind!r} and {{at}}model.sigmoid is {self.model.sigmoid}: the "
                "sigmoid loss is for towers with a bias, and these for no other; change one of the two"
            )
        if self.training.rows < 2:
            raise ConfigError(
                "{at}training.rows is 1, and a caption needs others in its batch to be told apart from; give more"
            )
        for name in ("compile", "recompute"):
            if getattr(self.training, name):
                raise ConfigError(f"{{at}}training.{name} is for the blocks of a model of text; leave it out")
        return self

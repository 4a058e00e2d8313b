"""Which recipes of `lmworks train` learn from images, and what."""

from __future__ import annotations

from pathlib import Path

from lmworks.basics.config import read_toml
from lmworks.basics.errors import ConfigError
from lmworks.jobs.captions_recipe import CaptionsRecipe
from lmworks.jobs.contrast_recipe import ContrastRecipe
from lmworks.jobs.fusion_recipe import FusionRecipe
from lmworks.jobs.image_classes_recipe import ImageClassesRecipe
from lmworks.jobs.image_tokens_recipe import ImageTokensRecipe
from lmworks.jobs.training_recipe import TrainRecipe

ImageRecipe = ContrastRecipe | ImageClassesRecipe | ImageTokensRecipe | FusionRecipe | CaptionsRecipe
KINDS: tuple[type[ImageRecipe], ...] = (
    ContrastRecipe,
    ImageClassesRecipe,
    ImageTokensRecipe,
    FusionRecipe,
    CaptionsRecipe,
)


def image_recipe(recipe: str) -> type[ImageRecipe] | None:
    """The kind of a recipe, shipped or a file, that learns from images; None for one of text. ConfigError for a name
    that no recipe has."""
    if Path(recipe).suffix != ".toml":
        known = {name: kind for kind in (TrainRecipe, *KINDS) for name in kind.shipped()}
        if recipe not in known and not Path(recipe).exists():
            raise ConfigError(
                f"{recipe} is not a shipped recipe; there are {', '.join(known)}, or give the path of a .toml file"
            )
        return next((kind for kind in KINDS if recipe in kind.shipped()), None)
    learns = read_toml(recipe).get("learns") if Path(recipe).is_file() else None
    return next((kind for kind in KINDS if learns == kind.kind), None)

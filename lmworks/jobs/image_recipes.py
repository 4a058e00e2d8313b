"""Which recipes of `lmworks train` learn from images, and what."""

from __future__ import annotations

from pathlib import Path

from lmworks.basics.config import read_toml
from lmworks.jobs.contrast_recipe import ContrastRecipe
from lmworks.jobs.image_classes_recipe import ImageClassesRecipe

ImageRecipe = ContrastRecipe | ImageClassesRecipe
KINDS: tuple[type[ImageRecipe], ...] = (ContrastRecipe, ImageClassesRecipe)


def image_recipe(recipe: str) -> type[ImageRecipe] | None:
    """The kind of a recipe, shipped or a file, that learns from images; None for one of text."""
    if Path(recipe).suffix != ".toml":
        return next((kind for kind in KINDS if recipe in kind.shipped()), None)
    learns = read_toml(recipe).get("learns") if Path(recipe).is_file() else None
    return next((kind for kind in KINDS if learns == kind.kind), None)

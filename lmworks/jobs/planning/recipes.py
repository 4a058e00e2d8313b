"""Whose recipe a name means, read without torch: a mistake in it is said before that is loaded, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmworks.basics.config import overrides
from lmworks.basics.errors import ConfigError
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.training_recipe import TrainRecipe


def read_recipe(name: str, changes: Sequence[str] = (), tunes: bool = False) -> TrainRecipe | Recipe | None:
    """A recipe of `train` or `build` by name or path, with `section.key=value` changed; None for what is neither, such
    as a model. ConfigError for unknown keys and values that make no sense, and where a model is to be tuned and the
    recipe makes one."""
    if name in TrainRecipe.shipped() or (Path(name).suffix == ".toml" and trains_from_nothing(Path(name))):
        if tunes:
            raise ConfigError(
                f"{name} trains a model from nothing, and --data, --method and --retain are for tuning one; name a "
                "model in its place, such as smollm2"
            )
        return TrainRecipe.read(name, changes)
    if name in Recipe.shipped() or Path(name).suffix == ".toml":
        return Recipe.read(name, list(changes))
    Recipe(**overrides(changes))  # a model is planned with the default recipe
    return None


def trains_from_nothing(path: Path) -> bool:
    """Is it a recipe of `lmworks train`? Those of `build` name a model, and know nothing of the others' sections."""
    tables = TrainRecipe.tables(path)
    model = tables.get("model")
    own = set(TrainRecipe.model_fields) - set(Recipe.model_fields)
    return bool(own & set(tables)) or (
        isinstance(model, dict) and bool(model) and not {"reference", "dtype"} & set(model)
    )

"""PreferRecipe: the settings of `lmworks prefer`: a recipe of `lmworks build`, and the loss of pairs of answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, create_model

from lmworks.jobs.recipe import Recipe
from lmworks.objectives.preference import PreferenceLoss, preference_losses

PAIRS = "pairs"
"""The shipped recipe."""
LOSSES = preference_losses()
_TABLES: dict[str, Any] = {
    name: (one.settings, Field(default=one.settings(), description=one.summary)) for name, one in LOSSES.items()
}
_Tables: Any = create_model("_Tables", __base__=Recipe, **_TABLES)


class PreferRecipe(_Tables):  # type: ignore[misc]
    """Everything that shapes a run of `lmworks prefer`; each loss has a table of its name."""

    explain_as: ClassVar[str] = "prefer"

    kind = "prefer"

    choices: ClassVar[dict[str, dict[str, Any]]] = {**Recipe.choices, "loss": LOSSES}

    loss: str = Field(
        default="dpo",
        description="What is made of a pair's two answers. "
        + "; ".join(f"{name}: {one.summary}" for name, one in LOSSES.items())
        + ".",
    )

    @property
    def preference(self) -> PreferenceLoss:
        """The loss that `loss` names."""
        return LOSSES[self.loss]


def recipe_of(
    recipe: str | Path = PAIRS,
    *,
    method: str | None = None,
    retain: str | None = None,
    beta: float | None = None,
    loss: str | None = None,
    changes: Sequence[str] = (),
) -> PreferRecipe:
    """A recipe with what was chosen beside it; ConfigError for what is no setting, or no choice."""
    given = {"method": method, "retain": retain, "loss": loss}
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    found = PreferRecipe.read(recipe, ["grounding.index=false", *named, *changes])
    if beta is None:
        return found
    return PreferRecipe.read(recipe, ["grounding.index=false", *named, f"{found.loss}.beta={beta}", *changes])

"""ForgetRecipe: tasks that are learnt one after another, and the ways to keep the earlier ones.

recipe = ForgetRecipe.read("captions", ["seeds=[0, 1]"])
recipe.stage("ewc", seed=0)      # the recipe of `lmworks build` by which that way trains a task
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.retention import RETENTIONS
from lmworks.basics.config import Config, merge
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.recipe import DataSettings, Recipe

NAIVE, JOINT, SLIDER, ROUTER = "naive", "joint", "slider", "router"
GENERAL = "general text"
"""What a sequence calls the text that shows what the base could do."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]*")


class Task(Config):
    """One text that is learnt."""

    text: str
    """A folder, a file, or a name of the data registry, as for `lmworks build`."""


class ForgetRecipe(RecipeFile):
    """A sequence of tasks, and the ways to keep earlier ones that are compared on it."""

    explain_as: ClassVar[str] = "forget"

    kind = "forget"

    tasks: dict[str, Task]
    """What is learnt, in this order: a table [tasks.NAME] for each, with its `text`."""

    measure: Literal["bits", "answers"] = "bits"
    """What is measured of held-out text: bits per byte, or, of records with answers, the share of answers of which the
    model finds every token, the last one too, the likeliest."""

    build: Recipe = Recipe()
    """How each task is trained: the keys of a recipe of `lmworks build`, as [build.training]; `build.retain` stays
    "nothing", and `build.data.general` names the text that shows what the base could do."""

    ways: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The ways to keep earlier tasks: a table [ways.NAME] with what each changes in `build`: `retain` and its table, or
    `method`, or `training`. An old text that it leaves out is that of the earlier tasks; one that it names is added to
    theirs. With `ewc.kept`, a file's name, EWC is online: springs are kept from task to task and no text is. Always
    beside them: naive (one task after the other), joint (all tasks at once, from the base), and slider (naive, brought
    part of the way back to the model before the last task)."""

    router: bool = False
    """Also train each task by itself from the base, and let the text tell which of these models reads it."""

    slider: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """The shares of what the last task taught that the slider keeps."""

    seeds: tuple[int, ...] = (0,)
    """Each is one run of everything."""

    keep_models: bool = False
    """Keep the models, too: each is as large as the base. Otherwise only figures stay."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if len(self.tasks) < 2:
            raise ConfigError(f"{{at}}tasks are {len(self.tasks)}; give at least two, or use lmworks tune for one")
        for what, names, taken in (
            ("tasks", self.tasks, {GENERAL}),
            ("ways", self.ways, {NAIVE, JOINT, SLIDER, ROUTER}),
        ):
            for name in names:
                if name in taken or not NAME.fullmatch(name):
                    raise ConfigError(
                        f"{{at}}{what} has one called {name!r}; take another name, of letters, digits, spaces, - _ and "
                        f". (and not {', '.join(sorted(taken))})"
                    )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"{{at}}seeds are {list(self.seeds)}; give different whole numbers, at least one")
        if any(not 0 <= share <= 1 for share in self.slider) or not {0.0, 1.0} <= {*self.slider}:
            raise ConfigError(f"{{at}}slider is {list(self.slider)}; give shares from 0 to 1, these two among them")
        self._build_is_naive()
        for name in (NAIVE, *self.ways):
            _must_be_trained_on(self.stage(name, 0), f"ways.{name}" if name in self.ways else "build")
        return self

    def _build_is_naive(self) -> None:
        if self.build.retain != "nothing":
            raise ConfigError(
                "{at}build.retain is of naive training, which keeps nothing; name other ways as [ways.NAME]"
            )
        if self.build.data.text != DataSettings().text:
            raise ConfigError("{at}build.data.text is not read in a sequence; name the texts as [tasks.NAME] text")
        if self.build.training.max_seconds is not None:
            raise ConfigError(
                "{at}build.training.max_seconds would give each run what the machine has time for, and the ways could "
                "not be compared; give steps or epochs"
            )

    @property
    def order(self) -> list[str]:
        """The tasks' names."""
        return list(self.tasks)

    def stage(self, way: str, seed: int) -> Recipe:
        """By what recipe a way trains a task; ConfigError, with the way's name, where it makes no sense."""
        changes = self.ways.get(way, {})
        allowed = {"method", "retain", "training"} | METHODS.keys() | RETENTIONS.keys()
        if unknown := sorted(changes.keys() - allowed):
            raise ConfigError(
                f"{{at}}ways.{way}.{unknown[0]} is nothing that a way can change; that is {', '.join(sorted(allowed))}"
            )
        tables = self.build.model_dump()
        if changes.get("method", self.build.method) != self.build.method:
            del tables[self.build.method]
        products = changes.get("training", {}).get("frozen_products") or self.build.training.frozen_products
        fixed = {
            "training": {"seed": seed, "frozen_products": products or "exact"},  # all alike, and some need it
            "grounding": {"index": False},
            "model": {"dtype": self.build.model.dtype or "float32"},  # merging a small update in bfloat16 loses most
        }
        try:
            return Recipe(**merge(merge(tables, changes), fixed))
        except ConfigError as error:
            raise error.inside(("ways", way)) from None


def _must_be_trained_on(recipe: Recipe, where: str) -> None:
    """ConfigError for what leaves no plain model, which the next task could begin with."""
    adapter, retention = recipe.chosen.method.adapter, recipe.chosen.retention
    if retention is not None and retention.apart:
        raise ConfigError(
            f"{{at}}{where}.retain is {recipe.retain!r}; each task begins with the model of the one before it, merged, "
            "and this way keeps every adapter apart: router = true measures that"
        )
    if adapter is not None and not adapter.merges:
        why = "fits into no weight"
    elif getattr(recipe.chosen.settings, "grid", None) == "file":
        why = "with grid = 'file' needs a base in a GGUF file, which a merged model is not"
    else:
        return
    raise ConfigError(
        f"{{at}}{where}.method is {recipe.method!r}; each task begins with the model of the one before it, merged, and "
        f"what this method learns {why}; take another method, such as lora"
    )

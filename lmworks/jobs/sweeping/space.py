"""Space: which settings of a recipe are searched, and where; a small TOML file.

    [training.learning_rate]
    low = 1e-3
    high = 3e-2
    log = true

    [training.rows]
    choices = [8, 16, 32]

Everything that can be known to be wrong is found here, before anything is trained.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

from pydantic import StrictBool, model_validator

from lmworks.basics.config import Config, merge, read_toml
from lmworks.basics.errors import ConfigError
from lmworks.basics.part_settings import PartSettings
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.models.config import ModelConfig
from lmworks.tokens.trainer import TokenizerConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Setting = bool | int | float | str
Tables = Mapping[str, Any]
"""A recipe as its file says it, before it is validated and its dial is turned."""

JUDGES = "trials would be judged by different texts"
LEFT_OUT = {
    "data.text": JUDGES,
    "data.held_out": JUDGES,
    "data.hold_out": JUDGES,
    "validation.tokens": JUDGES,
    "training.seed": "the luckiest seed is no better setting; train the best recipe with several seeds instead",
    "training.evaluate_every": "it decides when trials are compared, not how good they are",
    "training.checkpoint_every": "it changes nothing in the result",
    "training.tensorboard": "it changes nothing in the result",
    "sample": "it changes nothing in what is measured",
}
"""What cannot be searched, and why."""
MOST_COMBINATIONS = 500
"""How many combinations of a space are validated beforehand: all where there are no more, else ends and a sample."""


class Dimension(Config):
    """Where one setting may lie: from `low` to `high`, or among `choices`."""

    explain_as: ClassVar[str] = "space"

    low: Any = None
    """The lowest value, a number."""

    high: Any = None
    """The highest value, itself included."""

    log: StrictBool = False
    """Search factors and not differences: for rates and decays."""

    step: Any = None
    """Only low, low + step, low + 2 steps, ...; None for any value."""

    choices: tuple[Any, ...] | None = None
    """The values themselves."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.choices is not None:
            self._check_choices(self.choices)
            return self
        if self.low is None or self.high is None:
            raise ConfigError("{at}low and {at}high are both needed, or {at}choices")
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
                raise ConfigError(f"{{at}}{name} is {value!r}; it must be a finite number")
        if not self.low < self.high:
            raise ConfigError(f"{{at}}low ({self.low}) is not below {{at}}high ({self.high}): the range is empty")
        if self.log and self.low <= 0:
            raise ConfigError(f"{{at}}low is {self.low}, and a logarithmic range begins above 0")
        if self.step is not None:
            self._check_step()
        return self

    def _check_choices(self, choices: tuple[Any, ...]) -> None:
        if (self.low, self.high, self.step, self.log) != (None, None, None, False):
            raise ConfigError("{at}choices and a range (low, high, step, log) contradict each other; give one of them")
        if strange := [one for one in choices if type(one) not in (bool, int, float, str)]:
            raise ConfigError(f"{{at}}choices holds {strange[0]!r}; they can be numbers, texts, true and false")
        if len(choices) < 2 or len(set(map(repr, choices))) < len(choices):
            raise ConfigError("{at}choices must be two or more different values; leave the setting out otherwise")

    def _check_step(self) -> None:
        if self.log:
            raise ConfigError("{at}step and {at}log contradict each other; give choices, or one of the two")
        if not self.step > 0:
            raise ConfigError(f"{{at}}step is {self.step}; it must be above 0")
        steps = (self.high - self.low) / self.step
        if not math.isclose(steps, round(steps), abs_tol=1e-9) or steps < 1:
            raise ConfigError(
                f"{{at}}high ({self.high}) cannot be reached from {{at}}low ({self.low}) in steps of {self.step}"
            )

    def some(self) -> tuple[Setting, ...]:
        """Every value where there are few, else the ends."""
        if self.choices is not None:
            return self.choices
        step = self.step or (1 if isinstance(self.low, int) and isinstance(self.high, int) else None)
        if step is None or (self.high - self.low) / step > 64:
            return (self.low, self.high)
        return tuple(self.low + step * number for number in range(round((self.high - self.low) / step) + 1))

    def holds(self, value: object) -> bool:
        """Could a trial have this value?"""
        if self.choices is not None:
            return any(type(one) is type(value) and one == value for one in self.choices)
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        return self.step is None or math.isclose((value - self.low) / self.step % 1, 0, abs_tol=1e-9)

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        from optuna import distributions

        if self.choices is not None:
            return distributions.CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return distributions.IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)
        return distributions.FloatDistribution(self.low, self.high, log=self.log, step=self.step)


class Space:
    """The searched settings by their dotted names, checked against the recipe that they belong to."""

    def __init__(self, tables: Tables, recipe: Tables) -> None:
        self.dimensions = {name: _dimension(name, table) for name, table in _flat(tables)}
        if not self.dimensions:
            raise ConfigError("there is nothing to search; name a setting with low and high, or with choices")
        self._refuse_overlaps()
        first = {name: dimension.some()[0] for name, dimension in self.dimensions.items()}
        for name, dimension in self.dimensions.items():
            _refuse_left_out(name)
            for value in dimension.some():
                TrainRecipe(**with_settings(recipe, first | {name: value}))  # says which value is wrong, and why
            self.dimensions[name] = _of_the_setting(name, dimension)
        if "depth" in self.dimensions:
            _refuse_idle_depth(self.dimensions["depth"], recipe)
        self._refuse_contradictions(recipe)

    @classmethod
    def read(cls, path: str | Path, recipe: Tables) -> Space:
        """The space of a TOML file; ConfigError, with the file's name, for whatever makes no sense."""
        if not Path(path).exists():
            raise ConfigError(
                f"{path} does not exist; write the space there: a table for each setting, with low and high"
            )
        tables = read_toml(path)
        try:
            return cls(tables, recipe)
        except ConfigError as error:
            raise ConfigError(f"{Path(path).name}: {error}") from None

    def distributions(self) -> dict[str, BaseDistribution]:
        """As Optuna has them."""
        return {name: dimension.distribution() for name, dimension in self.dimensions.items()}

    def facts(self) -> dict[str, Any]:
        """The space in plain values, to be compared and kept."""
        return {name: one.model_dump(mode="json", exclude_defaults=True) for name, one in self.dimensions.items()}

    def of_the_recipe(self, recipe: Tables) -> dict[str, Setting] | None:
        """The settings that the recipe itself has; None where they do not all lie in the space."""
        whole = TrainRecipe(**recipe)
        network = whole.network(256)
        settings: dict[str, Setting] = {}
        for name, dimension in self.dimensions.items():
            at: Any = network if name.startswith("model.") else whole
            for part in name.removeprefix("model.").split("."):
                at = getattr(at, part, None)
            if not dimension.holds(at):
                return None
            settings[name] = at
        return settings

    def _refuse_overlaps(self) -> None:
        for one, other in itertools.permutations(self.dimensions, 2):
            if other.startswith(f"{one}."):
                raise ConfigError(f"{one} and {other} contradict each other: the one holds the other; name one of them")

    def _refuse_contradictions(self, recipe: Tables) -> None:
        for settings in self._combinations():
            try:
                TrainRecipe(**with_settings(recipe, settings))
            except ConfigError as error:
                together = " and ".join(f"{name} = {value}" for name, value in settings.items())
                raise ConfigError(f"{together} contradict each other ({error}); narrow the space") from None

    def _combinations(self) -> Iterator[dict[str, Setting]]:
        values = [dimension.some() for dimension in self.dimensions.values()]
        if math.prod(map(len, values)) <= MOST_COMBINATIONS:
            chosen: Iterator[tuple[Setting, ...]] = itertools.product(*values)
        else:
            draw = random.Random(0)
            chosen = (tuple(map(draw.choice, values)) for _ in range(MOST_COMBINATIONS))
        for combination in chosen:
            yield dict(zip(self.dimensions, combination, strict=True))


def with_settings(recipe: Tables, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tables with some settings, by dotted name, put in their places."""
    tree: dict[str, Any] = dict(recipe)
    for name, value in settings.items():
        *sections, last = name.split(".")
        branch = {last: value}
        for section in reversed(sections):
            branch = {section: branch}
        tree = merge(tree, branch)
    return tree


def _flat(tables: Tables, above: str = "") -> Iterator[tuple[str, Tables]]:
    """Each searched setting by its dotted name, quoted or as a table in a table."""
    for key, value in tables.items():
        name = f"{above}{key}"
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} is {value!r}; write a table with low and high, or {name} = {{choices = [...]}}")
        if not value:
            raise ConfigError(f"{name} is empty; give it low and high, or choices")
        if set(value) & set(Dimension.model_fields):
            yield name, value
        else:
            yield from _flat(value, f"{name}.")


def _dimension(name: str, table: Tables) -> Dimension:
    try:
        return Dimension(**table)
    except ConfigError as error:
        raise error.inside((name,)) from None


def _refuse_left_out(name: str) -> None:
    for one, why in LEFT_OUT.items():
        if name == one or name.startswith(f"{one}."):
            raise ConfigError(f"{name} cannot be searched: {why}")
    if any(issubclass(kind, Config | dict) for kind in _kinds(name)) and name != "tokenizer":
        raise ConfigError(f"{name} is a section; name one of its settings")


def _kinds(name: str) -> set[type]:
    """The types that a setting may have; none where there is no such setting."""
    home: type[Config] = TrainRecipe
    *sections, last = name.split(".")
    for section in sections:
        of_a_recipe: dict[str, type[Config]] = {"model": ModelConfig, "tokenizer": TokenizerConfig}
        inner = of_a_recipe.get(section) if home is TrainRecipe else None
        configs: list[type[Config]] = [kind for kind in _types(home, section) if issubclass(kind, Config)]
        home = inner if inner is not None else next(iter(configs), Config)
    return _types(home, last)


def _types(home: type[Config], name: str) -> set[type]:
    """The types of a setting of a section, of whatever part that has it."""
    if issubclass(home, PartSettings):
        annotations = [field.annotation for field in home.fields_named(name)]
    else:
        annotations = [home.model_fields[name].annotation] if name in home.model_fields else []
    return {one for kind in annotations for one in (kind, *get_args(kind)) if isinstance(one, type)}


def _of_the_setting(name: str, dimension: Dimension) -> Dimension:
    """A range in whole numbers where the setting is one, in fractions where it takes them."""
    if dimension.choices is not None:
        return dimension
    kinds = _kinds(name)
    if float in kinds:
        return dimension.but(low=float(dimension.low), high=float(dimension.high))
    if int not in kinds:
        raise ConfigError(f"{name} takes no range of numbers; give choices")
    for end in ("low", "high", "step"):
        if isinstance(getattr(dimension, end), float):
            raise ConfigError(f"{name} takes whole numbers, and {end} is {getattr(dimension, end)}")
    return dimension


def _refuse_idle_depth(dimension: Dimension, recipe: Tables) -> None:
    """A recipe that says all that the dial would set makes it idle."""
    shallow, *_, deep = dimension.some()
    first, last = (TrainRecipe(**with_settings(recipe, {"depth": depth})) for depth in (shallow, deep))
    if first.but(depth=last.depth) == last:
        raise ConfigError(
            "depth changes nothing here: the recipe itself says layers, width, rate and steps; search those"
        )

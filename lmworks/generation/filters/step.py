"""What a step from logits to the next token's distribution declares: settings, place in the order, what it does.

    MIN_P = Filter("min_p", place=30, settings=MinP, keep=keep)

Steps do not commute, so each says its place, and a strategy's `order` shows them in that order. Logits and
probabilities are arrays of NumPy, whoever computed them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np

from lmworks.basics.config import Config
from lmworks.basics.declared import declared

if TYPE_CHECKING:
    from lmworks.generation.distribution import Kept, Logits, Probabilities

    Scores = Logits | Probabilities

Made = TypeVar("Made", bound=type[Config])


class History(NamedTuple):
    """The text before the next token, as token ids."""

    tokens: Sequence[int]
    """The prompt and what the answer has so far."""
    written: int
    """How many of them the answer has."""

    @property
    def answer(self) -> Sequence[int]:
        """The tokens of the answer."""
        return self.tokens[len(self.tokens) - self.written :]


@dataclass(frozen=True)
class SamplingStep:
    """A named step. It is on where a setting of it differs from its default."""

    name: str
    place: int
    """Where it comes among the steps of its kind: lower places first."""
    settings: type[Config]
    """Its settings, which become settings of the strategies: types, bounds, and a docstring each."""

    def values(self, strategy: Config) -> dict[str, Any]:
        """Its settings in a strategy; empty where it is off."""
        values = {name: getattr(strategy, name) for name in self.settings.model_fields}
        defaults = {
            name: field.get_default(call_default_factory=True) for name, field in self.settings.model_fields.items()
        }
        return values if values != defaults else {}

    def shown(self, strategy: Config) -> list[str]:
        """Each of its settings that differs from its default, as a strategy's `order` shows it."""
        default = self.settings()
        said = {name: value for name, value in self.values(strategy).items() if value != getattr(default, name)}
        return [
            f"{name} of {len(value)} tokens"
            if isinstance(value, dict)
            else f"{name} {value:g}"
            if isinstance(value, int | float)
            else f"{name} {value}"
            for name, value in said.items()
        ]


@dataclass(frozen=True)
class Adjustment(SamplingStep):
    """Changes the logits of the next token given the text so far, in every strategy, before the temperature."""

    change: Callable[..., Logits]
    """`change(logits, history, **settings)`: the changed logits [vocab]; those that are given stay as they are."""


@dataclass(frozen=True)
class Filter(SamplingStep):
    """Keeps some tokens of a distribution and drops the others, in `lm.Sample`, after the temperature.

    What is left is made to sum to one again before the next filter sees it.
    """

    keep: Callable[..., Kept | None]
    """`keep(probabilities, **settings)`: the ids of the tokens that stay, rising; None for all."""
    sees: Literal["probabilities", "logits"] = "probabilities"
    """Logits for a filter that keeps the same tokens at every temperature. It is given them as they are before the
    temperature, which may then be applied to fewer tokens."""

    def applied(self, p: Probabilities, **settings: Any) -> Probabilities:
        """The probabilities with zero for what is dropped; not yet made to sum to one."""
        kept = self.keep(p, **settings)
        return p if kept is None else only(p, kept)


def only(p: Probabilities, kept: np.ndarray) -> Probabilities:
    """The probabilities with zero for all tokens but those that are kept."""
    left = np.zeros_like(p)
    left[kept] = p[kept]
    return left


def forbid(logits: Logits, tokens: Collection[int]) -> Logits:
    """Minus infinity for these tokens; the logits as they are where nothing else would be left."""
    if not tokens:
        return logits
    left = logits.copy()
    left[list(tokens)] = -float("inf")
    return left if left.max() > -float("inf") else logits


def adjustments() -> tuple[Adjustment, ...]:
    """Every declared adjustment, in the order in which they are done."""
    return tuple(sorted(declared(__package__, Adjustment).values(), key=lambda one: one.place))


def filters() -> tuple[Filter, ...]:
    """Every declared filter, in the order in which they are done: those that see logits first."""
    return tuple(sorted(declared(__package__, Filter).values(), key=lambda one: (one.sees != "logits", one.place)))


def with_settings(steps: Iterable[SamplingStep]) -> Callable[[Made], Made]:
    """Give a class of settings those of the steps too, after its own."""

    def extended(kind: Made) -> Made:
        bases = (*(one.settings for one in reversed([*steps])), kind)
        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
        names |= {name: value for name, value in vars(kind).items() if name == "explain_as"}
        return type(kind)(kind.__name__, bases, names)  # type: ignore[return-value,misc]

    return extended

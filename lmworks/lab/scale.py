"""The two sizes of a run, and parameters whose defaults depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Field

from lmworks.basics.errors import ConfigError

Scale = Literal["quick", "full"]
SCALES: tuple[Scale, Scale] = ("quick", "full")
Value = TypeVar("Value")

Count = Annotated[int, Field(ge=1)]
"""A parameter that counts something."""
Several = Annotated[int, Field(ge=2)]
"""A parameter that must be at least two."""


@dataclass(frozen=True)
class Scaled:
    """A default that depends on the scale."""

    quick: Any
    full: Any


def scaled(quick: Value, full: Value) -> Value:
    """A parameter's default: one value for a run under two minutes, one for the figures of the handbook."""
    return cast(Value, Scaled(quick, full))


def require_scale(scale: str) -> Scale:
    """The scale of that name; ConfigError where there is none."""
    for one in SCALES:
        if one == scale:
            return one
    raise ConfigError(f"{scale!r} is not a scale; there are {' and '.join(SCALES)}")

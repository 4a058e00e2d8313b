"""Options that belong together: a class whose fields become options of each verb that asks for it.

    @dataclass(frozen=True, kw_only=True)
    class Limits(Options):
        seconds: Annotated[float, typer.Option(help="The longest that a request may take.")] = 600

    def serve(model: Model, limits: Limits) -> None: ...    # --seconds is limits.seconds

They stand in the help where the parameter stands, in the order of the fields.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self, get_type_hints

from lmworks.basics.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Options:
    """What several options of the command line say."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """A parameter for each option, as typer reads it."""
        hints = get_type_hints(cls, include_extras=True)
        return [parameter(one.name, hints[one.name], one.default) for one in fields(cls)]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """From the value of each parameter, by its name."""
        return cls(**said)

    def given(self) -> dict[str, Any]:
        """Those that say something else than if they were left out, by their names on the command line."""
        every = ((one, getattr(self, one.name)) for one in fields(self))
        return {option_name(one.name): value for one, value in every if value != one.default}

    def refuse(self, why: str) -> None:
        """ConfigError for the first that is given; in `why`, {} stands for its name."""
        if given := self.given():
            raise ConfigError(why.format(next(iter(given))))


def with_options(run: Callable[..., None]) -> Callable[..., None]:
    """A verb's function with the options of each group in place of the parameter that takes the group."""
    own = inspect.signature(run, eval_str=True).parameters
    groups = {
        name: one.annotation
        for name, one in own.items()
        if isinstance(one.annotation, type) and issubclass(one.annotation, Options)
    }
    if not groups:
        return run
    options = {name: kind.parameters() for name, kind in groups.items()}

    def apart(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind.read({one.name: given.pop(one.name) for one in options[name]})
        run(**given)

    return taking([one for name, each in own.items() for one in options.get(name, [each])], apart, run)


def taking(
    parameters: Sequence[inspect.Parameter], call: Callable[..., None], of: Callable[..., None]
) -> Callable[..., None]:
    """A function with these keyword parameters, and with the name and the help of `of`."""
    told = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    made = functools.wraps(of)(call)
    made.__signature__ = inspect.Signature(told)  # type: ignore[attr-defined]
    made.__annotations__ = {one.name: one.annotation for one in told} | {"return": None}
    return made


def parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """One that is given by its name; with MISSING, it must be."""
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def option_name(name: str) -> str:
    """How a parameter is written on the command line."""
    return "--" + name.strip("_").replace("_", "-")

"""The experiments: one file a claim, found by its name, `q12_top_k_top_p.py`.

    @experiment(question=12, claim="...", rule=Rule(...))
    def candidates(steps: Count = scaled(400, 20_000), ...) -> Observation:

Listing them reads the files as text: no experiment is imported, and so no torch.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

from pydantic import Field, create_model

from lmworks.basics.config import Config, overrides
from lmworks.basics.errors import ConfigError
from lmworks.lab.finding import Observation, Rule

FOLDER = Path(__file__).parent / "experiments"
Scale = Literal["quick", "full"]
SCALES: tuple[Scale, Scale] = ("quick", "full")

Count = Annotated[int, Field(ge=1)]
"""A parameter that counts something."""
Several = Annotated[int, Field(ge=2)]
"""A parameter that must be at least two."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Scaled:
    """A default that depends on the scale."""

    quick: Any
    full: Any


def scaled(quick: Value, full: Value) -> Value:
    """A parameter's default: one value for a run under two minutes, one for the figures of the handbook."""
    return cast(Value, Scaled(quick, full))


@dataclass(frozen=True)
class Experiment:
    """A claim, the rule that judges it, and the function that measures."""

    question: int
    claim: str
    rule: Rule
    measure: Callable[..., Observation]

    def settings(self, scale: Scale, assignments: Sequence[str] = ()) -> dict[str, Any]:
        """The parameters of a run: defaults of the scale, then `name=value` for each that differs.

        Raises ConfigError for an unknown scale, an unknown name or a value of the wrong kind.
        """
        require_scale(scale)
        hints = get_type_hints(self.measure, include_extras=True)
        fields = {
            name: (
                hints[name],
                getattr(parameter.default, scale) if isinstance(parameter.default, Scaled) else parameter.default,
            )
            for name, parameter in inspect.signature(self.measure).parameters.items()
        }
        model = create_model(f"q{self.question:02d}", __base__=Config, **cast(Mapping[str, Any], fields))
        values = model(**overrides(assignments))
        return {name: getattr(values, name) for name in fields}


def require_scale(scale: str) -> Scale:
    """The scale of that name; ConfigError where there is none."""
    for one in SCALES:
        if one == scale:
            return one
    raise ConfigError(f"{scale!r} is not a scale; there are {' and '.join(SCALES)}")


def experiment(*, question: int, claim: str, rule: Rule) -> Callable[[Callable[..., Observation]], Experiment]:
    """Declare a function as the experiment of a claim. Question and claim are written as plain literals."""
    return lambda function: Experiment(question, claim, rule, function)


@dataclass(frozen=True)
class Listing:
    """What is known of an experiment without importing it."""

    question: int
    name: str
    """`top k top p`: the file's name in words."""
    claim: str
    module: str


def experiments() -> dict[int, Listing]:
    """Every experiment by its number, in order."""
    found = (_listing(path) for path in sorted(FOLDER.glob("q[0-9][0-9]_*.py")))
    return {listing.question: listing for listing in found}


def load(question: int) -> Experiment:
    """Import the experiment of a question; ConfigError if there is none."""
    known = experiments()
    if question not in known:
        raise ConfigError(f"there is no experiment {question} yet; there are {', '.join(map(str, known))}")
    module = importlib.import_module(known[question].module)
    return next(value for value in vars(module).values() if isinstance(value, Experiment))


def _listing(path: Path) -> Listing:
    number, name = cast(re.Match[str], re.fullmatch(r"q(\d\d)_(\w+)", path.stem)).groups()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "experiment":
            literals: dict[str | None, object] = {
                word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)
            }
            claim = literals.get("claim")
            if literals.get("question") == int(number) and isinstance(claim, str):
                return Listing(int(number), name.replace("_", " "), claim, f"{__package__}.experiments.{path.stem}")
    raise ConfigError(
        f'{path.name} declares no @experiment(question={int(number)}, claim="..."); write both as literals'
    )

"""Experiment: a claim, its parts, and the function that measures.

@experiment(5, claim="Beam search ...", parts=(Part("translates better", BLEU, BEAM[4] - BEAM[1], above=0),), ...)
def beam_search(run: Run, pairs: Several = scaled(3000, 29_000)) -> None:
    for seed in run.seeds:
        run.log(seed, BEAM[4], {BLEU: counts}, items=names)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_type_hints

from pydantic import create_model

from lmworks.basics.config import Config, overrides
from lmworks.basics.errors import ConfigError
from lmworks.lab.metric import Metric
from lmworks.lab.parts import FULL_LOOKS, QUICK_LOOKS, Looks, Part, Requirement
from lmworks.lab.pictures import Picture
from lmworks.lab.scale import Scale, Scaled, require_scale

PILOTS = 1000
"""Seeds from here on are for pilots and never count."""
FRESH = 100
"""The first counted seed, unless an experiment names another: those below were seen by earlier rules."""


@dataclass(frozen=True)
class Experiment:
    """A claim with its parts, and the function that measures."""

    question: int
    claim: str
    measure: Callable[..., None]
    """Takes a Run and the parameters, and logs."""
    parts: tuple[Part, ...]
    """What the claim says."""
    also: tuple[Part, ...] = ()
    """What goes beyond it: shown, and decides nothing."""
    requires: tuple[Requirement, ...] = ()
    """What has to be so before anything is compared."""
    picture: Picture | None = None
    headlines: Mapping[str, str] = field(default_factory=dict)
    """What was found in a plain sentence, by the verdicts for which it was written: {"yyn": "..."}."""
    not_true_when: str = ""
    not_tested: str = ""
    note: str = ""
    first_seed: int = FRESH
    minutes: float = 30.0
    """How long a run at full scale may take; it ends at the look that would pass it."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError(f"claim {self.question} has no parts; nothing could decide it")
        says = [one.says for one in (*self.parts, *self.also)]
        twice = sorted({one for one in says if says.count(one) > 1})
        if twice:
            raise ConfigError(f"claim {self.question}: two parts say {twice[0]!r}; each says something of its own")

    def looks(self, scale: Scale, seeds: int | None = None) -> Looks:
        """When parts are judged: once after `seeds`, where they are given; else as the scale says."""
        if seeds is not None:
            return Looks((seeds,), QUICK_LOOKS.alphas)
        return FULL_LOOKS if scale == "full" else QUICK_LOOKS

    def rules(self, looks: Looks) -> tuple[str, ...]:
        """Everything that decides, in lines that can be compared with those of another day."""
        return (
            *(_ruled("part", one) for one in self.parts),
            *(_ruled("also", one) for one in self.also),
            *(f"requires: {one.rule}" for one in self.requires),
            f"looks after {', '.join(map(str, looks.after))} seeds from {self.first_seed}, one-sided "
            f"{', '.join(map(str, looks.alphas))}",
        )

    def metrics(self) -> dict[str, Metric]:
        """Every metric of the experiment's module, by its name."""
        module = vars(sys.modules[self.measure.__module__])
        known = [one for value in module.values() for one in _metrics_in(value)]
        return {one.name: one for one in known}

    def parameters(self, scale: Scale) -> type[Config]:
        """What can be set of a run, with the defaults of the scale."""
        return parameters_of(self.question, self.measure, scale)

    def settings(self, scale: Scale, assignments: Sequence[str] = ()) -> dict[str, Any]:
        """The parameters of a run: defaults of the scale, then `name=value` for each that differs.

        Raises ConfigError for an unknown scale, an unknown name or a value of the wrong kind.
        """
        return settings_of(self.question, self.measure, scale, assignments)


def parameters_of(question: int, measure: Callable[..., Any], scale: Scale) -> type[Config]:
    """The parameters of a measuring function as settings with their defaults at a scale, its `run` left out."""
    require_scale(scale)
    hints = get_type_hints(measure, include_extras=True)
    fields = {
        name: (
            hints[name],
            getattr(parameter.default, scale) if isinstance(parameter.default, Scaled) else parameter.default,
        )
        for name, parameter in inspect.signature(measure).parameters.items()
        if name != "run"
    }
    return create_model(f"q{question:02d}", __base__=Config, **cast(Mapping[str, Any], fields))


def settings_of(
    question: int, measure: Callable[..., Any], scale: Scale, assignments: Sequence[str] = ()
) -> dict[str, Any]:
    """The values of those parameters, with what is assigned."""
    model = parameters_of(question, measure, scale)
    values = model(**overrides(assignments))
    return {name: getattr(values, name) for name in model.model_fields}


def experiment(question: int, *, claim: str, **declared: Any) -> Callable[[Callable[..., None]], Experiment]:
    """Declare a function as the experiment of a claim; see Experiment for what can be said of it.

    Question and claim are written as plain literals, so that listing them imports nothing.
    """
    return lambda measure: Experiment(question, claim, measure, **declared)


def _ruled(kind: str, part: Part) -> str:
    return f"{kind}: {part.rule}" + "".join(f"; needs {one.rule}" for one in part.needs)


def _metrics_in(value: object) -> list[Metric]:
    if isinstance(value, Metric):
        return [value]
    if isinstance(value, Mapping):
        return [one for one in value.values() if isinstance(one, Metric)]
    if isinstance(value, (tuple, list)):
        return [one for one in value if isinstance(one, Metric)]
    return []

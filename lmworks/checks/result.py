"""What a check declares and returns, and the decorator that makes a check of a comparison.

@check("weights are finite", of="model")
def finite(model: LanguageModel) -> Outcome: ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.declared import declared
from lmworks.basics.errors import LmworksError

Status = Literal["ok", "FAILED", "not applicable"]
Numbers = Literal["own", "both", "float32"]
Parameters = ParamSpec("Parameters")
Subject = TypeVar("Subject")

TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 0.03, torch.bfloat16: 0.2}
"""How far two ways to the same logits may differ, as a share of the logits' mean length, by the type computed in.

Rounding alone gives up to 1e-5 (float32) and 0.09 (bfloat16) on SmolLM2's 30 layers; a cache that is off by one
token gives 0.8.
"""


@dataclass(frozen=True)
class Difference:
    """How far two things that should be equal differ."""

    what: str
    """Which two things."""
    value: float
    tolerance: float
    """The check fails above it; 0 where things are counted or must be equal to the bit."""
    unit: str
    where: str = ""
    """The place where they differ most, or first."""
    sentence: str = ""
    """What is wrong, where "`what` differ at `where`" would not say it plainly."""

    @property
    def within(self) -> bool:
        """Is it small enough? NaN is not."""
        return self.value <= self.tolerance

    def __str__(self) -> str:
        if not self.tolerance:
            return f"{self.value:g} {self.unit}"
        return f"{self.value:.2g} {self.unit} (at most {self.tolerance:g})"


@dataclass(frozen=True)
class Outcome:
    """What was compared, how far it differs, and what else is worth knowing."""

    compared: str
    differences: Sequence[Difference]
    note: str = ""


@dataclass(frozen=True)
class CheckResult:
    """One line of `lmworks check`."""

    name: str
    pitfalls: tuple[int, ...]
    """Numbers of the silent errors that it looks for."""
    compared: str
    status: Status
    differences: tuple[Difference, ...] = field(default=())
    detail: str = ""
    """Where the two differ, why it does not apply, or what else is worth knowing."""

    def worst(self) -> list[Difference]:
        """The difference nearest to (or farthest beyond) its tolerance, for each unit."""
        worst: dict[str, Difference] = {}
        for one in self.differences:
            if one.unit not in worst or _badness(one) > _badness(worst[one.unit]):
                worst[one.unit] = one
        return list(worst.values())

    def and_also(self, other: CheckResult) -> CheckResult:
        """The same check done in another number format, as one line."""
        status: Status = "FAILED" if "FAILED" in (self.status, other.status) else self.status
        chosen = other if other.status == "FAILED" and self.status != "FAILED" else self
        return CheckResult(
            self.name,
            self.pitfalls,
            self.compared or other.compared,
            status,
            self.differences + other.differences,
            chosen.detail,
        )

    def to_json(self) -> dict[str, Any]:
        """The facts of the line; a difference that is NaN becomes null."""
        differences = [
            asdict(one) | {"value": one.value if one.value == one.value else None} for one in self.differences
        ]
        return asdict(self) | {"pitfalls": list(self.pitfalls), "differences": differences}


class NotApplicableError(Exception):
    """The model has nothing that this check could look at; the text says why."""


@dataclass(frozen=True)
class Check(Generic[Subject, Parameters]):
    """A check as its file declares it. Called with its subject it says what came out; it runs without gradients."""

    name: str
    pitfalls: tuple[int, ...]
    """Numbers of the silent errors that it looks for."""
    of: tuple[str, ...]
    """What `lmworks check` looks at with it: names of `run.SUBJECTS`. None for a check that others call."""
    compare: Callable[Concatenate[Subject, Parameters], Outcome]
    numbers: Numbers = "own"
    """In which number format a model is checked: its own; both, its own and float32 where that is cheap; or float32."""
    writes: bool = False
    """Only of a model that writes: an encoder has nothing to look at."""
    continues: bool = False
    """Only of a model that continues what it reads: an encoder-decoder has nothing to look at either."""

    def __call__(self, subject: Subject, *args: Parameters.args, **kwargs: Parameters.kwargs) -> CheckResult:
        """Compare. An LmworksError of the library is the check's failure: its sentence says what is wrong."""
        try:
            self._must_apply(subject)
            with torch.no_grad():
                outcome = self.compare(subject, *args, **kwargs)
        except NotApplicableError as why:
            return CheckResult(self.name, self.pitfalls, "", "not applicable", detail=str(why))
        except LmworksError as error:
            compared = (self.compare.__doc__ or "").partition("\n")[0]
            return CheckResult(self.name, self.pitfalls, compared, "FAILED", detail=str(error))
        failed = [one for one in outcome.differences if not one.within]
        detail = _told(failed[0], outcome.note) if failed else outcome.note
        status: Status = "FAILED" if failed else "ok"
        return CheckResult(self.name, self.pitfalls, outcome.compared, status, tuple(outcome.differences), detail)

    def _must_apply(self, subject: Subject) -> None:
        arrangement = getattr(getattr(subject, "config", None), "arrangement", "decoder")
        if (self.writes or self.continues) and arrangement == "encoder":
            raise NotApplicableError("an encoder does not write text token by token")
        if self.continues and arrangement == "encoder-decoder":
            raise NotApplicableError("an encoder-decoder writes a target for a source and does not continue a text")


def check(
    name: str,
    *pitfalls: int,
    of: str | tuple[str, ...] = (),
    numbers: Numbers = "own",
    writes: bool = False,
    continues: bool = False,
) -> Callable[[Callable[Concatenate[Subject, Parameters], Outcome]], Check[Subject, Parameters]]:
    """Declare a function that compares as a check: its name, the silent errors' numbers, and what it is a check of.

    The fields of Check say what the others mean.
    """
    subjects = (of,) if isinstance(of, str) else of
    return lambda compare: Check(name, pitfalls, subjects, compare, numbers, writes, continues)


def checks_of(subject: str) -> list[Check[Any, []]]:
    """Every declared check of a subject: those without a number first, then by the numbers of the silent errors."""
    found = [one for one in declared("lmworks.checks", Check).values() if subject in one.of]
    return sorted(found, key=lambda one: one.pitfalls[:1])


def logits_apart(
    what: str, got: Float[Tensor, "*batch vocab"], expected: Float[Tensor, "*batch vocab"], dtype: torch.dtype
) -> Difference:
    """The largest distance between two logit vectors, as a share of the expected ones' mean length."""
    got, expected = got.float(), expected.float()
    distance = ((got - expected).norm(dim=-1) / expected.norm(dim=-1).mean().clamp_min(1e-9)).flatten()
    worst = int(distance.argmax())  # NaN counts as the largest
    return Difference(
        what,
        float(distance[worst]),
        TOLERANCES.get(dtype, 1e-4),
        f"of the logits, {type_name(dtype)}",
        f"token {worst}",
    )


def ids_apart(what: str, got: Sequence[int], expected: Sequence[int]) -> Difference:
    """How many places of two token sequences differ, and the first of them; where one ends early, too."""
    pairs = [(one, other) for one, other in zip(got, expected, strict=False)]
    first = next((place for place, (one, other) in enumerate(pairs) if one != other), len(pairs))
    count = sum(one != other for one, other in pairs) + abs(len(got) - len(expected))
    here, there = (str(ids[first]) if first < len(ids) else "the end" for ids in (got, expected))
    return Difference(what, count, 0, "tokens", f"token {first}: {here} against {there}" if count else "")


def type_name(dtype: torch.dtype) -> str:
    """float32, bfloat16, ..."""
    return str(dtype).removeprefix("torch.")


def _told(failed: Difference, note: str) -> str:
    """What is wrong in words; the note too, unless the place says more."""
    if failed.where and not failed.sentence:
        return f"{failed.what} differ at {failed.where}"
    return (failed.sentence or f"{failed.what} differ") + (f"; {note}" if note else "")


def _badness(one: Difference) -> float:
    """How far beyond the tolerance; NaN is farthest."""
    if one.value != one.value:
        return float("inf")
    return one.value / one.tolerance if one.tolerance else one.value * 1e9

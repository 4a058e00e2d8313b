"""Finding: what was found of a claim, part by part, with everything that is needed to judge it again or run it again.

finding.headline        "Better translations; worse stories."
finding.count           "2 of 3 parts hold, 1 fails"
finding.parts[0].figure
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.chart import Chart
from lmworks.lab.verdict import FAILS, HOLDS, OPEN, SAME, UNTESTED, PartResult, Verdict

VERSION = 2
"""Of the file; 1 is what lmworks wrote while a rule gave one verdict."""
WORDS = {
    FAILS: ("fails", "fail"),
    SAME: ("shows no difference", "show no difference"),
    OPEN: ("open", "open"),
    UNTESTED: ("not tested", "not tested"),
}
LETTERS = {HOLDS: "y", FAILS: "n", SAME: "=", OPEN: "?", UNTESTED: "-"}


class RequirementResult(Config):
    """A condition of the comparison, and whether it was met."""

    says: str
    """What has to be so."""

    rule: str
    """The figure and its bound."""

    value: float
    """The mean over all seeds."""

    passed: bool
    """Whether it lies as it should."""


class Finding(Config):
    """What was found of a claim. One JSON file holds one; what was logged lies compressed beside it."""

    version: int = VERSION
    """The file's format."""

    question: int
    """The claim's number among the fifty."""

    claim: str
    """What people say."""

    headline: str
    """What was found, in a plain sentence."""

    parts: tuple[PartResult, ...]
    """What the claim says, one by one."""

    also: tuple[PartResult, ...] = ()
    """What was measured besides; it decides nothing."""

    requirements: tuple[RequirementResult, ...] = ()
    """Conditions of the comparisons."""

    measurements: tuple[Measurement, ...] = ()
    """Every figure by condition, with its 95 % interval."""

    by_seed: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    """Metric, condition and seed to the figure of that seed; "all" where nothing is random."""

    chart: Chart | None = None
    """The picture that shows it."""

    not_true_when: str = ""
    """Where what holds here is known not to."""

    not_tested: str = ""
    """What the claim says and this experiment does not measure."""

    note: str = ""
    """How it was measured, with sources and corrections of the claim."""

    recipe: dict[str, Any]
    """The parameters that ran."""

    scale: str
    """quick or full."""

    seeds: tuple[int, ...] = ()
    """The seeds that were counted."""

    rules: tuple[str, ...] = ()
    """Parts, checks, looks and seeds as they were fixed before the run."""

    declared: str | None = None
    """The last commit that changed the experiment's file before the run; None outside a repository or with changes."""

    commit: str | None = None
    """The commit of lmworks that ran; "+changes" where files differed from it."""

    stopped: str = ""
    """Why it ended before its parts were decided."""

    machines: tuple[dict[str, Any], ...]
    """processor, cores, memory, versions of each machine that ran a part of it."""

    started: str
    """When, UTC."""

    seconds: float
    """How long all of it took."""

    items: str = ""
    """SHA-256 of the log beside it; empty where none was written."""

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if not self.parts:
            raise ConfigError("{at}parts is empty; a claim that nothing can decide is none")
        return self

    @property
    def count(self) -> str:
        """ "3 of 4 parts hold, 1 open"."""
        return counted([one.verdict for one in self.parts])

    @property
    def letters(self) -> str:
        """A letter for each part's verdict: y holds, n fails, = no difference, ? open, - not tested."""
        return "".join(LETTERS[one.verdict] for one in self.parts)


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many parts hold, and what is said of the others."""
    n, holds = len(verdicts), sum(one == HOLDS for one in verdicts)
    if holds == n:
        return "holds" if n == 1 else f"all {n} parts hold"
    if n == 1:
        return WORDS[verdicts[0]][0]
    others = Counter(one for one in verdicts if one != HOLDS)
    rest = ", ".join(f"{others[one]} {WORDS[one][others[one] > 1]}" for one in WORDS if one in others)
    of = f"{holds} of {n} parts" if holds else f"none of the {n} parts"
    return f"{of} {'hold' if holds > 1 else 'holds'}, {rest}"


def sentence(parts: Sequence[PartResult]) -> str:
    """A headline that is made of the parts themselves, where nobody wrote one for these verdicts."""
    said = {HOLDS: "Yes", FAILS: "No", SAME: "No difference", OPEN: "Open", UNTESTED: "Not tested"}
    groups = {word: [one.says for one in parts if one.verdict == verdict] for verdict, word in said.items()}
    return " ".join(f"{word}: {'; '.join(says)}." for word, says in groups.items() if says)

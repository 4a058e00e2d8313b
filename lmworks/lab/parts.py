"""The parts of a claim: what each says, the figure that decides it, and its verdict.

    Part("translates better", BLEU, BEAMS - GREEDY, above=0)

    holds                              the whole interval lies on the side that the claim names
    fails                              it lies on the other
    no difference above the margin     it lies within the metric's margin around no difference
    open                               none of these: more seeds or items would be needed
    not tested                         what it requires is not so, or a value stands at the edge of the scale

Parts are judged at looks: after 4, 8 and 16 seeds, at one-sided levels that sum to 0.025, so that all looks together
err in at most 5 % of parts. A part that is decided stays so. Parts without anything random are judged once.
Sources: Lakens 2017 (equivalence); group sequential designs: docs/lab.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.contrast import Contrast
from lmworks.lab.intervals import EXACT, ITEMS, estimate
from lmworks.lab.metric import Metric
from lmworks.lab.table import Table
from lmworks.lab.verdict import DECIDED, FAILS, HOLDS, OPEN, SAME, UNTESTED, PartResult, Verdict

ALPHA = 0.025
"""One-sided error of all looks together."""


@dataclass(frozen=True)
class Looks:
    """After how many seeds parts are judged, and at which one-sided level each time."""

    after: tuple[int, ...]
    alphas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.after) != len(self.alphas) or list(self.after) != sorted(set(self.after)) or self.after[0] < 2:
            raise ConfigError(f"looks after {self.after} seeds with levels {self.alphas}; give as many, growing from 2")
        if sum(self.alphas) > ALPHA + 1e-12:
            raise ConfigError(f"the looks' levels sum to {sum(self.alphas):g}; at most {ALPHA} keeps 95 %")


FULL_LOOKS = Looks((4, 8, 16), (0.005, 0.008, 0.012))
QUICK_LOOKS = Looks((4,), (ALPHA,))


@dataclass(frozen=True)
class Bound:
    """A figure and the side of a bound on which it has to lie: exactly one of above, below, between."""

    says: str
    metric: Metric
    contrast: Contrast
    above: float | None = None
    below: float | None = None
    between: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.above, self.below, self.between)) != 1:
            raise ConfigError(f"{self.says!r}: give one of above, below and between")

    def side(self, low: float, high: float) -> bool | None:
        """True where all of low ... high lies as it should, False where none of it does."""
        if self.between is not None:
            least, most = self.between
            return True if least <= low and high <= most else False if high < least or low > most else None
        if self.above is not None:
            return True if low > self.above else False if high < self.above or low == high else None
        assert self.below is not None
        return True if high < self.below else False if low > self.below or low == high else None

    @property
    def rule(self) -> str:
        """The comparison in symbols: "BLEU, 4 beams minus greedy > 0"."""
        about = f"{self.metric.name}, {self.contrast}"
        if self.between is not None:
            return f"{about} between {self.between[0]:g} and {self.between[1]:g}"
        return (
            f"{about} {'>' if self.above is not None else '<'} {self.above if self.above is not None else self.below:g}"
        )


@dataclass(frozen=True)
class Requirement(Bound):
    """A condition without which a comparison means nothing: the objective was learnt, the baseline beats its floor.

    Judged by the mean; where it fails, the parts that need it are not tested.
    """


@dataclass(frozen=True)
class Part(Bound):
    """One thing that a claim says."""

    margin: float | None = None
    """The smallest difference worth a word, if not the metric's own; of a ratio, as a share (0.05)."""

    otherwise: str = ""
    """What is true instead where it does not hold, in plain words."""

    opposite: str = ""
    """What is true where the whole interval lies on the other side: of a part that asks which of two is better, whose
    three answers are worth the same (better, worse, no difference)."""

    needs: tuple[Requirement, ...] = ()
    """What this part requires, besides what the whole experiment does."""

    @property
    def same(self) -> tuple[float, float] | None:
        """The interval within which there is no difference worth a word; None where there is no such thing."""
        if self.contrast.single or self.between is not None:
            return None
        bound = self.above if self.above is not None else self.below
        if self.contrast.ratio:
            size = self.margin or 0.0
            return (1 / (1 + size), 1 + size) if size and bound == 1 else None
        size = self.metric.margin if self.margin is None else self.margin
        return (-size, size) if size and bound == 0 else None

    def verdict(self, low: float, high: float) -> Verdict:
        """What an interval says."""
        if self.same is not None and self.same[0] < low and high < self.same[1]:
            return SAME
        side = self.side(low, high)
        return OPEN if side is None else HOLDS if side else FAILS

    @property
    def rule(self) -> str:
        """The comparison, with the margin."""
        if self.same is None:
            return super().rule
        size = f"{self.same[1] - 1:.0%}" if self.contrast.ratio else f"{self.same[1]:g} {self.metric.unit}".rstrip()
        return f"{super().rule}, margin {size}"


def judge(
    parts: Sequence[Part], required: Sequence[Requirement], table: Table, looks: Looks, done: Sequence[int]
) -> list[PartResult]:
    """Judge each part at every look that the finished seeds reach, in their order; the first that decides counts."""
    return [_judged(part, (*required, *part.needs), table, looks, done) for part in parts]


def open_parts(results: Iterable[PartResult]) -> bool:
    """Whether more seeds could decide something."""
    return any(one.verdict == OPEN and one.design not in (ITEMS, EXACT) for one in results)


def _judged(part: Part, required: Sequence[Requirement], table: Table, looks: Looks, done: Sequence[int]) -> PartResult:
    result = PartResult(says=part.says, verdict=OPEN, rule=part.rule, otherwise=part.otherwise)
    if table.is_fixed(part.metric.name, part.contrast.conditions):
        return _at_look(part, required, table, (), ALPHA, result)
    for number, alpha in zip(looks.after, looks.alphas, strict=True):
        if len(done) < number:
            break
        result = _at_look(part, required, table, done[:number], alpha, result)
        if result.verdict in DECIDED:
            return result
    if result.figure is None and result.verdict == OPEN:
        why = f"{len(done)} seeds were run, and it is judged after {looks.after[0]}"
        return result.but(why=why, figure=_figure(part, table, done, ALPHA)[0] if done else None)
    return result


def _at_look(
    part: Part, required: Sequence[Requirement], table: Table, seeds: Sequence[int], alpha: float, result: PartResult
) -> PartResult:
    figure, design = _figure(part, table, seeds, alpha)
    result = result.but(figure=figure, design=design)
    missed = [one for one in required if not _passed(one, table, seeds)]
    if missed:
        return result.but(verdict=UNTESTED, why=f"not so: {missed[0].says} ({missed[0].rule})")
    names = part.contrast.conditions
    entries = [table.entry(part.metric.name, name, seed) for name in names for seed in (seeds or (None,))]
    clamped = sum(entry.clamped for entry in entries)
    if clamped:
        why = f"{clamped} of {len(entries)} values stand at the edge of what can be measured"
        return result.but(verdict=UNTESTED, why=why)
    if figure.interval is None and design != EXACT:
        return result.but(verdict=OPEN, why="one value has no interval")
    low, high = figure.interval or (figure.value, figure.value)
    verdict = part.verdict(low, high)
    return result.but(
        verdict=verdict, why={OPEN: "the interval holds the bound", FAILS: part.opposite}.get(verdict, "")
    )


def _figure(part: Part, table: Table, seeds: Sequence[int], alpha: float) -> tuple[Measurement, str]:
    found = estimate(table, part.metric, part.contrast, seeds, 1 - 2 * alpha)
    return found.measurement(f"{part.metric.name}, {part.contrast}", part.metric, part.contrast), found.design


def _passed(one: Requirement, table: Table, seeds: Sequence[int]) -> bool:
    known = seeds or table.seeds  # a requirement may be of seeds where the part is of none
    value = estimate(table, one.metric, one.contrast, known).value
    return bool(one.side(value, value))

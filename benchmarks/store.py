"""Stored runs, one JSON file each in benchmarks/results/: what the README's table and docs/benchmarks.md are made of.

A run holds every round of every program in every number format. Each program counts with its best format on that
machine; the ratio is how many times as fast ours is (of times and sizes: how many times as small).
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, Load, Machine, commit, this_machine, versions

RESULTS = ROOT / "benchmarks" / "results"
UNTIMED = ("nats",)
"""Units of what a busy machine changes nothing of."""


@dataclass(frozen=True)
class Timed:
    """What one program took for a work in one number format."""

    program: str
    rounds: list[float]
    """A value for every round, in the run's unit."""
    format: str = ""
    """Of numbers, and what else may be chosen: "bf16", "fp32 sdpa"."""
    facts: dict[str, float] = field(default_factory=dict)
    """What else it said, medians: `peak_mb`, `perplexity`, `cosine`, ..."""

    @property
    def name(self) -> str:
        """Program and format."""
        return f"{self.program} {self.format}".strip()

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Result:
    """A program's best format: its median, and how ours compares with it."""

    name: str
    value: float | None = None
    """None where an old record gives the ratio alone."""
    ratio: float | None = None
    """Of ours to it; None for ours."""
    peak_mb: float | None = None


@dataclass(frozen=True)
class Run:
    """One work, measured once on one machine."""

    work: str
    unit: str
    ours: Result
    peers: tuple[Result, ...]
    machine: Machine
    date: str
    """UTC, to the minute; old records have the day alone."""
    quiet: bool
    """Whether other programs took less than Load.QUIET of the machine."""
    rounds: dict[str, list[float]] = field(default_factory=dict)
    """Every round of everything that was timed; old records may lack it."""
    others: float | None = None
    """The share of the machine that they took."""
    facts: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    command: str = ""
    source: str | None = None
    """Where a record was carried over from by hand; None for a run that stored itself."""

    @property
    def counts(self) -> bool:
        """Is it for the tables: did it have the machine to itself, or do neighbours change nothing of its figures?"""
        return self.quiet or self.work.endswith("processor time") or self.unit in UNTIMED

    @classmethod
    def read(cls, path: Path) -> Run:
        """A stored run; what is wrong with the file is told with its name."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            said["ours"], said["peers"] = Result(**said["ours"]), tuple(Result(**one) for one in said["peers"])
            said["machine"] = Machine(**said["machine"] | {"features": tuple(said["machine"].get("features", ()))})
            return cls(**said)
        except (KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{path} is no stored run ({error}); remove it, or store it again") from error

    def write(self, folder: Path = RESULTS) -> Path:
        """Into a file that is named after the date and the work."""
        folder.mkdir(parents=True, exist_ok=True)
        stamp = re.sub(r"[^0-9T]", "", self.date)
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.machine.name} {self.work}".lower()).strip("-")
        path = folder / f"{stamp}-{words}.json"
        text = json.dumps(_without_blanks(asdict(self)), indent=1, ensure_ascii=False)
        # A list of numbers in one line reads better.
        text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
        path.write_text(text + "\n", encoding="utf-8")
        return path


def is_rate(unit: str) -> bool:
    """Whether more is better."""
    return "/s" in unit


def best_formats(unit: str, timed: Sequence[Timed]) -> list[Timed]:
    """Each program in the format in which it is best here, in the order of the programs."""
    best: dict[str, Timed] = {}
    for one in timed:
        other = best.get(one.program)
        if other is None or (one.value > other.value if is_rate(unit) else one.value < other.value):
            best[one.program] = one
    return list(best.values())


def results(unit: str, timed: Sequence[Timed]) -> tuple[Result, tuple[Result, ...]]:
    """Ours, which is the first program, and the peers."""
    ours, *peers = best_formats(unit, timed)

    def ratio(peer: Timed) -> float:
        return ours.value / peer.value if is_rate(unit) else peer.value / ours.value

    def result(one: Timed, ratio: float | None = None) -> Result:
        return Result(one.name, _rounded(one.value), ratio and _rounded(ratio), one.facts.get("peak_mb"))

    return result(ours), tuple(result(one, ratio(one)) for one in peers)


class Recorder:
    """Made before the first timing: prints what was measured, and stores it."""

    def __init__(self) -> None:
        self._machine, self._load, self._others = this_machine(), Load(), None
        self._asked = time.monotonic()
        print(self._machine.told, flush=True)

    def keep(self, work: str, unit: str, timed: Sequence[Timed]) -> Run:
        """Print a line for everything timed, and store the run."""
        others = self._share_of_others()
        ours, peers = results(unit, timed)
        run = Run(
            work,
            unit,
            ours,
            peers,
            rounds={one.name: [_rounded(value) for value in one.rounds] for one in timed},
            machine=self._machine,
            date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M"),
            quiet=others is not None and others < Load.QUIET,
            others=others,
            facts={one.name: one.facts for one in timed if one.facts},
            versions=versions(),
            commit=commit(),
            command=command(),
        )
        run.write()
        for line in lines(run):
            print(line, flush=True)
        return run

    def _share_of_others(self) -> float | None:
        """What other programs took since the last work; works that were timed together have one figure."""
        if time.monotonic() - self._asked > 0.1:
            others = self._load.others()
            self._others, self._asked = None if others is None else round(others, 3), time.monotonic()
        return self._others


def lines(run: Run) -> list[str]:
    """A run for the terminal."""
    ratios = {one.name: f"   ours {one.ratio:.2f} times" for one in run.peers if one.ratio is not None}
    made = []
    for name, values in run.rounds.items():
        facts = "".join(f"  {key} {value:,.6g}" for key, value in run.facts.get(name, {}).items())
        middle, least, most = (f"{one:,.4g}" for one in (statistics.median(values), min(values), max(values)))
        if run.unit in ("tokens/s", "texts/s"):
            middle, least, most = (f"{one:,.0f}" for one in (statistics.median(values), min(values), max(values)))
        made.append(
            f"{run.work:<28} {name:<26} {middle:>8} {run.unit} ({least} ... {most}){facts}{ratios.get(name, '')}"
        )
    load = "" if run.counts else f"; other programs took {run.others or 0:.0%} of the machine: not for the tables"
    return [*made, f"stored{load}"]


def add(path: Path, record: Any) -> None:
    """Append a record to those in a benchmark's file."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    path.write_text(json.dumps([*earlier, record], indent=2) + "\n", encoding="utf-8")


def stored(folder: Path = RESULTS) -> list[Run]:
    """All runs, oldest first."""
    return [Run.read(path) for path in sorted(folder.glob("*.json"))]


def _without_blanks(said: dict[str, Any]) -> dict[str, Any]:
    """The same without what is not known."""

    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            return _without_blanks(value)
        return [inside(one) for one in value] if isinstance(value, (list, tuple)) else value

    return {key: inside(value) for key, value in said.items() if value not in (None, {}, "")}


def _rounded(value: float) -> float:
    """Five digits are more than any timing is worth."""
    return float(f"{value:.5g}")


def command() -> str:
    """What was typed, as it can be typed again."""
    spec = sys.modules["__main__"].__spec__
    name = (spec.name if spec else Path(sys.argv[0]).stem).removesuffix(".__main__")
    return " ".join(["python -m", name, *(f'"{word}"' if " " in word else word for word in sys.argv[1:])])

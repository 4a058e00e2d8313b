"""Run an experiment: seeds and looks, a log that outlives a kill, and the finding that is judged from it.

    finding = run(5, "full", RunOptions(resume=True), out=Path("lab-results"))

The experiment's function asks for seeds and logs; everything else happens here. A seed counts when it is finished: what
a killed run logged of one that was not is dropped, and that seed is run again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmworks.basics.errors import ConfigError
from lmworks.basics.files import written_whole
from lmworks.lab import judging, provenance, registry, store
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import PILOTS, Experiment
from lmworks.lab.finding import Finding
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Looks, judge, open_parts
from lmworks.lab.scale import Scale
from lmworks.lab.table import FIXED, Seed, Table, read_lines, unpack, written

Tell = Callable[[str], None]
Write = Callable[[Mapping[str, Any]], None]


@dataclass
class Run:
    """What an experiment's function is given: the seeds to run, and where to log."""

    experiment: Experiment
    looks: Looks
    first_seed: int
    table: Table = field(default_factory=Table)
    done: list[Seed] = field(default_factory=list)
    """Finished seeds; FIXED once what is not random was measured."""
    write: Write = lambda line: None
    budget: float = float("inf")
    """Seconds after which no further look is begun."""
    spent: float = 0.0
    """Seconds of earlier parts of this run."""
    tell: Tell = lambda line: None
    stopped: str = ""
    """Why it ended with parts open."""
    reached: int = 0
    """Seeds of the last look; more may be finished, of a look that was broken off."""

    def __post_init__(self) -> None:
        self._clock = time.perf_counter()
        self._asked = False

    @property
    def seconds(self) -> float:
        """How long it has taken so far, earlier parts included."""
        return self.spent + time.perf_counter() - self._clock

    @property
    def counted(self) -> tuple[int, ...]:
        """The seeds that are judged, in order: those of the last look."""
        return tuple(range(self.first_seed, self.first_seed + self.reached))

    @property
    def seeds(self) -> Iterator[int]:
        """Each seed to be run, look by look, until every part is decided. To be asked for once."""
        if self._asked:
            raise ConfigError("run.seeds was asked for twice; do everything of a seed in one loop")
        self._asked = True
        return self._seeds()

    def _seeds(self) -> Iterator[int]:
        for number in self.looks.after:
            if self.reached and not self._goes_on(number):
                return
            for seed in range(self.first_seed, self.first_seed + number):
                if seed not in self.done:
                    yield seed
                    self._finish(seed)
            self.reached = number

    def once(self) -> Iterator[None]:
        """FIXED, one time, for what is the same whatever the seed: `for fixed in run.once(): run.log(fixed, ...)`."""
        if FIXED not in self.done:
            yield FIXED
            self._finish(FIXED)

    def log(
        self,
        seed: Seed,
        condition: Condition | str,
        values: Mapping[Metric, Any],
        items: Sequence[str] | None = None,
        clamped: bool = False,
    ) -> None:
        """Log metrics of a condition: a number, one for each item [items], or counts of each [items, counts].

        Name the `items` where every seed has the same, so that the interval speaks of other items, too. `clamped` says
        that a value stands at the edge of what can be measured, and decides nothing. ConfigError for NaN or infinity.
        """
        name = condition if isinstance(condition, str) else condition.name
        for metric, each in values.items():
            self.write(self.table.add(seed, name, metric.name, each, items, clamped))

    def _finish(self, seed: Seed) -> None:
        self.done.append(seed)
        self.write({"done": seed, "seconds": round(self.seconds, 1)})

    def _goes_on(self, number: int) -> bool:
        """Whether another look is needed and can be paid for."""
        results = judge(self.experiment.parts, self.experiment.requires, self.table, self.looks, self.counted)
        undecided = sum(one.verdict == "open" for one in results)
        self.tell(f"after {self.reached} seeds: {undecided} of {len(results)} parts open")
        if not open_parts(results):
            return False
        finished = sum(seed is not FIXED for seed in self.done)
        expected = self.seconds / finished * (number - finished)
        if self.seconds + expected > self.budget:
            self.stopped = f"{number} seeds would have taken more than the {self.budget / 60:g} minutes of this run"
            return False
        return True


@dataclass(frozen=True)
class RunOptions:
    """How a claim is to be run."""

    changes: Sequence[str] = ()
    """`name=value` for each parameter that differs from the scale's defaults."""
    resume: bool = False
    """Go on with a run that was stopped."""
    seeds: int | None = None
    """Judge once, after as many."""
    minutes: float | None = None
    """Begin no further look that would end later; None for the experiment's own limit."""
    pilot: bool = False
    """Take seeds that never count."""

    def written(self) -> list[str]:
        """As options of the command line."""
        return [
            *(part for one in self.changes for part in ("--set", one)),
            *(["--resume"] if self.resume else []),
            *(["--seeds", str(self.seeds)] if self.seeds is not None else []),
            *(["--minutes", str(self.minutes)] if self.minutes is not None else []),
            *(["--pilot"] if self.pilot else []),
        ]


def run(
    question: int,
    scale: Scale = "quick",
    options: RunOptions = RunOptions(),
    *,
    out: Path | None = None,
    finished: Path | None = None,
    tell: Tell = lambda line: None,
) -> Finding:
    """Run the experiment of a question with its defaults of that scale.

    `out` keeps the log while it runs. What resuming goes on with is a log there, or a finding in the folder `finished`
    that ended before its parts were decided. Raises ConfigError for an unknown question, scale or parameter; what the
    data or the model lacks is their own error.
    """
    chosen = registry.load(question)
    log = out and log_path(out, question, scale)
    if log and options.resume and finished and not log.is_file():
        recipe, looks = chosen.settings(scale, options.changes), chosen.looks(scale, options.seeds)
        earlier = store.same(chosen, looks, recipe, scale, finished)
        if earlier is not None and earlier.stopped:
            _reopen(store.items_of(finished, question, scale), log)
    return run_experiment(chosen, scale, options, log, tell)


def run_experiment(
    chosen: Experiment, scale: Scale, options: RunOptions, log: Path | None = None, tell: Tell = lambda line: None
) -> Finding:
    """Run an experiment, its lines logged to a file if one is given, and judge it."""
    recipe = chosen.settings(scale, options.changes)
    looks = chosen.looks(scale, options.seeds)
    limit = chosen.minutes if options.minutes is None else options.minutes
    one = Run(chosen, looks, PILOTS if options.pilot else chosen.first_seed, budget=60 * limit, tell=tell)
    head = {
        "question": chosen.question,
        "scale": scale,
        "recipe": json.loads(json.dumps(recipe)),
        "rules": list(chosen.rules(looks)),
        "first_seed": one.first_seed,
        "looks": {"after": list(looks.after), "alphas": list(looks.alphas)},
        "commit": provenance.commit(),
        "declared": provenance.declared(chosen.question),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": provenance.machine(),
    }
    with _logged(log, one, head, options.resume) as heads:
        chosen.measure(one, **recipe)
        return judging.finding_of(chosen, one.table, looks, one.counted, heads, recipe, one.seconds, one.stopped)


def run_and_keep(
    question: int, scale: Scale, options: RunOptions, out: Path, *, ship: bool = False, tell: Tell = lambda line: None
) -> tuple[Finding, list[Path]]:
    """Run, and write finding, log and picture; returns the finding and its files."""
    finding = run(question, scale, options, out=out, finished=_results(out, ship), tell=tell)
    log = log_path(out, question, scale)
    return store.keep(finding, out, log if log.is_file() else None, ship=ship)


def kept(question: int, scale: Scale, options: RunOptions, out: Path, *, ship: bool = False) -> Finding | None:
    """Where a run is resumed: the earlier result of the same, if it was run to its end."""
    chosen = registry.load(question)
    if not options.resume:
        return None
    recipe, looks = chosen.settings(scale, options.changes), chosen.looks(scale, options.seeds)
    earlier = store.same(chosen, looks, recipe, scale, _results(out, ship))
    return None if earlier is None or earlier.stopped else earlier


def _results(out: Path, ship: bool) -> Path:
    return store.SHIPPED if ship else out


def log_path(folder: Path, question: int, scale: str) -> Path:
    """Where a run keeps what it has logged so far."""
    return folder / f"q{question:02d}.{scale}.log.jsonl"


@contextlib.contextmanager
def _logged(path: Path | None, one: Run, head: dict[str, Any], resume: bool) -> Iterator[list[dict[str, Any]]]:
    """Write the run's lines to a file as they come; yields the heads of all parts of the run, this one last."""
    if path is None:
        yield [head]
        return
    heads = _earlier(path, one, head) if resume and path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    if not heads:
        path.write_text("", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:

        def write(line: Mapping[str, Any]) -> None:
            file.write(written(line) + "\n")
            file.flush()

        write({"head": head})
        one.write = write
        yield [*heads, head]


def _reopen(items: Path, log: Path) -> None:
    """Take the packed log of a finished run as the log of one that goes on."""
    if items.is_file():
        log.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(log) as temporary:
            temporary.write_text("".join(f"{written(line)}\n" for line in unpack(items)), encoding="utf-8")


SAME_IN_BOTH = ("question", "scale", "recipe", "rules", "first_seed")


def _earlier(path: Path, one: Run, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take over what an earlier part of the run finished, and cut off the rest of its log; its heads."""
    heads: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    size = kept_size = 0
    for line, length in read_lines(path):
        size += length
        if "head" in line:
            differs = [name for name in SAME_IN_BOTH if line["head"].get(name) != head[name]]
            if differs:
                raise ConfigError(
                    f"{path} was begun otherwise ({', '.join(differs)} differ); run without --resume to begin anew"
                )
            heads.append(line["head"])
            pending, kept_size = [], size
        elif "done" in line:
            one.done.append(line["done"])
            one.spent = float(line["seconds"])
            kept += pending
            pending, kept_size = [], size
        else:
            pending.append(line)
    one.table.read(kept)
    with path.open("r+b") as file:
        file.truncate(kept_size)
    return heads

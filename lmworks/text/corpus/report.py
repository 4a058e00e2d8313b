"""What each step of a corpus dropped, and why, with samples; what is left; what both sides of the split share.

All figures are read from the files of the stages, so that a run that was stopped and resumed reports the same as one
that was not.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.text.corpus.recipe import CorpusRecipe
from lmworks.text.corpus.stages import DROPPING, clusters_of
from lmworks.text.corpus.steps import held_out
from lmworks.text.formats.format import formats_named

_SAMPLES = 5  # of each step
_SHOWN = 300  # characters of a sample


@dataclass(frozen=True)
class DroppedSample:
    """A document that was dropped."""

    source: str
    reason: str
    text: str
    """Its first characters."""
    like: str = ""
    """For a near duplicate: the source of the document that was kept in its stead."""


@dataclass(frozen=True)
class StepReport:
    """What one step did."""

    name: str
    documents: int
    """That it was given."""
    dropped: int
    reasons: dict[str, int]
    """How many documents were dropped for which reason, the most frequent first."""
    changed: dict[str, int]
    """How many documents were changed, and how."""
    samples: list[DroppedSample] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """Training or held-out text."""

    documents: int
    characters: int
    bytes: int


@dataclass(frozen=True)
class Shared:
    """The held-out text's runs of words that occur in the training text, letter case aside."""

    n: int
    """Words in a run."""
    runs: int
    found: int
    worst: list[dict[str, Any]]
    """The held-out documents that share most: source, runs, found."""

    @property
    def share(self) -> float:
        """0 to 1; 0 where there are no runs."""
        return self.found / max(self.runs, 1)


@dataclass(frozen=True)
class CorpusReport:
    """Everything that `corpus.json` says."""

    recipe: dict[str, Any]
    documents: int
    """That the sources hold."""
    characters: int
    cut: dict[str, int]
    """Documents that were too long, and the parts that they were cut into."""
    blank: int
    """Records without any text."""
    skipped: list[dict[str, str]]
    """Files that could not be read, or not whole: source, path, reason."""
    steps: list[StepReport]
    train: Side
    held_out: Side
    overlap: Shared
    counterparts: int = 0
    """Training documents that are counterparts of others, with words swapped."""
    folder: str = ""

    def at(self, folder: Path) -> CorpusReport:
        """The same, with the place of the result."""
        return replace(self, folder=str(folder))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        facts = asdict(self)
        facts["overlap"]["share"] = self.overlap.share
        return facts


def of(work: Path, recipe: CorpusRecipe) -> CorpusReport:
    """The report of a work folder whose stages are all done."""
    counts = _counts(work)
    read = counts["read"]
    return CorpusReport(
        recipe=recipe.model_dump(mode="json"),
        documents=read["documents"],
        characters=read["characters"],
        cut={"documents": read["cut"], "parts": read["cut_parts"]},
        blank=read["blank"],
        skipped=_skipped(work),
        steps=[_step(name, counts[name], work) for name in DROPPING if name in counts],
        train=_side(counts["split"], "train"),
        held_out=_side(counts["split"], "held_out"),
        overlap=_overlap(work, recipe),
        counterparts=counts["split"]["counterparts"],
    )


def refuse_nothing(work: Path, recipe: CorpusRecipe) -> None:
    """DataError where nothing was read, or where the filters left no document, with what they dropped most."""
    counts = _counts(work)
    steps = [_step(name, counts[name], work) for name in DROPPING if name in counts]
    if not steps or steps[-1].documents > steps[-1].dropped:
        return
    skipped = _skipped(work)
    if not counts["read"]["documents"]:
        named = "; ".join(f"{one['path']}: {one['reason']}" for one in skipped[:5])
        shutil.rmtree(work)  # there is nothing in it to look at, or to go on from
        raise DataError(
            f"there is no text in the source{'s' * (len(recipe.sources) > 1)} {', '.join(recipe.sources)}; "
            f"it may be in {formats_named()}" + (f". Skipped: {named}" if named else "")
        )
    told = ", ".join(
        f"{step.name} dropped {step.dropped:,} (most: {next(iter(step.reasons), 'no reason given')})"
        for step in steps
        if step.dropped
    )
    raise DataError(
        f"nothing is left of {counts['read']['documents']:,} documents: {told}; loosen these settings, or switch a "
        f"filter off, for example --set {steps[-1].name}.enabled=false ({work / 'dropped'} holds what was dropped)"
    )


def _counts(work: Path) -> dict[str, Counter[str]]:
    """What each step counted, over all tasks."""
    found: dict[str, Counter[str]] = {}
    for path in sorted((work / "logs").glob("*/stats/*.json")):
        for step in json.loads(path.read_text(encoding="utf-8")):
            totals = {
                name: value["total"] if isinstance(value, dict) else value for name, value in step["stats"].items()
            }
            found.setdefault(step["name"].rpartition(": ")[2], Counter()).update(totals)
    return found


def _step(name: str, counts: Counter[str], work: Path) -> StepReport:
    reasons = {key.removeprefix("dropped_"): count for key, count in counts.most_common() if key.startswith("dropped_")}
    changed = {key.removeprefix("changed_"): count for key, count in counts.most_common() if key.startswith("changed_")}
    if counts["changed"]:
        changed = {"documents": counts["changed"]} | changed
    return StepReport(name, counts["total"], counts["dropped"], reasons, changed, _samples(work, name))


def _side(counts: Counter[str], name: str) -> Side:
    return Side(counts[f"{name}_documents"], counts[f"{name}_characters"], counts[f"{name}_bytes"])


def _skipped(work: Path) -> list[dict[str, str]]:
    files = sorted((work / "skipped").glob("*.json"))
    return [one for path in files for one in json.loads(path.read_text(encoding="utf-8"))]


def _samples(work: Path, name: str) -> list[DroppedSample]:
    """A few dropped documents: of each reason one first."""
    first: dict[str, dict[str, Any]] = {}
    more: list[dict[str, Any]] = []
    for record in itertools.islice(_dropped(work, name), 1000):
        reason = record["metadata"].get("filter_reason", "")
        if reason not in first:
            first[reason] = record
        elif len(more) < _SAMPLES:
            more.append(record)
    chosen = [*first.values(), *more][:_SAMPLES]
    clusters = {record["metadata"].get("minhash_cluster_id") for record in chosen} - {None}
    kept = _kept(work, clusters) if clusters else {}
    return [
        DroppedSample(
            record["metadata"]["source"],
            record["metadata"].get("filter_reason", f"{name} duplicate"),
            record.get("text", "")[:_SHOWN],  # datatrove leaves empty values out
            kept.get(record["metadata"].get("minhash_cluster_id"), ""),
        )
        for record in chosen
    ]


def _dropped(work: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in sorted((work / "dropped" / name).glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _kept(work: Path, clusters: set[int]) -> dict[int, str]:
    """The source of the document that stands for each of these clusters."""
    sources = {}
    for path in sorted((work / "unique").glob("*.jsonl")):
        wanted = {at: one for at, one in clusters_of(work, int(path.stem)).items() if one in clusters}
        if wanted:
            with path.open(encoding="utf-8") as lines:
                for at, line in enumerate(lines):
                    if at in wanted:
                        sources[wanted[at]] = json.loads(line)["metadata"]["source"]
    return sources


def _overlap(work: Path, recipe: CorpusRecipe) -> Shared:
    """Every task's findings together: a run is found if one task's training text has it."""
    documents = list(held_out(work / "result"))
    found: list[set[int]] = [set() for _ in documents]
    runs = [0] * len(documents)
    for path in sorted((work / "overlap").glob("*.json")):
        for at, one in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            found[at].update(one["found"])
            runs[at] = one["runs"]
    order = sorted(range(len(documents)), key=lambda at: -len(found[at]))[:_SAMPLES]
    worst = [{"source": documents[at].source, "runs": runs[at], "found": len(found[at])} for at in order if found[at]]
    return Shared(recipe.split.ngrams, sum(runs), sum(map(len, found)), worst)

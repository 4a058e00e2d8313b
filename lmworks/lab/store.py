"""Findings on disk: one JSON file per question and scale, written whole.

The findings that lmworks ships are in `lab/results`; a user's own are in a folder of theirs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import write_json
from lmworks.lab.finding import Finding
from lmworks.lab.registry import Experiment, Scale

SHIPPED = Path(__file__).parent / "results"
LARGEST = 16 * 2**20
"""Bytes of a result file; a larger file is not one of ours."""


def path_of(folder: Path, question: int, scale: str) -> Path:
    """The file of a finding in a folder of results."""
    return folder / f"q{question:02d}.{scale}.json"


def write(finding: Finding, folder: Path) -> Path:
    """Write a finding into a folder of results; returns the file."""
    path = path_of(folder, finding.question, finding.scale)
    write_json(path, as_json(finding))
    return path


def keep(finding: Finding, out: Path, *, ship: bool = False) -> list[Path]:
    """Write a finding and pictures of its chart into `out`; with `ship`, the finding among those that lmworks ships.
    Returns the files."""
    files = [write(finding, SHIPPED if ship else out)]
    for ending in (".png", ".svg"):
        picture = path_of(out, finding.question, finding.scale).with_suffix(ending)
        finding.chart.save(picture)
        files.append(picture)
    return files


def as_json(finding: Finding) -> dict[str, Any]:
    """Plain numbers, texts and lists, with what a reader wants first at the top."""
    fields = finding.model_dump(mode="json")
    first = (
        "question",
        "claim",
        "verdict",
        "rule",
        "reasons",
        "measurements",
        "note",
        "recipe",
        "scale",
        "machine",
    )
    return {name: fields[name] for name in first} | fields


def read(path: Path) -> Finding:
    """A finding from its file; DataError for one that is cut off or not a finding."""
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} is larger than any result ({LARGEST:,} bytes); remove it, and run the experiment")
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Finding(**fields)
    except (
        OSError,
        UnicodeDecodeError,
        json.JSONDecodeError,
        TypeError,
        ConfigError,
        RecursionError,
    ) as error:
        raise DataError(f"{path} is not a stored finding ({error}); remove it, and run the experiment again") from error


def stored(question: int, folder: Path | None = None, scale: Scale | None = None) -> Finding | None:
    """A folder's finding of a question, or the shipped one: that of the scale, or else of the full scale where there
    is one. None where there is none."""
    for one in ("full", "quick") if scale is None else (scale,):
        path = path_of(SHIPPED if folder is None else folder, question, one)
        if path.is_file():
            return read(path)
    return None


def kept(question: int, folder: Path, scale: Scale | None = None) -> Finding:
    """The folder's finding of a question, or the one that lmworks ships; ConfigError where neither is there."""
    finding = stored(question, folder, scale) or stored(question, scale=scale)
    if finding is None:
        of, how = ("", "") if scale is None else (f" of scale {scale}", f" --scale {scale}")
        raise ConfigError(f"claim {question} has no stored result{of}; run it: lmworks lab {question}{how}")
    return finding


def all_kept(questions: Sequence[int], folder: Path, scale: Scale | None = None) -> tuple[list[Finding], list[int]]:
    """The findings of these questions, and the questions that have none."""
    found = {question: stored(question, folder, scale) or stored(question, scale=scale) for question in questions}
    return [one for one in found.values() if one is not None], [number for number, one in found.items() if one is None]


def same(experiment: Experiment, scale: Scale, folder: Path, changes: Sequence[str] = ()) -> Finding | None:
    """The folder's finding of an experiment, if it was measured with these parameters and the rule of today."""
    path = path_of(folder, experiment.question, scale)
    finding = read(path) if path.is_file() else None
    if finding is None or finding.rule != str(experiment.rule):
        return None
    return finding if finding.recipe == json.loads(json.dumps(experiment.settings(scale, changes))) else None


def machine() -> dict[str, Any]:
    """The machine that runs this: processor, cores, memory in GiB, versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def commit() -> str | None:
    """The commit of the lmworks that runs; None where it does not run from its repository."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return None
    # Results that were stored since change nothing of what is measured.
    return head + ("+changes" if _git("status", "--porcelain", "--", ".", ":(exclude)lab/results") else "")


def _git(*arguments: str) -> str | None:
    package = Path(__file__).parents[1]
    if not (package.parent / ".git").exists():  # an installed lmworks may lie inside somebody else's repository
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(package), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

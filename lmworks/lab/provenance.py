"""Where a finding comes from: the machine, the commit, and the commit in which its experiment was last changed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


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
    head = git("rev-parse", "HEAD")
    if head is None:
        return None
    # Results that were stored since change nothing of what is measured.
    return head + ("+changes" if git("status", "--porcelain", "--", ".", ":(exclude)lab/results") else "")


def declared(question: int) -> str | None:
    """The last commit that changed the experiment's file; None where it was changed since, or there is no history."""
    files = f"lab/experiments/q{question:02d}_*.py"
    if git("status", "--porcelain", "--", files) != "":
        return None
    return git("log", "-1", "--format=%H", "--", files) or None


def git(*arguments: str) -> str | None:
    """What git prints in the package's folder; None where lmworks does not run from its repository."""
    if not (PACKAGE.parent / ".git").exists():  # an installed lmworks may lie inside somebody else's repository
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

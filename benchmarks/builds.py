"""Builds that are compared: `lmworks build` by a recipe on one text, again and again with other settings and seeds."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import this_machine
from benchmarks.store import add, command

if TYPE_CHECKING:
    from lmworks.jobs.build import BuildResult


def options(about: str | None, out: str) -> argparse.Namespace:
    """What the command line says of a comparison; its models go into `out` unless it says otherwise."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python-reference")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--store", action="store_true")
    return parser.parse_args()


def built(
    given: argparse.Namespace,
    seed: int,
    name: str,
    changes: Sequence[str],
    figures: Callable[[BuildResult], dict[str, Any]],
) -> dict[str, Any]:
    """One build's figures. CPU seconds are the process's own, so that a busy machine changes them little."""
    import lmworks as lm

    started = time.process_time()
    result = lm.build(
        given.data,
        out=given.out / f"{name}-{seed}",
        recipe=given.recipe,
        changes=[f"training.seed={seed}", *changes, *given.set],
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    spent = round(time.process_time() - started, 1)
    return {"seed": seed, **figures(result), "whole run, CPU s": spent}


def finish(given: argparse.Namespace, stored: Path, runs: Sequence[dict[str, Any]], **more: Any) -> None:
    """Print the runs with what is known of all of them, and store that where asked."""
    facts = {"command": command(), "machine": this_machine().name, **more, "runs": runs}
    print(json.dumps(facts, indent=2))
    if given.store:
        add(stored, facts)

"""What SmolLM2 makes of several things, measured one after another: those that the command line names, or all."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine


def measure(
    about: str | None,
    stored: Path,
    keys: tuple[str, str],
    every: Sequence[str],
    measured: Callable[[str, int | None], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Measure, print the table, and store after each where that is asked for: a file keeps what is not measured anew.
    `keys` are those of the file's list and of a name in it, such as "kinds" and "kind"."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(keys[0], nargs="*", default=every)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    fresh: list[dict[str, Any]] = []
    for name in getattr(given, keys[0]):
        fresh.append(measured(name, given.limit))
        print(f"{name}: {fresh[-1]['cpu_seconds']} CPU seconds", flush=True)
        if given.store:
            before = json.loads(stored.read_text(encoding="utf-8"))[keys[0]] if stored.is_file() else []
            kept = {one[keys[1]]: one for one in [*before, *fresh]}
            facts = {"model": "smollm2", "machine": this_machine().told}
            facts[keys[0]] = [kept[one] for one in every if one in kept]
            stored.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(table({keys[0]: fresh}))

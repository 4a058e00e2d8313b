"""What SmolLM2 makes of the tasks, what reading shared beginnings once saves, and what an item costs.

    python -m benchmarks.tasks --out folder                 # all; a run that was stopped goes on in the folder
    python -m benchmarks.tasks arc-easy:5 --limit 300       # one task with five examples
    python -m benchmarks.tasks --out folder --store         # and the figures into benchmarks/tasks.json
    python -m benchmarks.tasks --limit 300 --store          # what an item costs, where nothing was kept before

Counts and accuracies hold on every machine with the same kernels; CPU seconds are those of the machine that is named.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")
ALL = ("arc-easy", "arc-challenge", "openbookqa", "piqa", "winogrande", "blimp", "crows-pairs", "arc-easy:5")
PUBLISHED = {
    "arc-easy": {"log-likelihood": 54.12},
    "arc-challenge": {"by characters": 27.73},
    "openbookqa": {"log-likelihood": 23.0, "by characters": 33.4},
    "piqa": {"log-likelihood": 66.3, "by characters": 66.92},
    "winogrande": {"log-likelihood": 51.6},
}
"""Per cent, of the same model with other bits (lm-evaluation-harness; OpenBookQA, WinoGrande and PIQA's first Q8_0)."""


def measured(name: str, limit: int | None, out: str | None) -> dict[str, Any]:
    """A task's figures, the tokens that were read for them, and CPU seconds, of what `out` did not hold already."""
    import lmworks as lm
    from lmworks.evaluation.tasks.asked import AskedTask
    from lmworks.evaluation.tasks.find import find
    from lmworks.evaluation.tasks.measured import measurements
    from lmworks.evaluation.tasks.run import run
    from lmworks.generation.continuations import Reading

    model, (task, _, shots) = lm.load("smollm2"), name.partition(":")
    model.loglikelihood([("warm", " up")])
    asked, reading = AskedTask.of(find(task), int(shots or 0), limit), Reading()
    started = time.process_time()
    items = run(model, asked, out, reading)
    seconds = time.process_time() - started
    return {
        "task": asked.what,
        "measurements": [one.to_json() for one in measurements(asked.task, items, asked.what)],
        "read": reading.tokens,
        "apart": reading.apart,
        "cpu_seconds": round(seconds, 2),
    }


def table(stored: dict[str, Any]) -> str:
    """The figures as rows of Markdown."""
    rows = []
    for one in stored["tasks"]:
        for figure in one["measurements"]:
            by = figure["name"].removeprefix(f"{one['task']}, ")
            low, high = (100 * end for end in figure["interval"])
            known = PUBLISHED.get(one["task"], {}).get(by)
            rows.append(
                f"| {one['task']} | {by} | {figure['n']:,} | {100 * figure['value']:.1f} | {low:.1f} ... {high:.1f} | "
                f"{100 * figure['chance']:.0f} | {known or ''} |".replace("|  |", "| |")
            )
    return "\n".join(["| task | compared by | n | % | 95 % | chance | published |", "| --- " * 7 + "|", *rows])


def costs(stored: dict[str, Any]) -> str:
    """What was read, and what an item costs, as rows of Markdown."""
    rows = [
        f"| {one['task']} | {one['n']:,} | {one['apart']:,} | {one['read']:,} | {one['apart'] / one['read']:.1f} | "
        f"{one['n'] / one['cpu_seconds']:.0f} |"
        for one in stored["costs"]
    ]
    heading = "| task | n | tokens, each choice alone | tokens read | times fewer | items a CPU second |"
    return "\n".join([heading, "| --- " * 6 + "|", *rows])


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=ALL)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out")
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {"tasks": [], "costs": []}
    found = [measured(name, given.limit, given.out) for name in given.tasks]
    fresh = {"tasks": [_of(one, "task", "measurements") for one in found], "costs": []}
    if not given.out:
        costs_of = ("task", "n", "read", "apart", "cpu_seconds")
        fresh["costs"] = [_of(one | {"n": _n(one)}, *costs_of) for one in found]
    print(table(fresh), costs(fresh), sep="\n\n")
    if given.store:
        facts: dict[str, Any] = {"model": "smollm2", "machine": this_machine().told}
        facts |= {key: _newer(stored[key], fresh[key]) for key in ("tasks", "costs")}
        STORED.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _of(one: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: one[key] for key in keys}


def _n(one: dict[str, Any]) -> int:
    return one["n"] if "n" in one else one["measurements"][0]["n"]


def _newer(stored: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stored ones, each replaced by a fresh one of as many items or more."""
    kept = {one["task"]: one for one in stored}
    kept |= {one["task"]: one for one in fresh if one["task"] not in kept or _n(one) >= _n(kept[one["task"]])}
    return list(kept.values())


if __name__ == "__main__":
    main()

"""How many of the programs that SmolLM2 writes pass their tests: HumanEval and MBPP, as they are and as a chat.

    python -m benchmarks.written_programs --store           # into benchmarks/written_programs.json
    python -m benchmarks.written_programs mbpp --limit 10   # one of them, less of it

Programs are run here, as by `lmworks evaluate --run-programs`. Greedy answers are those of the compiled path on every
machine with the same kernels; CPU seconds of writing are those of the machine that is named.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")
ASKED = {
    "humaneval": {"chat": False, "limit": None},
    "humaneval chat": {"chat": True, "limit": 80},
    "mbpp": {"shots": 3, "limit": 80},
    "mbpp chat": {"chat": True, "limit": 80},
}
"""What is asked how; a part of what takes long."""


def measured(name: str, limit: int | None) -> dict[str, Any]:
    """The share of its programs that pass, and CPU seconds."""
    import lmworks as lm

    model, how = lm.load("smollm2"), dict(ASKED[name])
    how["limit"] = how["limit"] if limit is None else limit
    model.loglikelihood([("warm", " up")])
    started = time.process_time()
    [figure] = lm.evaluate(model, tasks=name.partition(" ")[0], run_programs=True, **how)
    seconds = time.process_time() - started
    return {"asked": name, "measurement": figure.to_json(), "cpu_seconds": round(seconds, 1)}


def table(stored: dict[str, Any]) -> str:
    """The figures as rows of Markdown."""
    rows = []
    for one in stored["programs"]:
        figure = one["measurement"]
        low, high = (100 * end for end in figure["interval"])
        passed, share = round(figure["value"] * figure["n"]), f"{100 * figure['value']:.1f}"
        what = figure["name"].removesuffix(", tests pass")
        rows.append(f"| {what} | {passed} of {figure['n']} | {share} | {low:.1f} ... {high:.1f} |")
    return "\n".join(["| task | tests pass | % | 95 % |", "| --- " * 4 + "|", *rows])


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("asked", nargs="*", default=list(ASKED))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    fresh: list[dict[str, Any]] = []
    for name in given.asked:
        fresh.append(measured(name, given.limit))
        print(f"{name}: {fresh[-1]['cpu_seconds']} CPU seconds", flush=True)
        if given.store:
            before = json.loads(STORED.read_text(encoding="utf-8"))["programs"] if STORED.is_file() else []
            kept = {one["asked"]: one for one in [*before, *fresh]}
            facts = {"model": "smollm2", "machine": this_machine().told}
            facts["programs"] = [kept[one] for one in ASKED if one in kept]
            STORED.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(table({"programs": fresh}))


if __name__ == "__main__":
    main()

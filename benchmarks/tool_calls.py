"""What SmolLM2 calls when it may: BFCL's questions, with the grammar that binds calls to their schemas and without it.

    python -m benchmarks.tool_calls --limit 50 --store      # into benchmarks/tool_calls.json
    python -m benchmarks.tool_calls simple --limit 10

The same prompts and greedy answers in all ways. Figures are those of the compiled path on every machine; CPU
seconds are those of the machine that is named.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")
KINDS = ("simple", "multiple", "parallel", "irrelevance")


def measured(kind: str, limit: int | None) -> dict[str, Any]:
    """The figures of a kind, how many free answers hold a call that can be read, and CPU seconds."""
    import lmworks as lm
    from lmworks.evaluation.tasks.find import find
    from lmworks.evaluation.tasks.measured import measurements
    from lmworks.evaluation.tasks.run import AskedTask, run

    model, asked = lm.load("smollm2"), AskedTask.of(find(f"bfcl-{kind}"), limit=limit)
    model.loglikelihood([("warm", " up")])
    started = time.process_time()
    items = run(model, asked)
    seconds = time.process_time() - started
    figures = [one.to_json() for one in measurements(asked.task, items, asked.what)]
    return {"kind": kind, "n": len(items), "measurements": figures, "cpu_seconds": round(seconds, 1)}


def table(stored: dict[str, Any]) -> str:
    """The figures as rows of Markdown."""
    rows = []
    for one in stored["kinds"]:
        by = {figure["name"].rpartition(", ")[2]: figure for figure in one["measurements"]}
        cells = [shown(by.get(way)) for way in ("free", "held to the form", "begun", "made to call")]
        rows.append(f"| {one['kind']} | {one['n']} | {' | '.join(cells)} |")
    heading = "| BFCL | n | may call, free | may call, grammar | must call, free | must call, grammar |"
    return "\n".join([heading, "| --- " * 6 + "|", *rows])


def shown(figure: dict[str, Any] | None) -> str:
    """A share with its interval; nothing where it was not measured."""
    if figure is None:
        return ""
    low, high = (100 * end for end in figure["interval"])
    return f"{100 * figure['value']:.0f} % ({low:.0f} ... {high:.0f})"


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    fresh: list[dict[str, Any]] = []
    for kind in given.kinds:
        fresh.append(measured(kind, given.limit))
        print(f"{kind}: {fresh[-1]['cpu_seconds']} CPU seconds", flush=True)
        if given.store:
            before = json.loads(STORED.read_text(encoding="utf-8"))["kinds"] if STORED.is_file() else []
            kept = {one["kind"]: one for one in [*before, *fresh]}
            facts = {"model": "smollm2", "machine": this_machine().told, "kinds": list(kept.values())}
            STORED.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(table({"kinds": fresh}))


if __name__ == "__main__":
    main()

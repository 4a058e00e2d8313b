"""Which functions SmolLM2 calls: BFCL's questions, with and without the grammar that holds calls to their schemas.

    python -m benchmarks.tool_calls --limit 50 --store      # into benchmarks/tool_calls.json
    python -m benchmarks.tool_calls simple --limit 10

Prompts are the same in all ways, and answers greedy. Figures are of the compiled path, the same on every machine; CPU
seconds are of the machine that is named.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import by_name

STORED = Path(__file__).with_suffix(".json")
KINDS = ("simple", "multiple", "parallel", "irrelevance")


def measured(kind: str, limit: int | None) -> dict[str, Any]:
    """The figures of a kind, and CPU seconds."""
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
    by_name.measure(__doc__, STORED, ("kinds", "kind"), KINDS, measured, table)


if __name__ == "__main__":
    main()

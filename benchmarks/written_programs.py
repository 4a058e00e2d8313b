"""How many of the programs that SmolLM2 writes pass their tests: HumanEval and MBPP, as they are and as a chat.

    python -m benchmarks.written_programs --store           # into benchmarks/written_programs.json
    python -m benchmarks.written_programs mbpp --limit 10   # one of them, less of it

The programs are run, as with `lmworks evaluate --run-programs`. Answers are greedy, on the compiled path: the same on
every machine with the same kernels. CPU seconds are of the machine that is named, and of writing alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import by_name

STORED = Path(__file__).with_suffix(".json")
ASKED = {
    "humaneval": {"chat": False, "limit": None},
    "humaneval chat": {"chat": True, "limit": 80},
    "mbpp": {"shots": 3, "limit": 80},
    "mbpp chat": {"chat": True, "limit": 80},
}
"""How each is asked; of those that take long, only the first items."""


def measured(name: str, limit: int | None) -> dict[str, Any]:
    """The share of programs that pass, and CPU seconds."""
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
    by_name.measure(__doc__, STORED, ("programs", "asked"), list(ASKED), measured, table)


if __name__ == "__main__":
    main()

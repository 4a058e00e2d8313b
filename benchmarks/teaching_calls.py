"""What SmolLM2 calls before and after it was tuned on calls: one half of BFCL's questions is learnt, the other asked.

    python -m benchmarks.teaching_calls OUT --store         # into benchmarks/teaching_calls.json
    python -m benchmarks.teaching_calls OUT --limit 10      # a look; a model that is in OUT already is asked again

Halves are by the hash of an item's name. The questions and functions of both are of one kind, and no function of the
one need be in the other. Compared as BFCL compares, greedy, at most 160 tokens, as in benchmarks.tool_calls.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tool_calls
from benchmarks.machine import this_machine
from benchmarks.tool_calls import KINDS, shown
from lmworks.evaluation.tasks.declaration import Calling, Task

STORED = Path(__file__).with_suffix(".json")
CHANGES = ("training.epochs=1", "training.context=1024")
WORDS = "None of my functions can help with that."
"""The answer that is learnt where no function helps: BFCL has none."""


def halves(task: Task) -> tuple[list[Calling], list[Calling]]:
    """The items that are learnt, and those that are asked."""
    sides: tuple[list[Calling], list[Calling]] = ([], [])
    for one in task.items():
        assert isinstance(one, Calling)
        sides[hashlib.sha256(one.name.encode()).digest()[-1] % 2 == 0].append(one)
    return sides


def record(item: Calling) -> dict[str, Any]:
    """A question with its tools and the call that is right, as OpenAI's chat records have it: of several values of an
    argument the first, without arguments that may be left out."""
    needed = {one["name"]: one["parameters"].get("required", ()) for one in item.functions}
    calls = [
        {"type": "function", "function": {"name": name, "arguments": _values(wanted, needed[name])}}
        for one in item.wanted
        for name, wanted in one.items()
    ]
    answer = {"role": "assistant", "content": None, "tool_calls": calls} if calls else None
    turns = [*item.messages, answer or {"role": "assistant", "content": WORDS}]
    return {"id": item.name, "messages": turns, "tools": [one.facts for one in item.tools]}


def _values(wanted: Mapping[str, list[Any]], needed: Container[str]) -> dict[str, Any]:
    stays = {key: values for key, values in wanted.items() if "" not in values or key in needed}
    return {key: next((one for one in values if one != ""), "") for key, values in stays.items()}


def taught(tasks: Iterable[Task], out: Path) -> str:
    """A model that has learnt the one half; made where it is not in `out` yet."""
    import lmworks as lm

    folder, data = out / "model", out / "learnt.jsonl"
    if not folder.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(record(one)) + "\n" for task in tasks for one in halves(task)[0])
        data.write_text("".join(lines), encoding="utf-8")
        lm.tune("smollm2", data, out=folder, changes=list(CHANGES), say=print)
    return str(folder)


def measured(reference: str, task: Task, limit: int | None) -> dict[str, Any]:
    """The figures of the half that was not learnt."""
    import lmworks as lm
    from lmworks.evaluation.tasks.measured import measurements
    from lmworks.evaluation.tasks.run import AskedTask, run

    half = halves(task)[1]
    asked = AskedTask.of(replace(task, items=lambda: half), limit=limit)
    items = run(lm.load(reference), asked)
    figures = [one.to_json() for one in measurements(asked.task, items, asked.what)]
    return {"kind": task.name.removeprefix("bfcl-"), "n": len(items), "measurements": figures}


def table(stored: Mapping[str, Any]) -> str:
    """Both models by the grammar, as rows of Markdown."""
    figures = {
        (side, one["kind"], figure["name"].rpartition(", ")[2]): figure
        for side in ("before", "after")
        for one in stored[side]
        for figure in one["measurements"]
    }
    rows = ["| asked, 50 of each | may call: before | after | must call: before | after |", "| --- " * 5 + "|"]
    for kind in KINDS:
        cells = [
            shown(figures.get((side, kind, way)))
            for way in ("held to the form", "made to call")
            for side in ("before", "after")
        ]
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Tune, measure both models, print, and store where that is asked for."""
    from lmworks.evaluation.tasks.find import find

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    tasks = [find(f"bfcl-{kind}") for kind in KINDS]
    models = {"before": "smollm2", "after": taught(tasks, given.out)}
    facts = json.loads((given.out / "model" / "lmworks.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = {"machine": this_machine().told, "changes": CHANGES, "tuned": facts["measurements"]}
    for name, reference in models.items():
        found[name] = [measured(reference, task, given.limit) for task in tasks]
        print(f"{name}\n{tool_calls.table({'kinds': found[name]})}", flush=True)
    if given.store:
        STORED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

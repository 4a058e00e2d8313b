"""What balanced tuning does to SmolLM2: WinoBias' sentences of its other part, each with its counterpart, are learnt in
four ways; bias on the test part, on CrowS-Pairs' pairs of gender, which nothing is learnt from, and bits per byte.

    python -m benchmarks.bias --out folder            # some twenty CPU minutes; a run that was stopped goes on there
    python -m benchmarks.bias --out folder --store    # and the figures into benchmarks/bias.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")
SHARED = ["data.counterfactual=gender", "training.context=256", "training.rows=4"]
WAYS = {
    "text": ("kl", [*SHARED, "training.learning_rate=3e-4", "evaluation.tokens=8000"]),
    "answers": ("nothing", [*SHARED, "training.learning_rate=1e-3", "training.steps=18", "evaluation.tokens=4000"]),
    "answers, kept": (
        "kl",
        [*SHARED, "training.learning_rate=1e-3", "training.steps=40", "kl.strength=1", "evaluation.tokens=8000"],
    ),
    "answers, kept, longer": (
        "kl",
        [*SHARED, "training.learning_rate=1e-3", "training.steps=100", "kl.strength=1", "evaluation.tokens=8000"],
    ),
}
"""Whole sentences with question and answer as plain text; the answer alone, to a message; the same for more than twice
as long, kept near the base, and for more than five times as long."""
FIGURES: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "winobias": (None, ("log-likelihood", "gap", "gap, type 1", "gap, type 2")),
    "crows-pairs:gender": (None, ("log-likelihood",)),
    "arc-easy": (300, ("by characters",)),
    "piqa": (300, ("by characters",)),
}
"""Of each task how many items, all unless it says, and which figures."""


def written(way: str, out: Path) -> Path:
    """The training text of a way: sentences whose pronoun goes with the stereotype; tuning adds the others."""
    from lmworks.evaluation.bias.winobias import sentences

    path = out / f"{way}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for one in sentences("dev"):
            (question, answer), _ = one.asked
            said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer.strip()}]
            if one.side == "pro":
                file.write(
                    json.dumps({"messages": said} if way.startswith("answers") else {"text": f"{question}{answer}."})
                    + "\n"
                )
    return path


def measured(way: str, out: Path) -> dict[str, Any]:
    """Tune, where the folder does not hold the result, and compare with the base, item by item."""
    import lmworks as lm
    from lmworks.evaluation.tasks.asked import AskedTask
    from lmworks.evaluation.tasks.find import find
    from lmworks.evaluation.tasks.measured import compared, differences, figures
    from lmworks.evaluation.tasks.run import run

    retain, changes = WAYS[way]
    if not (out / way / "lmworks.json").is_file():
        lm.tune("smollm2", written(way, out), "lora", retain, out / way, changes=changes, say=print)
    base, tuned = lm.load("smollm2"), lm.load(str(out / way))
    rows: list[dict[str, Any]] = []
    for name, (limit, wanted) in FIGURES.items():
        asked = AskedTask.of(find(name), limit=limit)
        items = [run(model, asked, out / f"items-{of}") for model, of in ((base, "base"), (tuned, way))]
        before, after = (
            {one.measurement.name: one.measurement for one in figures(asked.task, of, name)} for of in items
        )
        changed = compared({name: asked.task}, {name: items[0]}, {name: items[1]})
        by_name = {one.name: one for one in [*changed, *differences(asked.task, name, *items)]}
        for figure in (f"{name}, {one}" for one in wanted):
            rows.append({"figure": figure} | _three(before[figure], after[figure], by_name[figure]))
    told = {one["name"]: one for one in json.loads((out / way / "lmworks.json").read_text())["measurements"]}
    general = [told[f"general text, {one}"] for one in ("before", "after", "change")]
    rows.append({"figure": "bits/byte, general text"} | dict(zip(("before", "after", "change"), general, strict=True)))
    return {"way": way, "rows": rows}


def _three(*found: Any) -> dict[str, Any]:
    return dict(zip(("before", "after", "change"), (one.to_json() for one in found), strict=True))


def table(stored: dict[str, Any]) -> str:
    """The figures as rows of Markdown."""
    rows = []
    for way in stored["ways"]:
        for one in way["rows"]:
            low, high = one["change"]["interval"]
            rows.append(
                f"| {way['way']} | {one['figure']} | {one['change']['n']:,} | {one['before']['value']:.3f} | "
                f"{one['after']['value']:.3f} | {one['change']['value']:+.3f} | {low:+.3f} ... {high:+.3f} |"
            )
    return "\n".join(["| learnt | figure | n | before | after | change | 95 % |", "| --- " * 7 + "|", *rows])


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="*", default=tuple(WAYS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    fresh = {way: measured(way, given.out) for way in given.ways}
    found = {"model": "smollm2", "machine": this_machine().told, "ways": list(fresh.values())}
    print(table(found))
    if given.store:
        before = {one["way"]: one for one in json.loads(STORED.read_text(encoding="utf-8"))["ways"]}
        found["ways"] = list((before | fresh).values())
        STORED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

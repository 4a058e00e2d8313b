"""What balanced tuning does to SmolLM2: WinoBias' sentences of its other part, with both genders, are learnt in five
ways, the last with two seeds; bias on the test part, on CrowS-Pairs' pairs of gender, which nothing is learnt from, and
bits per byte.

    python -m benchmarks.bias --out folder            # some forty CPU minutes; a run that was stopped goes on there
    python -m benchmarks.bias --out folder --store    # and the figures into benchmarks/bias.json
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import this_machine

if TYPE_CHECKING:
    from lmworks.evaluation.bias.winobias import Sentence

STORED = Path(__file__).with_suffix(".json")
ROWS = ["training.context=256", "training.rows=4"]
SHARED = ["data.counterfactual=gender", *ROWS]
PAIRS = [*ROWS, "training.learning_rate=1e-3", "training.steps=40", "kl.strength=1", "evaluation.tokens=8000"]
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
    "pairs, kept": ("kl", PAIRS),
    "pairs, kept, again": ("kl", [*PAIRS, "training.seed=1"]),
}
"""Whole sentences with question and answer as plain text; the answer alone, to a message; the same for more than twice
as long, kept near the base, and for more than five times as long; the right answer preferred to the other one (SimPO,
whose margin is the model's own: DPO's counts from the base's, with the gap that this has), with two seeds."""
FIGURES: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "winobias": (None, ("log-likelihood", "gap", "gap, type 1", "gap, type 2")),
    "crows-pairs:gender": (None, ("log-likelihood",)),
    "arc-easy": (300, ("by characters",)),
    "piqa": (300, ("by characters",)),
}
"""Of each task how many items, all unless it says, and which figures."""


def written(way: str, out: Path) -> Path:
    """What a way learns from: sentences whose pronoun goes with the stereotype, to which tuning adds the others; of
    pairs, all that go against it, and a quarter of those that go with it."""
    from lmworks.evaluation.bias.winobias import sentences

    path = out / f"{way}.jsonl"
    records = pairs(sentences("dev")) if way.startswith("pairs") else answers(sentences("dev"), way)
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def answers(sentences: Sequence[Sentence], way: str) -> Iterator[dict[str, Any]]:
    """Records of text, or of conversations."""
    for one in sentences:
        (question, answer), _ = one.asked
        said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer.strip()}]
        if one.side == "pro":
            yield {"messages": said} if way.startswith("answers") else {"text": f"{question}{answer}."}


def pairs(sentences: Sequence[Sentence]) -> Iterator[dict[str, Any]]:
    """Records of preferences: of the sentences that go with the stereotype the first two of every eight of a type. They
    come in twos, one for each of two occupations and genders, so that what is left is balanced."""
    seen = Counter[str]()
    for one in sentences:
        (question, answer), (_, other) = one.asked
        if one.side == "pro":
            seen[one.kind] += 1
        if one.side == "anti" or (seen[one.kind] - 1) % 8 < 2:
            yield {"prompt": question, "chosen": answer.strip(), "rejected": other.strip()}


def measured(way: str, out: Path) -> dict[str, Any]:
    """Tune, where the folder does not hold the result, and compare with the base, item by item."""
    import lmworks as lm
    from lmworks.evaluation.tasks.asked import AskedTask
    from lmworks.evaluation.tasks.find import find
    from lmworks.evaluation.tasks.measured import compared, differences, figures
    from lmworks.evaluation.tasks.run import run

    retain, changes = WAYS[way]
    if not (out / way / "lmworks.json").is_file():
        learn = partial(lm.prefer, loss="simpo") if way.startswith("pairs") else lm.tune
        learn("smollm2", written(way, out), "lora", retain, out=out / way, changes=changes, say=print)
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

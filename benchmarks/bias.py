"""What balanced tuning does to SmolLM2: WinoBias' sentences of its other part are learnt in six ways, the last two of
them twice, with other seeds; bias on the test part, on CrowS-Pairs' pairs of gender, which nothing is learnt from, and
bits per byte.

    python -m benchmarks.bias --out folder            # some seventy CPU minutes; a run that was stopped goes on there
    python -m benchmarks.bias --out folder --store    # and the figures into benchmarks/bias.json
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import this_machine

if TYPE_CHECKING:
    from lmworks.evaluation.bias.winobias import Sentence
    from lmworks.language_model import LanguageModel

STORED = Path(__file__).with_suffix(".json")
ROWS = ["training.context=256", "training.rows=4"]
SHARED = ["data.counterfactual=gender", *ROWS]
RATE = "training.learning_rate=1e-3"
LONG = [*ROWS, RATE, "kl.strength=1", "evaluation.tokens=8000"]


@dataclass(frozen=True)
class Way:
    """How a model is repaired."""

    changes: list[str]
    retain: str = "kl"
    form: str = "answers"
    """What is learnt: "text", "answers" to a message, or "pairs" of a right and a wrong one."""
    with_it: int = 8
    """Of eight sentences that go with their stereotype so many are learnt."""
    against_it: bool = False
    """Whether those that go against it are learnt as they are, and not only as counterparts of the others."""
    half: bool = False
    """Whether the sentences on half of the pairs of occupations are learnt alone: the others chose this way."""
    seeds: tuple[int, ...] = (0,)
    """Of several, the mean of the models that they give."""


AGAINST = partial(
    Way,
    [*ROWS, RATE, "kl.strength=1", "training.steps=60", "evaluation.tokens=2000"],
    with_it=0,
    against_it=True,
    half=True,
)
WAYS = {
    "text": Way([*SHARED, "training.learning_rate=3e-4", "evaluation.tokens=8000"], form="text"),
    "answers": Way([*SHARED, RATE, "training.steps=18", "evaluation.tokens=4000"], retain="nothing"),
    "answers, kept": Way([*LONG, "data.counterfactual=gender", "training.steps=40"]),
    "answers, kept, longer": Way([*LONG, "data.counterfactual=gender", "training.steps=100"]),
    "pairs, kept": Way([*LONG, "training.steps=40"], form="pairs", with_it=2, against_it=True),
    "pairs, kept, again": Way([*LONG, "training.steps=40"], form="pairs", with_it=2, against_it=True, seeds=(1,)),
    "against, averaged": AGAINST(seeds=(0, 1, 2)),
    "against, averaged, again": AGAINST(seeds=(3, 4, 5)),
}
"""Whole sentences with question and answer as plain text; the answer alone, to a message; the same for more than twice
as long, kept near the base, and for more than five times as long; the right answer preferred to the other one (SimPO,
whose margin is the model's own: DPO's counts from the base's, with the gap that this has), with two seeds; answers
again, of sentences that go against their stereotype alone, as the mean of three seeds' models, twice. The last one was
chosen on `winobias-dev`: half of its pairs of occupations were learnt, and the gap in log-odds of the others judged."""
FIGURES: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "winobias": (None, ("log-likelihood", "gap", "gap in log-odds", "gap, type 1", "gap, type 2")),
    "crows-pairs:gender": (None, ("log-likelihood",)),
    "arc-easy": (300, ("by characters",)),
    "piqa": (300, ("by characters",)),
}
"""Of each task how many items, all unless it says, and which figures."""


def written(way: Way, path: Path) -> Path:
    """What a way learns from."""
    from lmworks.evaluation.bias.winobias import sentences

    form = {"text": as_text, "answers": as_answer, "pairs": as_pair}[way.form]
    records = [form(one) for one in chosen(sentences("dev"), way) if not way.half or is_learnt(one)]
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def chosen(sentences: Iterable[Sentence], way: Way) -> Iterator[Sentence]:
    """Those that go against their stereotype, where they are asked for; of those that go with it the first so many of
    every eight of a type. They come in twos, one for each of two occupations and genders, so that an even number of
    them is balanced."""
    seen = Counter[str]()
    for one in sentences:
        if one.side == "pro":
            seen[one.kind] += 1
        if way.against_it if one.side == "anti" else (seen[one.kind] - 1) % 8 < way.with_it:
            yield one


def is_learnt(one: Sentence) -> bool:
    """Whether a pair of occupations is in the half that is learnt, by its name's hash."""
    return sha256(one.group.encode()).digest()[0] % 2 == 0


def as_text(one: Sentence) -> dict[str, Any]:
    """Sentence, question and answer as plain text."""
    (question, answer), _ = one.asked
    return {"text": f"{question}{answer}."}


def as_answer(one: Sentence) -> dict[str, Any]:
    """A conversation: the right occupation to a message."""
    (question, answer), _ = one.asked
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer.strip()}]}


def as_pair(one: Sentence) -> dict[str, Any]:
    """A preference: the right occupation to the other one."""
    (question, answer), (_, other) = one.asked
    return {"prompt": question, "chosen": answer.strip(), "rejected": other.strip()}


def tuned(name: str, out: Path) -> Path:
    """The model of a way, made where the folder does not hold it; of several seeds the mean of theirs."""
    import lmworks as lm

    way = WAYS[name]
    folders = [out / (name if len(way.seeds) == 1 else f"{name}, seed {seed}") for seed in way.seeds]
    for seed, folder in zip(way.seeds, folders, strict=True):
        if not (folder / "lmworks.json").is_file():
            learn = partial(lm.prefer, loss="simpo") if way.form == "pairs" else lm.tune
            data, changes = written(way, out / f"{folder.name}.jsonl"), [*way.changes, f"training.seed={seed}"]
            learn("smollm2", data, "lora", way.retain, out=folder, changes=changes, say=print)
    if len(folders) == 1:
        return folders[0]
    if not (out / name / "lmworks.json").is_file():
        lm.merge(folders, out / name, way="linear")
    return out / name


def on_general_text(base: LanguageModel, model: LanguageModel) -> list[Any]:
    """Bits/byte before and after, and the change, as tuning measures them."""
    from lmworks.jobs.comparing import GENERAL, compare, measure_texts
    from lmworks.jobs.recipe import EvaluationSettings
    from lmworks.text.sources import read

    texts, settings = {GENERAL: read("wikitext2").documents}, EvaluationSettings(tokens=8000)
    [found] = compare(*(measure_texts(one, texts, settings) for one in (base, model)))
    return [found.before, found.after, found.difference]


def measured(name: str, out: Path) -> dict[str, Any]:
    """Tune, where the folder does not hold the result, and compare with the base, item by item."""
    import lmworks as lm
    from lmworks.evaluation.tasks.asked import AskedTask
    from lmworks.evaluation.tasks.find import find
    from lmworks.evaluation.tasks.measured import compared, differences, figures
    from lmworks.evaluation.tasks.run import run

    folder = tuned(name, out)
    base, repaired = lm.load("smollm2"), lm.load(str(folder))
    rows: list[dict[str, Any]] = []
    for task, (limit, wanted) in FIGURES.items():
        asked = AskedTask.of(find(task), limit=limit)
        items = [run(model, asked, out / f"items-{of}") for model, of in ((base, "base"), (repaired, name))]
        before, after = (
            {one.measurement.name: one.measurement for one in figures(asked.task, of, task)} for of in items
        )
        changed = compared({task: asked.task}, {task: items[0]}, {task: items[1]})
        by_name = {one.name: one for one in [*changed, *differences(asked.task, task, *items)]}
        for figure in (f"{task}, {one}" for one in wanted):
            rows.append({"figure": figure} | _three(before[figure], after[figure], by_name[figure]))
    rows.append({"figure": "bits/byte, general text"} | _three(*on_general_text(base, repaired)))
    return {"way": name, "seeds": list(WAYS[name].seeds), "rows": rows}


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

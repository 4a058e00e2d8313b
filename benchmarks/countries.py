"""Questions on countries against a graph of them: one, two and three steps, and some that have no answer.

    python benchmarks/countries.py [--file countries.json] [--each 1] [--show 20]

The answers are taken from the JSON file directly; the ways to ask are those of country_questions.toml. Data: npm
package world-countries 5.1.0 (ODbL), or its file dist/countries.json by --file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.evaluation.statistics import proportion
from lmworks.grounding.graph.graph import Graph, open_graph
from lmworks.grounding.graph.mapping import RecordMapping
from lmworks.grounding.graph.store import load
from lmworks.lab.bench.countries import World
from lmworks.text import registry

HOPS = {
    "capital": 1, "currency": 1, "language": 1, "border": 1, "region": 1, "demonym": 1, "domain": 1, "calling": 1,
    "area": 1, "of_capital": 1, "with_currency": 1, "with_language": 1, "in_subregion": 1, "count_border": 1,
    "count_language": 1, "currency_of_capital": 2, "language_of_capital": 2, "region_of_capital": 2,
    "capital_of_border": 2, "currency_of_border": 2, "border_of_capital": 2, "same_currency": 2,
    "language_of_border_of_border": 3, "capital_of_border_of_border": 3, "currency_of_border_of_capital": 3,
    "language_of_border_of_capital": 3, "capital_of_same_currency": 3,
}  # fmt: skip

SPLITS = ("tuned", "held", "fresh")


@dataclass(frozen=True)
class CountryQuestion:
    """A question and what the file answers; nothing for one without an answer."""

    question: str
    answers: frozenset[str]
    group: str
    split: str


def asked_of(world: World, ways: dict[str, Any], each: int, seed: int = 0) -> Iterator[CountryQuestion]:
    """Every question, each asked in `each` of the ways of a split."""
    draws = {split: random.Random(f"{seed} {split}") for split in SPLITS}
    for group, slots, answers in world.questions():
        for split, draw in draws.items():
            for way in draw.sample(ways[group][split], min(each, len(ways[group][split]))):
                label = f"{HOPS[group]} steps" if answers else "empty"
                yield CountryQuestion(way.format(**slots), frozenset(answers), f"{label}: {group}", split)
    for split, draw in draws.items():
        for thing in ways["things"]["entity"][split]:
            for way in ways["unanswerable"]["entity"][split]:
                yield CountryQuestion(way.format(thing=thing), frozenset(), "unknown thing", split)
        for thing in ways["things"]["property"][split]:
            for way in ways["unanswerable"]["property"][split]:
                for one in draw.sample([one for one in world.countries if world.capital(one)], 4):
                    slots = {"thing": thing, "country": world.name(one), "city": world.capital(one)[0]}
                    yield CountryQuestion(way.format(**slots), frozenset(), "unknown property", split)
        for way in ways["unanswerable"]["verb"][split]:
            for one in draw.sample([one for one in world.countries if world.capital(one)], 4):
                slots = {"country": world.name(one), "city": world.capital(one)[0]}
                yield CountryQuestion(way.format(**slots), frozenset(), "unknown relation", split)


def of_people(world: World, file: Path) -> Iterator[CountryQuestion]:
    """Questions that people asked a search engine, where the set of them is here."""
    told = tomllib.loads(Path(__file__).with_name("country_web_questions.toml").read_text("utf-8"))
    asked = {one["qId"]: one["qText"] for one in json.loads(file.read_text("utf-8"))}
    answers = {(group, value): held for group, slots, held in world.questions() for value in slots.values()}
    for number, (group, value) in told.items():
        held = frozenset(answers[group, value]) if group != "-" else frozenset()
        yield CountryQuestion(asked[number], held, "people" if held else "people, no answer", "people")


def right(graph: Graph, asked: CountryQuestion) -> tuple[bool, str]:
    """Whether the graph answers exactly that, or refuses where there is nothing."""
    answer = graph.ask(asked.question)
    if not asked.answers:
        return answer.refused, f"{answer.text[:80]} ({answer.read_as})"
    got = set() if answer.refused else set(answer.answers)
    return got == asked.answers, f"{sorted(got)[:4]} ({answer.read_as}{answer.reason})"


def main() -> None:
    """Print the share of right answers by steps, kind and split, and some that are wrong."""
    options = argparse.ArgumentParser()
    options.add_argument("--file")
    options.add_argument("--each", type=int, default=1)
    options.add_argument("--show", type=int, default=15)
    options.add_argument("--every", type=int, default=1, help="ask every n-th question of a split only")
    options.add_argument("--split", default="tuned,held,fresh,people")
    options.add_argument("--people", type=Path, help="test.json of WebQuestions (brmson/dataset-factoid-webquestions)")
    options.add_argument("--groups", default="")
    told = options.parse_args()
    text = Path(told.file).read_text("utf-8") if told.file else registry.documents("world-countries")[0].text
    ways = tomllib.loads(Path(__file__).with_name("country_questions.toml").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "countries.json")
        file.write_text(text, "utf-8")
        load(file, Path(folder, "graph"), RecordMapping.read("countries"))
        graph = open_graph(Path(folder, "graph"))
        counts: dict[tuple[str, str], list[int]] = {}
        wrong: list[str] = []
        world = World(json.loads(text))
        people = of_people(world, told.people) if told.people else ()
        seen = Counter[str]()
        for one in itertools.chain(asked_of(world, ways, told.each), people):
            seen[one.split] += 1
            if one.split not in told.split.split(",") or told.groups not in one.group or seen[one.split] % told.every:
                continue
            good, got = right(graph, one)
            head = one.group.partition(":")[0]
            for group in dict.fromkeys((head, one.group)):
                held = counts.setdefault((one.split, group), [0, 0])
                held[0] += good
                held[1] += 1
            if not good:
                wrong.append(f"{one.split:6}{one.question}\n      wanted {sorted(one.answers)[:4]}, got {got}")
    for (split, group), (good, n) in sorted(counts.items()):
        low, high = proportion(good, n).interval or (0.0, 1.0)
        print(f"{split:6} {group:40} {good:5} of {n:5}  {good / n:7.1%}  ({low:.1%} ... {high:.1%})")
    random.Random(1).shuffle(wrong)
    print("\n".join(wrong[: told.show]))


if __name__ == "__main__":
    main()

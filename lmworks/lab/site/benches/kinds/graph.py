"""A question that takes several facts: its hops, its query, and the refusal once one of the facts is gone."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words

FACTS = (
    ("Ada", "manager", "Grace"),
    ("Grace", "manager", "Alan"),
    ("Linus", "manager", "Grace"),
    ("Ada", "office", "Berlin"),
    ("Grace", "office", "Paris"),
    ("Alan", "office", "London"),
    ("Linus", "office", "Berlin"),
)
QUESTIONS = (
    "Who is the manager of Ada?",
    "Who is the manager of Ada's manager?",
    "What is the office of the manager of Ada's manager?",
    "What is the salary of Ada?",
)


def _example() -> Example:
    """Every question on the whole graph, and without each fact."""
    from lmworks.grounding.graph.graph import Graph

    found = [[_answers(Graph, FACTS)]]
    found += [[_answers(Graph, [one for one in FACTS if one != fact])] for fact in FACTS]
    return {"facts": FACTS, "questions": QUESTIONS, "whole": found[0][0], "without": [one[0] for one in found[1:]]}


def _answers(open_graph: Any, facts: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    from lmworks.grounding.graph.store import load

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "staff.csv")
        properties = dict.fromkeys(name for _, name, _ in facts)
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.DictWriter(file, ["name", *properties])
            rows.writeheader()
            for person in ("Ada", "Grace", "Alan", "Linus"):
                rows.writerow({"name": person, **{name: value for one, name, value in facts if one == person}})
        load(path, Path(folder, "graph"))
        graph = open_graph(Path(folder, "graph"))
        return [_answered(graph.ask(question)) for question in QUESTIONS]


def _answered(answer: Any) -> dict[str, Any]:
    return {
        "text": answer.text,
        "refused": answer.refused,
        "reason": answer.reason,
        "query": answer.query,
        "hops": [[one.subject, one.property, one.value] for one in answer.triples],
    }


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_graph")
    rows = [
        (question, answer["text"], "; ".join(" ".join(hop) for hop in answer["hops"]) or answer["reason"])
        for question, answer in zip(example["questions"], example["whole"], strict=True)
    ]
    return StaticTable(say["answers"], (say["question"], say["answer"], say["facts_used"]), rows)


BENCH = Bench(
    "graph",
    claims=(40,),
    scripts=("graph.js",),
    controls=(
        Control("question", "choice", "3", choices=tuple(str(at + 1) for at in range(len(QUESTIONS)))),
        Control("without", "range", "0", 0, len(FACTS), 1),
    ),
    example=_example,
    table=_table,
)

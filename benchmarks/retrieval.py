"""How well the index finds what people judged: Cranfield's abstracts (nDCG@10), XQuAD's paragraphs (R@1), in English.

    python -m benchmarks.retrieval --store
    python -m benchmarks.retrieval xquad --questions 300      # a part of the questions, to look

Every way of searching is asked the same questions, as the index is without any setting: half of the score from
vectors, half from keywords; the cross-encoder orders the first five. Neither set had a part in choosing these.
Cranfield's queries are counted by position, as their numbers in the file are others than those of its judgements. What
is stored lies in benchmarks/retrieval.json. Cranfield states no licence, so it is looked for in a folder `cranfield` of
LMWORKS_DATA and fetched from nowhere.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import this_machine
from benchmarks.store import add
from lmworks.basics import progress
from lmworks.evaluation.statistics import clustered_mean, paired_difference
from lmworks.grounding.index import By, Index, build
from lmworks.lab.bench.paragraphs import indexed

STORED = Path(__file__).with_suffix(".json")
WAYS: dict[str, tuple[By, bool]] = {
    "keywords": ("keywords", False),
    "vectors": ("vectors", False),
    "hybrid": ("hybrid", False),
    "reranked": ("hybrid", True),
}
FOUND = 30
"""Passages that are looked at, as several may be of one document."""
COUNTED = 10


@dataclass(frozen=True)
class JudgedQuestion:
    """A question, what it is worth to find each document, and what it is judged together with."""

    text: str
    worth: Mapping[str, float]
    group: str


def main() -> None:
    """Ask, count, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["cranfield", "xquad"], help="cranfield, xquad, or both")
    parser.add_argument("--questions", type=int, help="so many questions of a set, drawn at random")
    parser.add_argument("--store", action="store_true", help=f"add the figures to {STORED.name}")
    options = parser.parse_args()
    sets = {"cranfield": (cranfield, ndcg), "xquad": (xquad, first)}
    for name in options.sets:
        opened, measure = sets[name]
        with opened() as (index, asked):
            chosen = random.Random(0).sample(asked, min(options.questions or len(asked), len(asked)))
            found = figures(index, chosen, measure)
        record = {"command": f"python -m benchmarks.retrieval {name} --store", "set": name, **found}
        print(json.dumps(record, indent=2))
        if options.store:
            add(STORED, record | {"machine": this_machine().name, "date": time.strftime("%Y-%m-%d")})


def figures(index: Index, asked: Sequence[JudgedQuestion], measure: Callable[..., float]) -> dict[str, Any]:
    """Of each way the mean, and what reranking adds, question by question."""
    by_way: dict[str, list[float]] = {name: [] for name in WAYS}
    with progress.task("asking", len(asked), "questions") as advance:
        for one in asked:
            for name, (by, rerank) in WAYS.items():
                passages = index.search(one.text, FOUND, by, rerank)
                files = list(dict.fromkeys(passage.file for passage in passages))
                by_way[name].append(measure([one.worth.get(file, 0.0) for file in files], one.worth))
            advance(1)
    groups = [one.group for one in asked]
    means = {name: _told(clustered_mean(values, groups)) for name, values in by_way.items()}
    added = _told(paired_difference(by_way["hybrid"], by_way["reranked"], groups))
    return {"measure": measure.__name__, "n": len(asked), **means, "reranked minus hybrid": added}


def ndcg(worth: Sequence[float], judged: Mapping[str, float]) -> float:
    """nDCG@10, a document counting with its grade."""
    best = sorted(judged.values(), reverse=True)[:COUNTED]
    weights = 1 / np.log2(np.arange(COUNTED) + 2)
    got, most = (float(np.dot(one[:COUNTED], weights[: len(one[:COUNTED])])) for one in (list(worth), best))
    return got / most


def first(worth: Sequence[float], judged: Mapping[str, float]) -> float:
    """Whether the first document is the right one."""
    return float(bool(worth) and worth[0] > 0)


@contextmanager
def xquad() -> Iterator[tuple[Index, list[JudgedQuestion]]]:
    """240 paragraphs and the questions that people asked about them."""
    with indexed("xquad-en") as (index, asked):
        yield index, [JudgedQuestion(one.text, {one.file: 1.0}, one.title) for one in asked]


@contextmanager
def cranfield() -> Iterator[tuple[Index, list[JudgedQuestion]]]:
    """1,400 abstracts on aerodynamics, 225 queries, and which abstracts people found relevant to each."""
    folder = _folder()
    text = gzip.decompress((folder / "cran.all.1400.xml.gz").read_bytes()).decode()
    records = [
        {"id": _field(one, "docno"), "title": _field(one, "title"), "text": _field(one, "text")}
        for one in re.findall(r"<doc>.*?</doc>", text, re.DOTALL)
    ]
    queries = re.findall(r"<title>(.*?)</title>", (folder / "cran.qry.xml").read_text(encoding="utf-8"), re.DOTALL)
    judged: dict[int, dict[str, float]] = {}
    for line in (folder / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        if int(grade) > 0:
            judged.setdefault(int(query), {})[document] = float(grade)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary, "abstracts.jsonl")
        kept = [one for one in records if one["text"]]
        place.write_text("".join(json.dumps(one) + "\n" for one in kept), encoding="utf-8")
        index = build(place, Path(temporary, "index"))
        names = {one["id"]: f"{place.name}#{line}" for line, one in enumerate(kept, 1)}  # two abstracts are empty
        yield (
            index,
            [
                JudgedQuestion(
                    " ".join(query.split()),
                    {names.get(document, document): grade for document, grade in judged[number].items()},
                    str(number),
                )
                for number, query in enumerate(queries, 1)
                if number in judged
            ],
        )


def _folder() -> Path:
    folders = [Path(one, "cranfield") for one in os.environ.get("LMWORKS_DATA", "").split(os.pathsep) if one]
    for one in folders:
        if (one / "cran.qry.xml").exists():
            return one
    raise SystemExit("Cranfield is not here; put it into a folder cranfield of LMWORKS_DATA")


def _field(document: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", document, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _told(estimate: Any) -> dict[str, Any]:
    interval = estimate.interval and [round(one, 4) for one in estimate.interval]
    return {"value": round(estimate.value, 4), "interval": interval}


if __name__ == "__main__":
    main()

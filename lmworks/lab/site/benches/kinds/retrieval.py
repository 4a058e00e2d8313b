"""Answers from documents, each stage on and off: what is found, what is said, and what nothing supports."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.grounding.index import Index
    from lmworks.grounding.passage import Passage
    from lmworks.lab.site.words import Words
    from lmworks.language_model import LanguageModel

DOCUMENTS = {
    "lease": "The rent is 740 euros a month and is due on the third working day. Pets need the landlord's consent.",
    "heating": "The radiators are bled every October. If the boiler shows E42, the water pressure is below one bar: "
    "open the blue valve until the needle stands at 1.5.",
    "bins": "Paper is collected on the first Monday of the month, glass on the second Tuesday.",
    "laundry": "The washing machine in the cellar may be used from seven in the morning until nine in the evening.",
    "keys": "A lost front-door key costs 120 euros, because the whole lock is replaced.",
    "garden": "The apple tree belongs to everybody. Who mows the lawn may keep the windfall.",
    "bicycles": "Bikes stand in the shed behind the house; its door code is 7319 and changes each spring.",
    "noise": "Between ten at night and six in the morning, music must not be heard outside the flat.",
}
"""A made-up house, a file each."""
QUESTIONS = (
    "On which day must I pay the landlord?",
    "What does E42 mean?",
    "How late may I do my washing?",
    "Who pays for the repair of the roof?",
)
"""One in other words, one by an exact code, one by meaning, one that no document answers."""
STAGES = ("keywords", "vectors", "hybrid", "reranked")
FOUND, SAID = 3, 60


def _example() -> Example:
    """Of each question and stage: the passages; of each question: the quoted answer and two that a model wrote."""
    from lmworks.grounding.index import build
    from lmworks.loading import load

    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "house")
        notes.mkdir()
        for name, text in DOCUMENTS.items():
            (notes / f"{name}.txt").write_text(text, encoding="utf-8")
        index, writer = build(notes, Path(folder, "index")), load("smollm2")
        return {"documents": DOCUMENTS, "questions": [_asked(index, writer, question) for question in QUESTIONS]}


def _asked(index: Index, writer: LanguageModel, question: str) -> dict[str, Any]:
    found = {stage: _found(index, question, stage) for stage in STAGES}
    answer = index.ask(question)
    best = [one.text for one in found["reranked"]]
    return {
        "question": question,
        "stages": {stage: [_named(one) for one in passages] for stage, passages in found.items()},
        "quoted": {"text": answer.text, "refused": answer.refused, "confidence": round(answer.confidence, 3)},
        "written": _written(writer, question, best, best),
        "alone": _written(writer, question, [], best),
    }


def _found(index: Index, question: str, stage: str) -> list[Passage]:
    if stage == "keywords":
        return index.search(question, FOUND, by="keywords")
    if stage == "vectors":
        return index.search(question, FOUND, by="vectors")
    return index.search(question, FOUND, rerank=stage == "reranked")


def _named(passage: Passage) -> dict[str, Any]:
    return {"document": Path(passage.file).stem, "text": passage.text, "score": round(passage.score, 3)}


def _written(writer: LanguageModel, question: str, given: list[str], known: list[str]) -> list[dict[str, Any]]:
    """What the model writes, sentence by sentence, and whether one of the passages supports it."""
    from lmworks.generation.strategies import Greedy
    from lmworks.grounding.prompting import writing
    from lmworks.grounding.support import supports

    prompt = writing(question, given) if given else [{"role": "user", "content": question}]
    text = str(writer.generate(prompt, Greedy(), max_new_tokens=SAID)).strip()
    sentences = [one for one in re.split(r"(?<=[.!?])\s+", text) if one]
    return [{"text": one, "supported": any(supports(span, one, "english") for span in known)} for one in sentences]


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_retrieval")
    rows = [
        (one["question"], one["quoted"]["text"], " ".join(part["text"] for part in one["alone"]))
        for one in example["questions"]
    ]
    return StaticTable(say["answers"], (say["question"], say["quoted"], say["alone"]), rows)


BENCH = Bench(
    "retrieval",
    claims=(36, 45),
    scripts=("retrieval.js",),
    controls=(
        Control("question", "choice", "1", choices=tuple(str(at + 1) for at in range(len(QUESTIONS)))),
        Control("search", "choice", "reranked", choices=STAGES),
        Control("answer", "choice", "quoted", choices=("quoted", "written", "alone")),
    ),
    example=_example,
    table=_table,
)

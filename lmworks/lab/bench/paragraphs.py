"""Paragraphs that people asked questions about, as an index; what a search finds of them and what is answered."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lmworks.grounding.answer import REFUSAL, GroundedAnswer
from lmworks.grounding.heads.questions import questions
from lmworks.grounding.index import By, Index, build
from lmworks.grounding.self_test.answering import View, f1
from lmworks.language_model import LanguageModel

PARAGRAPHS = "paragraphs.jsonl"


@dataclass(frozen=True)
class ParagraphQuestion:
    """A question, its article, its paragraph's document, and its answers."""

    text: str
    title: str
    file: str
    golds: tuple[str, ...]

    def f1(self, said: str) -> float:
        """Of the nearest of its answers."""
        return max(f1(said, one) for one in self.golds)


@contextmanager
def indexed(name: str) -> Iterator[tuple[Index, list[ParagraphQuestion]]]:
    """An index of the paragraphs of a set in SQuAD's form, a document each, and the questions that have an answer."""
    asked = questions(name)
    files = {context: f"{PARAGRAPHS}#{at}" for at, context in enumerate(dict.fromkeys(one.context for one in asked), 1)}
    titles = {one.context: one.title for one in asked}
    with TemporaryDirectory() as folder:
        records = [{"title": titles[text].replace("_", " "), "text": text} for text in files]
        place = Path(folder, PARAGRAPHS)
        place.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        found = [
            ParagraphQuestion(one.text, one.title, files[one.context], tuple(one.context[a:b] for a, b in one.answers))
            for one in asked
            if one.answers
        ]
        yield build(place, Path(folder, "index")), found


def some(asked: Sequence[ParagraphQuestion], count: int, seed: int = 0) -> list[ParagraphQuestion]:
    """That many of the questions, in an order that depends on the seed alone."""
    return random.Random(seed).sample(list(asked), min(count, len(asked)))


def place(index: Index, asked: ParagraphQuestion, by: By, rerank: bool, most: int = 10) -> float:
    """The place, from 0, of the right paragraph among those that are found; `most` where it is not among them."""
    found = index.search(asked.text, 3 * most, by, rerank)  # a paragraph may be found by several chunks
    files = list(dict.fromkeys(one.file for one in found))
    return float(files.index(asked.file)) if asked.file in files[:most] else float(most)


def with_all(index: Index) -> View:
    """The index, with a gate that refuses nothing."""
    return View(index, lambda one: one)


def without(index: Index, asked: ParagraphQuestion) -> View:
    """The same as if the right paragraph were not in it."""
    return View(index, lambda one: None if one.file == asked.file else one)


def written(model: LanguageModel, question: str, passages: Sequence[str], tokens: int) -> str:
    """What a model writes, with passages in front or with none."""
    asked = f"Question: {question}\nAnswer in a few words:"
    pieces = "".join(f"Passage: {' '.join(one.split())}\n" for one in passages)
    return str(model.generate([{"role": "user", "content": pieces + asked}], max_new_tokens=tokens))


def says(answer: GroundedAnswer) -> str:
    """The answer's words, without the numbers of its citations; nothing where it is refused."""
    if answer.refused or answer.text == REFUSAL:
        return ""
    words = answer.text
    for one in answer.citations:
        words = words.replace(f"[{one.number}]", "")
    return " ".join(words.split())

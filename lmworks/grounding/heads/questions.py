"""Questions on paragraphs, with the spans that answer them: SQuAD's files and those of its form.

Source: Rajpurkar et al. 2016 and 2018, https://arxiv.org/abs/1606.05250, https://arxiv.org/abs/1806.03822.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from lmworks.text.registry import content

Span = tuple[int, int]
"""Where something begins and ends in a text, in characters."""


@dataclass(frozen=True)
class ParagraphQuestion:
    """A question on a paragraph."""

    text: str
    context: str
    """The paragraph."""
    title: str
    """The article that the paragraph is from."""
    answers: tuple[Span, ...]
    """Where people found the answer in the paragraph; none where it has no answer."""
    plausible: Span | None = None
    """Of a question without an answer, what looks like one."""


def questions(name: str) -> list[ParagraphQuestion]:
    """The questions of a registered text."""
    return read_questions(content(name))


def read_questions(file: bytes) -> list[ParagraphQuestion]:
    """The questions of a file in SQuAD's form."""
    return [
        ParagraphQuestion(
            asked["question"].strip(),
            paragraph["context"],
            article["title"],
            tuple(dict.fromkeys(map(_span, asked["answers"]))),
            next(map(_span, asked.get("plausible_answers", [])), None),
        )
        for article in json.loads(file)["data"]
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]


def _span(answer: dict[str, object]) -> Span:
    start, text = answer["answer_start"], answer["text"]
    assert isinstance(start, int) and isinstance(text, str)
    return start, start + len(text)

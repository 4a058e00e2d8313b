"""Multiple choice as the files of LLM-Adapters hold it: ARC, OpenBookQA, PIQA and WinoGrande, each item rebuilt from an
instruction ("Answer1: ... Answer2: ...") into the prompt that lm-evaluation-harness gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial

from lmworks.basics.errors import DataError
from lmworks.evaluation.tasks.declaration import Choices, Task
from lmworks.text.registry import content

Shape = Callable[[str, tuple[str, ...]], tuple[tuple[str, str], ...]]
_OPENING = re.compile(
    r"Please choose the correct (?:answer|solution) to "
    r"(?:the question|fill in the blank to complete the given sentence): (.*)\n\n"
    r"(Answer|Solution|Option)1: (.*?)(?:\n\n| )Answer format: \S+",
    re.DOTALL,
)


def _items(name: str, shape: Shape) -> list[Choices]:
    return [_item(f"{name}#{at}", one, shape) for at, one in enumerate(json.loads(content(name)), 1)]


def _item(name: str, record: dict[str, str], shape: Shape) -> Choices:
    found = _OPENING.fullmatch(record["instruction"])
    if found is None:
        raise DataError(f"{name}: the instruction is not one of its file; remove the file, and it is fetched again")
    question, word, rest = found.groups()
    choices = tuple(re.split(rf"(?:\n\n| ){word}\d: ", rest))
    right = int(record["answer"].removeprefix(word.lower())) - 1
    return Choices(name, shape(question, choices), right, choices)


def _asked(question: str, choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"Question: {question}\nAnswer:", f" {choice}") for choice in choices)


def _continued(question: str, choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((question, f" {choice}") for choice in choices)


def _filled(sentence: str, choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The blank filled with each choice; the rest of the sentence is what is scored (Trinh and Le 2018)."""
    before, _, after = sentence.partition("_")
    return tuple((before + choice, f" {after.strip()}") for choice in choices)


ARC_EASY = Task("arc-easy", "questions of school science", "arc-easy", partial(_items, "arc-easy", _asked))
ARC_CHALLENGE = Task(
    "arc-challenge",
    "questions of school science that retrieval does not answer",
    "arc-challenge",
    partial(_items, "arc-challenge", _asked),
)
OPENBOOKQA = Task(
    "openbookqa",
    "questions of school science; the question is continued",
    "openbookqa",
    partial(_items, "openbookqa", _continued),
    domain="the answer is:",
)
PIQA = Task("piqa", "which of two ways reaches a goal", "piqa", partial(_items, "piqa", _asked))
WINOGRANDE = Task(
    "winogrande",
    "which of two names fills a blank",
    "winogrande",
    partial(_items, "winogrande", _filled),
    scored=("sum",),
    main="sum",
)

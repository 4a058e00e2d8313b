"""Questions whose answers are written, and compared with references."""

from __future__ import annotations

import json

from lmworks.evaluation.tasks.declaration import Question, Task
from lmworks.evaluation.tasks.scores import NUMBER
from lmworks.text.registry import content


def _xquad() -> list[Question]:
    return [
        Question(
            f"xquad#{one['id']}",
            f"{paragraph['context']}\n\nQuestion: {one['question']}\nAnswer:",
            tuple(dict.fromkeys(answer["text"] for answer in one["answers"])),
            article["title"],
        )
        for article in json.loads(content("xquad-en"))["data"]
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
    ]


def _multiarith() -> list[Question]:
    return [
        Question(
            f"multiarith#{at}",
            f"Question: {one['instruction'].strip()}\nAnswer:",
            (f"{float(one['answer']):g}",),
            check="number",
        )
        for at, one in enumerate(json.loads(content("multiarith")), 1)
    ]


XQUAD = Task(
    "xquad",
    "questions on a paragraph, answered in its words",
    "xquad-en",
    _xquad,
    main="F1",
    clustered=True,
    longest=32,
)
MULTIARITH = Task(
    "multiarith", "problems of arithmetic in words, answered by a number", "multiarith", _multiarith, main=NUMBER
)

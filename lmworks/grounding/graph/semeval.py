"""SemEval-2010 task 8: sentences with two marked nominals and the relation between them, and its official score.

Source: Hendrickx et al. 2010, https://aclanthology.org/S10-1006.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.text.registry import content

Span = tuple[int, int]
KINDS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
OTHER = "Other"
RELATIONS = (OTHER, *(f"{kind}({order})" for kind in KINDS for order in ("e1,e2", "e2,e1")))
"""What stands between two nominals: a relation in one of its directions, or none of the nine."""
FILES = {
    "train": "SemEval2010_task8_training/TRAIN_FILE.TXT",
    "test": "SemEval2010_task8_testing_keys/TEST_FILE_FULL.TXT",
}


@dataclass(frozen=True)
class Related:
    """A sentence with two spans of it, in the order of the text, and the number of their relation."""

    text: str
    first: Span
    second: Span
    relation: int


def related(split: str) -> list[Related]:
    """The sentences of the training or the test set, in their order."""
    with tarfile.open(fileobj=io.BytesIO(content("semeval2010-task8"))) as archive:
        member = archive.extractfile(f"SemEval2010_task8_all_data/{FILES[split]}")
        assert member is not None
        return read_related(member.read().decode("utf-8"))


def read_related(file: str) -> list[Related]:
    """The sentences of a file: a number and a sentence in quotation marks, its relation, a comment, an empty line."""
    lines = file.replace("\r\n", "\n").split("\n")
    found = []
    for at, line in enumerate(lines):
        numbered = re.fullmatch(r'\d+\t"(.*)"\s*', line)
        if numbered:
            found.append(_parsed(numbered[1], lines[at + 1].strip()))
    return found


def _parsed(marked: str, relation: str) -> Related:
    text, spans = "", []
    for piece in re.split(r"(</?e[12]>)", marked):
        if re.fullmatch(r"<e[12]>", piece):
            spans.append([len(text), 0])
        elif piece.startswith("</e"):
            spans[-1][1] = len(text)
        else:
            text += piece
    (first, second) = ((start, end) for start, end in spans)
    return Related(text, first, second, RELATIONS.index(relation))


def macro_f1(told: Sequence[int], true: Sequence[int]) -> float:
    """The official score: F1 of each of the nine relations, direction counted, averaged; Other is left out.

    A relation whose direction is wrong is neither found nor rightly left out, as in the task's scorer (9 + 1 classes).
    """
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for guess, truth in zip(told, true, strict=True):
        said[_kind(guess)] += 1
        there[_kind(truth)] += 1
        right[_kind(truth)] += guess == truth
    scores = [2 * right[kind] / (said[kind] + there[kind]) if said[kind] + there[kind] else 0.0 for kind in KINDS]
    return sum(scores) / len(KINDS)


def _kind(relation: int) -> str:
    return RELATIONS[relation].partition("(")[0]

"""What a model made of an item: the score of each choice and which it picks, or the answer that it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from typing import Any

from lmworks.evaluation.answer_words import last_number, overlap, words
from lmworks.evaluation.tasks.declaration import Choices, Question, Scoring
from lmworks.generation.continuations import Continuation

EXACT, F1, NUMBER, PASSES = "exact", "F1", "last number", "tests pass"
ALIKE = 1e-6
"""Scores that differ by a smaller share are equal: what is added in another order differs by this much."""


@dataclass(frozen=True)
class ItemScores:
    """One item's scores."""

    item: str
    group: str = ""
    scores: dict[str, list[float]] = field(default_factory=dict)
    """By scoring, of each choice: natural log-probabilities, or their share by character or byte."""
    right: int | None = None
    """The place of the right choice."""
    written: str | None = None
    """The answer that was written."""
    ways: dict[str, str] = field(default_factory=dict)
    """What was written in each way, of an item that is asked in several."""
    alike: dict[str, float] = field(default_factory=dict)
    """Of a written answer, by figure: 1 for exact, 0 for nothing in common."""

    def picked(self, scoring: str) -> list[int]:
        """The best choices by a scoring: more than one where they tie."""
        scores = self.scores[scoring]
        best = max(scores)
        return [at for at, score in enumerate(scores) if best - score <= ALIKE * max(abs(best), 1)]

    def credit(self, figure: str) -> float:
        """1 for right, 0 for wrong; what a guess gets on average among choices that tie."""
        if self.right is None:
            return self.alike[figure]
        picked = self.picked(figure)
        return (self.right in picked) / len(picked)

    @property
    def figures(self) -> list[str]:
        """How it was scored."""
        return [*self.scores, *self.alike]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        return asdict(self)


def of_choices(
    item: Choices,
    scored: Sequence[Scoring],
    found: Sequence[Continuation],
    domain: Sequence[Continuation] = (),
    tokens: Sequence[Sequence[int]] = (),
) -> ItemScores:
    """The scores of choices by what was found of each, and of each after the words of the domain alone. `tokens` are
    those of two sentences, where what they share is scored."""
    totals = [one.total for one in found]
    by: dict[Scoring, list[float]] = {
        "sum": totals,
        "characters": [total / len(choice) for total, choice in zip(totals, item.choices, strict=True)],
        "bytes": [total / len(choice.encode()) for total, choice in zip(totals, item.choices, strict=True)],
        "rest": [sum(one.logprobs[1:]) for one in found],
    }
    if "shared" in scored:
        places = shared(tokens[0], tokens[1])
        by["shared"] = [sum(one.logprobs[at] for at in own) for one, own in zip(found, places, strict=True)]
    if domain:
        by["pmi"] = [total - one.total for total, one in zip(totals, domain, strict=True)]
    return ItemScores(item.name, item.group, {name: by[name] for name in scored}, item.right)


def shared(first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
    """The places of the tokens that two sentences share in their order, in each of them, as CrowS-Pairs' metric.py
    finds them."""
    matches = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return (
        [at for one in matches for at in range(one.a, one.a + one.size)],
        [at for one in matches for at in range(one.b, one.b + one.size)],
    )


def of_answer(item: Question, answer: str) -> ItemScores:
    """The likeness of a written answer to the reference that is most like it; where a number is asked for, also whether
    its last number is right."""
    exact = float(any(words(answer) == words(one) for one in item.answers))
    alike = {EXACT: exact, F1: max(overlap(answer, one) for one in item.answers)}
    if item.check == "number":
        alike[NUMBER] = float(last_number(answer) in {last_number(one) for one in item.answers} - {None})
    return ItemScores(item.name, item.group, written=answer, alike=alike)

"""What a test found, as a table that is read in ten seconds, as JSON, and as what the index keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.self_test.figures import REFUSED, RIGHT, WRONG

WAYS = ("keywords", "vectors", "hybrid", "reranked")
COLUMNS = ("recall@1", "recall@5", "recall@10", "nDCG@10")


@dataclass(frozen=True)
class SampleQuestion:
    """A question of the test, to look at."""

    question: str
    kind: str
    answer: str
    right: str
    """The document that is right."""
    found: str
    """The document of the passage that was found first."""
    text: str
    """How that passage begins."""
    place: int
    """Of the first right passage, from 1."""


@dataclass(frozen=True)
class SelfTestOutcome:
    """Figures, settings, and what they come from."""

    place: str
    """Where the index lies."""
    questions: int
    seed: int
    digest: str
    """Of the index as it was tested (`Index.digest`)."""
    weight: float | None = None
    """The share of the vectors in a hybrid search that was chosen; None where too little speaks for one."""
    rerank: bool = False
    """Whether a cross-encoder orders the first passages: only where that is better beyond its interval."""
    figures: list[Measurement] = field(default_factory=list)
    samples: list[SampleQuestion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    @property
    def kept(self) -> dict[str, Any]:
        """What an index keeps of it; settings that were not chosen are left out.

        The gate's threshold stays the fitted one: questions that are made keep the words of their sentence, and are
        answered with more confidence than those of people (docs/answers.md), whom a threshold from them would refuse.
        """
        facts: dict[str, Any] = {
            "rerank": self.rerank,
            "figures": [one.to_json() for one in self.figures],
            "questions": self.questions,
            "seed": self.seed,
            "index": self.digest,
            "notes": self.notes,
        }
        if self.weight is not None:
            facts["weight"] = self.weight
        return facts

    def to_json(self) -> dict[str, Any]:
        """Everything, samples too."""
        return {"place": self.place, **self.kept, "samples": [asdict(one) for one in self.samples]}

    @property
    def counts(self) -> str:
        """How many of the questions whose answer is there were answered right, refused, and answered wrong."""
        shares = {one.name: one for one in self.figures}
        if RIGHT not in shares:
            return self.notes[0] if self.notes else "no question was answered"
        told = ((RIGHT, "right"), (REFUSED, "refused"), (WRONG, "wrong"))
        counted = [f"{round(shares[name].value * (shares[name].n or 0))} {word}" for name, word in told]
        return f"{shares[RIGHT].n} questions made from the text: {', '.join(counted)}"

    @property
    def lines(self) -> list[str]:
        """The figures of the way in which the index searches and of its answers, each with n, interval and chance. What
        its settings were chosen by is in lmworks.json and the report."""
        way = "reranked" if self.rerank else "hybrid"
        others = tuple(f", {one}" for one in WAYS if one != way)
        own = [one for one in self.figures if not one.name.endswith(others) and " gained by " not in one.name]
        width = max((len(one.name) for one in own), default=0)
        return [*(f"{one.name:<{width}}  {one}" for one in own), *(f"note: {one}" for one in self.notes)]

    @property
    def table(self) -> str:
        """For people."""
        return "\n".join([*self._searching(), *self._others(), *self._settings(), *self._shown()])

    def _searching(self) -> list[str]:
        figures = {one.name: one for one in self.figures}
        rows = []
        for way in WAYS:
            own = [figures.get(f"{column}, {way}") for column in COLUMNS]
            if last := own[-1]:
                cells = "".join(f"{one.value:>11.3f}" if one else " " * 11 for one in own)
                rows.append(f"{way:<10}{cells}   {_interval(last)}")
        if not rows:
            return [f"{self.questions} questions made from {self.place}"]
        head = f"{'':<10}" + "".join(f"{column:>11}" for column in COLUMNS) + "   95 % of nDCG@10"
        chance = [figures.get(f"{column}, keywords") for column in COLUMNS]
        guess = "".join(f"{one.chance:>11.3f}" if one and one.chance is not None else " " * 11 for one in chance)
        return [f"{self.questions} questions made from {self.place}", "", head, *rows, f"{'guessing':<10}{guess}"]

    def _others(self) -> list[str]:
        ways = tuple(f", {way}" for way in WAYS)
        others = [one for one in self.figures if not one.name.endswith(ways)]
        width = max((len(one.name) for one in others), default=0)
        return ["", *(f"{one.name:<{width}}  {one}" for one in others)] if others else []

    def _settings(self) -> list[str]:
        lines = []
        if self.weight is not None:
            lines.append(f"weight    {self.weight:.2f} of the vectors, {1 - self.weight:.2f} of the keywords")
            lines.append(f"rerank    {'on' if self.rerank else 'off'}")
        return ["", *lines, *(f"note      {one}" for one in self.notes)] if lines or self.notes else []

    def _shown(self) -> list[str]:
        lines = []
        for one in self.samples:
            told = "found first" if one.place == 1 else f"found at place {one.place}; before it {one.found}"
            wanted = f" ({one.answer})" if one.answer else ""
            lines += [
                "",
                f"asked     {one.question}",
                f"right     {one.right}{wanted}: {told}",
                f"          {one.text}",
            ]
        return lines


def _interval(one: Measurement) -> str:
    return f"{one.interval[0]:.3f} ... {one.interval[1]:.3f}" if one.interval else "one document: none"

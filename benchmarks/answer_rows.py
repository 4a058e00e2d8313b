"""What comes out for a question with its passage and without it, in numbers that any gate can judge.

    for row in rows(index, reader, questions, k=6, kept=Kept(Path("rows.jsonl"), "xquad")): print(row.there)

A row takes a second or two. `Kept` holds those that are made in a file, so that a run that was ended goes on.
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answer_kinds import Question, plain
from lmworks.grounding import asking
from lmworks.grounding.answer import BestSpan, GroundedAnswer, Reader
from lmworks.grounding.gate import Gate, Logistic
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Passage

UNJUDGED = Gate(Logistic([0.0] * 4, 0.0), Logistic([0.0] * 6, 0.0), 0.0, 0.0)
"""Lets everything through."""
SPARE = 40
"""Passages that are looked through for those that stay, beyond those that are wanted."""


@dataclass
class Remembering:
    """A reader that reads each text once for a question."""

    reader: Reader
    known: dict[tuple[str, str, str], BestSpan] = field(default_factory=dict)

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        """From memory where it is there."""
        both = list(zip(texts, headings or [""] * len(texts), strict=True))
        new = [one for one in both if (question, *one) not in self.known]
        if new:
            read = self.reader.read(question, [text for text, _ in new], [heading for _, heading in new])
            self.known |= zip([(question, *one) for one in new], read, strict=True)
        return [self.known[question, *one] for one in both]


class Without:
    """An index as if some of its passages were not in it."""

    def __init__(self, index: Any, removed: Callable[[Passage], bool]) -> None:
        self._index, self._removed = index, removed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, query: str, k: int = 10, by: Any = "hybrid", **how: Any) -> list[Passage]:
        """As the index's, with passages left out."""
        return [one for one in self._index.search(query, k + SPARE, by, **how) if not self._removed(one)][:k]


@dataclass(frozen=True)
class Row:
    """What came out for one question; what is right is counted as if nothing were refused."""

    question: str
    group: str
    answerable: bool
    there: Sequence[float]
    """What the gate looks at, with every passage."""
    removed: Sequence[float] | None
    """And without those that hold the answer; None where none does."""
    said: str
    """The answer."""
    still: str
    """What is answered without those passages."""
    exact: float
    f1: float
    supported: bool
    """Whether a citation holds the answer."""
    first: bool
    """Whether the first passage does."""
    valid: bool
    verbatim: bool
    cited: int
    supporting: int
    may_answer: bool
    """Whether the best passage names what the question does by letters and figures, or by month or weekday, and says
    something of the kind that is asked for; else it is refused."""
    may_answer_without: bool
    """And where those that hold the answer are taken away."""
    of_asked_kind: bool
    """Whether it says something of the kind that is asked for,"""
    of_asked_kind_without: bool
    """and where they are taken away."""
    elsewhere: bool
    """Whether other figures of another passage are shown beside the answer."""

    @property
    def gone(self) -> Sequence[float] | None:
        """What the gate looks at where the answer is taken away; None where nothing was, or where the same is answered
        without it."""
        return None if self.still == self.said else self.removed


def made(index: Index, reader: Reader, one: Question, k: int) -> Row:
    """Ask a question twice."""
    memory = Remembering(reader)
    there = asking.look(index, one.text, k, memory, UNJUDGED)
    less = asking.look(Without(index, one.removed), one.text, k, memory, UNJUDGED) if one.removed else None
    answer, still = asking.extracted(there), asking.extracted(less) if less and less.evidence else None
    said = there.evidence[0].answer
    held = [one.holds(cited.text) for cited in answer.citations if not cited.differs]
    verbatim = all(
        (index.document(cited.file) or "")[cited.start : cited.end] == cited.text for cited in answer.citations
    )
    return Row(
        one.text,
        one.group,
        answerable=bool(one.golds),
        there=astuple(there.features),
        removed=astuple(less.features) if less else None,
        said=answer.alone,
        still=still.alone if still else "",
        exact=max((float(plain(said) == plain(gold)) for gold in one.golds), default=0.0),
        f1=max((f1(said, gold) for gold in one.golds), default=0.0),
        supported=any(held),
        first=bool(one.removed and one.removed(there.evidence[0].passage)),
        valid=chips(answer) == [cited.number for cited in answer.citations] == [*range(1, len(answer.citations) + 1)],
        verbatim=verbatim,
        cited=len(held),
        supporting=sum(held),
        may_answer=there.may_answer,
        may_answer_without=less is None or not less.evidence or less.may_answer,
        of_asked_kind=there.is_of_asked_kind,
        of_asked_kind_without=less is None or not less.evidence or less.is_of_asked_kind,
        elsewhere=any(cited.differs for cited in answer.citations),
    )


def chips(answer: GroundedAnswer) -> list[int]:
    """The numbers of the citations in an answer's text."""
    return [int(one) for one in re.findall(r"\[(\d+)\]", answer.text)]


def f1(said: str, gold: str) -> float:
    """Of their words."""
    ours, theirs = plain(said).split(), plain(gold).split()
    shared = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


class Kept:
    """The rows of a kind in a file of JSON lines, which may be missing; no file, nothing is kept."""

    def __init__(self, file: Path | None, kind: str) -> None:
        self.file, self.kind = file, kind
        lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
        facts = [json.loads(one) for one in lines]
        self.rows = {one["question"]: Row(**one) for one in facts if one.pop("kind") == kind}

    def keep(self, row: Row) -> None:
        """Add one."""
        self.rows[row.question] = row
        if self.file:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": self.kind} | asdict(row)) + "\n")


def rows(index: Index, reader: Reader, asked: Sequence[Question], k: int, kept: Kept) -> Iterator[Row]:
    """A row for each question, from those that are kept where it is among them."""
    for number, one in enumerate(asked, 1):
        if one.text not in kept.rows:
            kept.keep(made(index, reader, one, k))
            if number % 20 == 0 or number == len(asked):
                print(f"{kept.kind}: {number} of {len(asked)} questions", flush=True)
        yield kept.rows[one.text]

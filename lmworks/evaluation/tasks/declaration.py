"""What a task is: where its items come from, what a model is asked, and how that is scored.

A new task is a new file in `sets/`, a new kind of item one in `kinds/`; a user's own is a file of questions (`own.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmworks.evaluation.measurement import Measurement
from lmworks.text.document import Turn
from lmworks.text.tool import Tool

Scoring = Literal["sum", "characters", "bytes", "pmi", "rest", "shared"]
SCORINGS: dict[Scoring, str] = {
    "sum": "log-likelihood",
    "characters": "by characters",
    "bytes": "by bytes",
    "pmi": "domain PMI",
    "rest": "without the first token",
    "shared": "by the tokens that both share",
}
"""How choices are compared: the log-likelihood of each (lm-evaluation-harness' acc); a character's (acc_norm) and a
byte's (acc_bytes) share of it; less that of the choice after words that only set the domain (Holtzman et al. 2021,
https://arxiv.org/abs/2104.08315); without that of the first token, before which nothing stands; of
the tokens alone that two sentences share, so that how frequent the other words are does not count."""
Check = Literal["number"]
"""Of a written answer: number, by the last number in it, whatever stands around that."""
FUNCTION_ENDS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""What no longer belongs to a function that an answer goes on with (HumanEval)."""
BETWEEN = "\n\n"
"""What stands between an example and what follows it, as in lm-evaluation-harness."""


@dataclass(frozen=True)
class Choices:
    """An item with choices, of which one is right."""

    name: str
    """Unique in its task: "piqa#12"."""
    asked: tuple[tuple[str, str], ...]
    """For each choice, a context and its continuation."""
    right: int
    """The place of the right choice."""
    choices: tuple[str, ...]
    """Whose characters and bytes are counted."""
    group: str = ""
    """Items of one group depend on each other."""

    @property
    def asks(self) -> tuple[Any, ...]:
        """What scores depend on but the model: all but which choice is right."""
        return self.asked, self.choices

    @property
    def told(self) -> dict[str, Any]:
        """What is asked and what is right, to be read beside its scores."""
        contexts = list(dict.fromkeys(context for context, _ in self.asked))
        prompt = contexts[0] if len(contexts) == 1 else [context for context, _ in self.asked]
        shown = {"prompt": prompt} if prompt else {}
        return {**shown, "choices": list(self.choices), "expected": self.choices[self.right]}

    @property
    def shown(self) -> str:
        """It and its answer, as an example."""
        return "".join(self.asked[self.right])

    def after(self, examples: str) -> tuple[tuple[str, str], ...]:
        """What is asked after examples."""
        return tuple((examples + context, continuation) for context, continuation in self.asked)

    @property
    def text(self) -> str:
        """What a text that holds the item would hold: the question and its right answer."""
        return _bare(self.shown)


@dataclass(frozen=True)
class Question:
    """An item whose answer is written."""

    name: str
    prompt: str
    answers: tuple[str, ...]
    """Any of them is right."""
    group: str = ""
    check: Check | None = None
    """How an answer is judged beside its words."""

    @property
    def asks(self) -> tuple[Any, ...]:
        """What the answer depends on but the model."""
        return (self.prompt,)

    @property
    def told(self) -> dict[str, Any]:
        """What is asked and what is right, to be read beside the answer."""
        return {"prompt": self.prompt, "expected": list(self.answers)}

    @property
    def shown(self) -> str:
        """It and its first answer, as an example."""
        return f"{self.prompt} {self.answers[0]}"

    @property
    def text(self) -> str:
        """The question and its first answer."""
        return _bare(self.shown)


@dataclass(frozen=True)
class Program:
    """An item whose answer is a program, checked by running its tests."""

    name: str
    prompt: str
    tests: str
    """Code that is run after the program, and must raise no error."""
    before: str = ""
    """The beginning of the program, which the answer continues; "" where the answer is the whole program."""
    solution: str = ""
    """A right answer, for examples."""
    stops: tuple[str, ...] = ()
    """What ends an answer."""
    group: str = ""

    @property
    def asks(self) -> tuple[Any, ...]:
        """What the answer depends on but the model."""
        return self.prompt, self.stops

    @property
    def told(self) -> dict[str, Any]:
        """What is asked and what checks it, to be read beside the answer."""
        return {"prompt": self.prompt, "expected": self.tests}

    @property
    def shown(self) -> str:
        """It and its solution, as an example."""
        return self.prompt + self.solution

    @property
    def text(self) -> str:
        """The same: what a text that holds the item would hold."""
        return self.shown


@dataclass(frozen=True)
class Calling:
    """An item whose answer calls functions, or none."""

    name: str
    messages: tuple[Turn, ...]
    tools: tuple[Tool, ...]
    functions: tuple[dict[str, Any], ...]
    """The same, described as BFCL does it."""
    wanted: tuple[dict[str, Any], ...]
    """For each call that is wanted, the values of each argument that are right; none where no function helps."""
    several: bool = False
    """Whether several calls are wanted."""
    group: str = ""

    @property
    def asks(self) -> tuple[Any, ...]:
        """What the answers depend on but the model: where a call is wanted, it is also asked for."""
        return self.messages, self.functions, bool(self.wanted), self.several

    @property
    def told(self) -> dict[str, Any]:
        """What is asked and what is right, to be read beside the answers."""
        return {"prompt": self.shown, "expected": list(self.wanted)}

    @property
    def shown(self) -> str:
        """What is asked."""
        return self.messages[-1]["content"]

    @property
    def text(self) -> str:
        """What is asked: the calls are no text that one reads elsewhere."""
        return self.shown


def _bare(shown: str) -> str:
    """Without the words of the prompt's form, which no other text has."""
    return shown.removeprefix("Question: ").replace("\nQuestion: ", "\n").replace("\nAnswer:", "\n")


@dataclass(frozen=True)
class Association:
    """A test of what lies nearer to what: two sets of targets, two of attributes, words or sentences."""

    name: str
    targets: tuple[tuple[str, ...], tuple[str, ...]]
    attributes: tuple[tuple[str, ...], tuple[str, ...]]
    titles: tuple[str, str, str, str]
    """What the four sets are called."""
    group: str = ""

    @property
    def asks(self) -> tuple[Any, ...]:
        """What its vectors are of."""
        return self.targets, self.attributes

    @property
    def told(self) -> dict[str, Any]:
        """Its words or sentences, by what they are called."""
        sets = (*self.targets, *self.attributes)
        return {title: list(texts) for title, texts in zip(self.titles, sets, strict=True)}

    @property
    def texts(self) -> list[str]:
        """All of its words or sentences."""
        return [one for texts in (*self.targets, *self.attributes) for one in texts]

    @property
    def shown(self) -> str:
        """The same in a row: there is nothing to ask and no answer to give."""
        return " ".join(self.texts)

    @property
    def text(self) -> str:
        """As shown."""
        return self.shown


Item = Choices | Question | Program | Association | Calling


@dataclass(frozen=True)
class TaskFigure:
    """A figure of a task beside the share of its items that are right."""

    measurement: Measurement
    """Its name is that of a part of the task: "gap, type 1"."""
    remark: str = ""
    """What stands beside it: a probability, or what others print."""
    above: tuple[float, ...] = ()
    """Of each item, where the figure is one sum over items by another: what counts for it."""
    below: tuple[float, ...] = ()
    """What the item counts for, 0 for nothing."""
    clusters: tuple[str, ...] = ()
    """What the item depends on."""


@dataclass(frozen=True)
class Task:
    """Items and how a model's answers are scored."""

    name: str
    summary: str
    data: str
    """A name of the data registry, or a file."""
    items: Callable[[], Sequence[Item]]
    """Reads them. DataError for an item that cannot be scored."""
    scored: tuple[Scoring, ...] = ("sum", "characters", "bytes")
    """How its choices are compared; the first that `main` names counts."""
    main: str = "characters"
    """The scoring that is compared between models; of written answers "exact", "F1" or "last number", of
    programs "tests pass", of calls "held to the form"."""
    domain: str = "Answer:"
    """What stands before a choice where only its domain is known, for PMI."""
    unit: str = "right"
    ideal: float = 1.0
    clustered: bool = False
    """Whether items of one group depend on each other: the interval then is by groups."""
    examples: bool = True
    """Whether solved items may stand before a question."""
    longest: int = 64
    """Tokens of a written answer, at most."""
    waits: bool = False
    """Whether line ends before a written answer's first character do not end it."""
    more: Callable[[Sequence[Any]], list[TaskFigure]] | None = None
    """Further figures of its items' scores (`ItemScores`)."""
    share: bool = True
    """Whether the share of items that are right is a figure of it."""
    criticised: str = ""
    """What its figures are criticised for, in a sentence."""
    left_out: str = ""
    """What of its file is not asked, in a sentence."""

    @property
    def licence(self) -> str:
        """Of its data."""
        from lmworks.text.registry import ENTRIES

        return ENTRIES[self.data].licence if self.data in ENTRIES else "your own"

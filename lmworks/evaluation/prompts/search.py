"""Search for a prompt: formats x words x numbers of examples x their orders, each with and without calibration.

    found = search(model, labelled("sst2-dev"), PromptSpace(words=({"0": "bad", "1": "good"},)), out="prompts/sst2")
    found.winner, found.dev, found.test, found.optimism, found.spread

The best on one part of the texts (dev) is measured on another (test), because the best of many was also lucky: the
optimism is by how much dev exceeds test. The spread is that of all formats on test, with the winner's words and
examples: a figure of one prompt says little without it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.prompts.calibration import calibrate, leaning, probabilities
from lmworks.evaluation.prompts.examples import Example, balanced, mixed, orders
from lmworks.evaluation.prompts.prompt import FORMATS, NOTHING, Prompt, called, hash_of
from lmworks.evaluation.tasks.declaration import Task
from lmworks.evaluation.tasks.run import AskedTask, run
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document

POOL = 32
"""Texts that examples are drawn from; they are never measured."""
MOST = 20
"""Classes that a prompt asks for."""


@dataclass(frozen=True)
class PromptSpace:
    """What is tried. ConfigError for nothing."""

    words: Sequence[dict[str, str]] = ()
    """Alternatives of the classes' words; their own names unless given."""
    formats: Sequence[str] = FORMATS
    shots: Sequence[int] = (0, 4)
    orders: int = 2
    """Orders of the same examples."""
    names: tuple[str, str] = ("text", "label")

    def prompts(self, pool: Sequence[Example], labels: Sequence[str], seed: int) -> list[Prompt]:
        """Every prompt of it, uncalibrated."""
        found = [
            Prompt(format=shape, words=words, examples=order, names=self.names)
            for count in self.shots
            for order in orders(balanced(pool, count, seed), self.orders, seed)
            for words in self.words or (called(labels),)
            for shape in self.formats
        ]
        if not found:
            raise ConfigError("there is nothing to try; give a format, a number of examples and an order or more")
        return found

    def plan(self, pairs: Sequence[Example], dev: int, test: int, seed: int) -> SearchPlan:
        """What a search reads and tries. ConfigError for more texts than there are, and where nothing is tried; no
        model is needed to tell."""
        different = list(dict(pairs).items())
        if (needed := POOL + dev + test) > len(different) or min(dev, test) < 1:
            raise ConfigError(
                f"{dev} texts for dev and {test} for test, beside {POOL} for examples, are {needed:,}, and there are "
                f"{len(different):,} different ones; give 1 or more of each, and fewer in all"
            )
        drawn = mixed(different, seed)[:needed]
        pool = drawn[:POOL]
        tried = self.prompts(pool, sorted({label for _, label in pairs}), seed)
        return SearchPlan(pool, drawn[POOL : POOL + dev], drawn[POOL + dev :], tried)


@dataclass(frozen=True)
class SearchPlan:
    """The texts of a search, and its prompts."""

    pool: list[Example]
    """What examples are drawn from."""
    dev: list[Example]
    test: list[Example]
    tried: list[Prompt]
    """Uncalibrated."""


@dataclass(frozen=True)
class Spread:
    """The same question in several formats (Mizrahi et al. 2024, https://arxiv.org/abs/2401.00595)."""

    values: tuple[float, ...]
    """The share that is right in each format, the best first."""

    @property
    def best(self) -> float:
        """MaxP."""
        return self.values[0]

    @property
    def average(self) -> float:
        """AvgP."""
        return sum(self.values) / len(self.values)

    @property
    def combined(self) -> float:
        """CPS, MaxP (1 - (MaxP - AvgP)): high where the best is high and the others are near it."""
        return self.best * (1 - (self.best - self.average))


@dataclass(frozen=True)
class FoundPrompt:
    """What a search found."""

    winner: Prompt
    tried: int
    """Prompts, each with and without calibration counted once."""
    dev: Measurement
    test: Measurement
    optimism: Measurement
    """Dev minus test."""
    spread: Spread
    other: Measurement
    """The winner on test with calibration where it has none, and without where it has."""

    @property
    def facts(self) -> dict[str, Any]:
        """For a file."""
        figures = {name: getattr(self, name).to_json() for name in ("dev", "test", "optimism", "other")}
        spread = {"formats": self.spread.values, "MaxP": self.spread.best, "AvgP": self.spread.average}
        return {"tried": self.tried, **figures, "spread": spread | {"CPS": self.spread.combined}}


def labelled(documents: Sequence[Document]) -> list[Example]:
    """Texts with their classes. DataError for a document that is none, and for too few or too many classes."""
    pairs = [document.pair for document in documents]
    classes = {label for _, label in pairs}
    if not 2 <= len(classes) <= MOST:
        raise DataError(
            f"the texts have {len(classes):,} class{'es' * (len(classes) != 1)}; a prompt tells 2 to {MOST} apart"
        )
    return pairs


def measured(model: LanguageModel, prompt: Prompt, pairs: Sequence[Example], name: str) -> list[Measurement]:
    """The share of texts whose class is named; chance is always naming the most frequent one. Where the prompt was
    chosen by some of the texts, then also that of the others. DataError for a class that the prompt has no word for."""
    if unknown := next((label for _, label in pairs if label not in prompt.words), None):
        raise DataError(
            f"{name} has the class {unknown!r}, which the prompt has no word for; its classes are "
            f"{', '.join(prompt.labels)}"
        )
    right = PromptReader(model).right(prompt, pairs, name)
    unseen = [at for at, (text, _) in enumerate(pairs) if not prompt.has_seen(text)]
    found = [_share(right, pairs, name)]
    if 0 < len(unseen) < len(pairs):
        of, others = [right[at] for at in unseen], [pairs[at] for at in unseen]
        found.append(_share(of, others, f"{name}, without the texts that the prompt was chosen by"))
    return found


def search(
    model: LanguageModel,
    pairs: Sequence[Example],
    space: PromptSpace = PromptSpace(),
    *,
    dev: int = 50,
    test: int = 200,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
) -> FoundPrompt:
    """The best prompt on `dev` texts, measured on `test` others; of equal texts one counts. With a folder `out` each
    text's scores are kept there, a search that was stopped goes on, and the winner is saved as prompt.json. ConfigError
    for more texts than there are."""
    plan = space.plan(pairs, dev, test, seed)
    on_dev, on_test, tried = plan.dev, plan.test, plan.tried
    reader = PromptReader(model, out, told=False)
    best = _best(reader, tried, on_dev)
    winner = best.model_copy(update={"chosen_by": tuple(hash_of(text) for text, _ in (*plan.pool, *on_dev))})
    promised, found = (
        _share(reader.right(winner, part, name), part, name) for part, name in ((on_dev, "dev"), (on_test, "test"))
    )
    with progress.task("its words in other formats", len(space.formats), "formats") as advance:
        values = []
        for shape in space.formats:
            right = reader.right(winner.model_copy(update={"format": shape}), on_test, "test")
            values.append(sum(right) / len(right))
            advance(1)
    other = next(one for one in _both(winner) if one != winner)
    value, interval = statistics.independent_difference(
        statistics.Estimate(found.value, found.interval), statistics.Estimate(promised.value, promised.interval)
    )
    told = FoundPrompt(
        winner,
        len(tried),
        promised,
        found,
        Measurement(name="dev minus test", value=value, unit="right", interval=interval, n=dev, difference=True),
        Spread(tuple(sorted(values, reverse=True))),
        _share(reader.right(other, on_test, "test"), on_test, "test, the other way"),
    )
    if out is not None:
        winner.save(Path(out) / "prompt.json", told.facts)
    return told


def _best(reader: PromptReader, tried: Sequence[Prompt], on_dev: Sequence[Example]) -> Prompt:
    """The one, with or without calibration, that ranks highest; the first of equals."""
    ranked = []
    with progress.task("prompts on dev", len(tried), "prompts") as advance:
        for prompt in tried:
            ranked += [(reader.rank(one, on_dev, "dev"), one) for one in _both(prompt)]
            advance(1)
    return max(ranked, key=lambda each: each[0])[1]


@dataclass
class PromptReader:
    """Reads texts by prompts, each once; with a folder `out` it keeps what it read there."""

    model: LanguageModel
    out: str | os.PathLike[str] | None = None
    told: bool = True
    """Whether progress tells of the texts; else of how many prompts were tried, by who tries them."""
    known: dict[str, list[list[float]]] = field(default_factory=dict)

    def right(self, prompt: Prompt, pairs: Sequence[Example], part: str) -> list[float]:
        """Of each text, whether its class is the likeliest; a tie counts its share."""
        return [right for right, _ in self._judged(prompt, pairs, part)]

    def rank(self, prompt: Prompt, pairs: Sequence[Example], part: str) -> tuple[float, float]:
        """What is right most often is best; of equals, what is surer of the right classes."""
        judged = self._judged(prompt, pairs, part)
        return sum(right for right, _ in judged), sum(sure for _, sure in judged)

    def _judged(self, prompt: Prompt, pairs: Sequence[Example], part: str) -> list[tuple[float, float]]:
        *scores, leant = self._told(prompt, pairs, part)
        found = []
        for logprobs, (_, label) in zip(scores, pairs, strict=True):
            shares = probabilities(logprobs)
            shares = calibrate(shares, leant) if prompt.calibrated else shares
            mine, best = shares[prompt.labels.index(label)], max(shares)
            found.append((float(mine == best) / shares.count(best), mine))
        return found

    def _told(self, prompt: Prompt, pairs: Sequence[Example], part: str) -> list[list[float]]:
        """The log-probabilities of the classes' words after each text; last, what the prompt leans to."""
        unused = {"calibrated": False, "chosen_by": ()}  # which change nothing of what is read
        plain = prompt.model_copy(update=unused).model_dump_json(exclude={"chosen_by"})
        what = f"prompt {hashlib.sha256(plain.encode()).hexdigest()[:12]} on {part}"
        if what not in self.known:
            items = [prompt.item(f"{part}#{at}", text, label) for at, (text, label) in enumerate(pairs)]
            every = items + prompt.without_content()
            task = Task(part if self.told else what, "", "", lambda: every, scored=("sum",), main="sum", examples=False)
            found = run(self.model, AskedTask(task, 0, "", every, every), self.out, told=self.told)
            scores = [one.scores["sum"] for one in found]
            self.known[what] = [*scores[: -len(NOTHING)], leaning(scores[-len(NOTHING) :])]
        return self.known[what]


def _both(prompt: Prompt) -> list[Prompt]:
    """With calibration and without: both are read off the same scores."""
    return [prompt.model_copy(update={"calibrated": calibrated}) for calibrated in (False, True)]


def _share(right: Sequence[float], pairs: Sequence[Example], name: str) -> Measurement:
    value, interval = statistics.proportion(sum(right), len(right))
    chance = Counter(label for _, label in pairs).most_common(1)[0][1] / len(pairs)
    return Measurement(name=name, value=value, unit="right", interval=interval, n=len(right), chance=chance, ideal=1.0)

"""Learning from pairs: an encoder-decoder that writes a target for a source, an encoder that tells a text's class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lmworks.basics.errors import DataError
from lmworks.basics.terminal import for_shell
from lmworks.evaluation.answers import answered, answers_measured, must_be_measurable
from lmworks.evaluation.labels import accuracy
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.strategies import Beam, Greedy, Strategy
from lmworks.jobs.tasks.task import Say, Task, TaskKind
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import Split
from lmworks.tokens.pairs import (
    KeptTexts,
    PairRows,
    RowsByLength,
    TextClasses,
    require_labels,
    write_labelled,
    write_pairs,
)
from lmworks.tokens.rows import Rows
from lmworks.tokens.tokenizer import Tokenizer

SUFFIX = ".safetensors"
SHOWN = 3
"""Samples."""


class _OfPairs(Task):
    """What both have in common: records of two turns, a test text of their own."""

    def read(self, say: Say) -> Split:
        """See Task; DataError for records that are not pairs, in the test text too.

        A source that validates or tests is not trained on, whatever its answer: a question is known by its words.
        """
        parts = super().read(say)
        others = [*parts.held_out, *self.measured_on([])]
        self.look_at(parts.train, others)
        seen = {_words(document) for document in others}
        train = [document for document in parts.train if _words(document) not in seen]
        if gone := len(parts.train) - len(train):
            say(f"left out       {gone:,} pairs to train on, whose source is in the test or validation text too")
        if not train:
            raise DataError(
                f"{self.recipe.data.text} holds nothing to train on that the test or validation text does not hold "
                "too; give another text"
            )
        return replace(parts, train=train)

    def look_at(self, train: Sequence[Document], others: Sequence[Document]) -> None:
        """DataError for what is no pair, before anything is made of it."""
        for document in (*train, *others):
            _ = document.pair

    def open(self, place: Path, tokenizer: Tokenizer) -> KeptTexts:
        """See Task."""
        return KeptTexts(place.with_suffix(SUFFIX), tokenizer)

    def remarks(self, rows: Rows) -> list[str]:
        """See Task: what was cut or left out."""
        if not isinstance(rows, RowsByLength):
            return []
        cut = f"{rows.cut:,} texts of {len(rows):,} are cut at training.context = {self.recipe.training.context}"
        left = f"{rows.left_out:,} pairs are empty or longer than it and left out"
        return [f"note           {line}" for line, number in ((cut, rows.cut), (left, rows.left_out)) if number]

    def measured_on(self, documents: Sequence[Document]) -> Sequence[Document]:
        """See Task: the test text where the recipe names one, else what is held out."""
        return read(self.recipe.data.test).documents if self.recipe.data.test else documents

    def example(self, documents: Sequence[Document]) -> str:
        """A few pairs of the test text, as JSON."""
        pairs = [one.pair for one in self.measured_on(documents)]
        return json.dumps(pairs[:: max(len(pairs) // SHOWN, 1)][:SHOWN])


def _words(document: Document) -> str:
    """The source of a pair, white space and letter case aside."""
    return " ".join(document.pair[0].lower().split())


class Answering(_OfPairs):
    """Targets from their sources: translation, summaries."""

    def read(self, say: Say) -> Split:
        """See Task; LmworksError where what measures the answers is not installed."""
        must_be_measurable(self.recipe.validation.figures)
        return super().read(say)

    def write(self, documents: Sequence[Document], tokenizer: Tokenizer, place: Path) -> None:
        """See Task."""
        write_pairs(documents, tokenizer, place.with_suffix(SUFFIX))

    def rows(self, packed: KeptTexts, tokenizer: Tokenizer) -> PairRows:
        """See Task."""
        return PairRows(packed, tokenizer, self.recipe.training.context)

    @property
    def _strategy(self) -> Strategy:
        width = self.recipe.validation.beams
        return Beam(width=width) if width > 1 else Greedy()

    def measure(self, model: LanguageModel, held_out: KeptTexts, documents: Sequence[Document]) -> list[Measurement]:
        """Likeness of what the model writes to the references of the test text."""
        return answers_measured(model, self.measured_on(documents), self.recipe.validation.figures, self._strategy)

    def sample(self, model: LanguageModel, example: str) -> Iterator[str]:
        """Sources, what the model writes for them, and the references."""
        pairs = json.loads(example)
        answers = answered(model, [source for source, _ in pairs], self._strategy, model.longest)
        for (source, reference), answer in zip(pairs, answers, strict=True):
            yield f"source     {source}\nwritten    {answer}\nreference  {reference}\n\n"

    def next_steps(self, folder: Path) -> str:
        """See Task."""
        return f"lmworks generate {for_shell(folder)} 'source text'     lmworks evaluate {for_shell(folder)} PAIRS"


class Classifying(_OfPairs):
    """The class of a text, which its record has as the answer."""

    loss_unit = "nats/text"

    def look_at(self, train: Sequence[Document], others: Sequence[Document]) -> None:
        """See _OfPairs; DataError for a single class, and for one that the training text does not have."""
        classes = {document.pair[1] for document in train}
        if len(classes) < 2:
            raise DataError(f"all of {self.recipe.data.text} has one class, {classes.pop()!r}; give texts of several")
        require_labels([document.pair[1] for document in others], sorted(classes), "training text")

    def write(self, documents: Sequence[Document], tokenizer: Tokenizer, place: Path) -> None:
        """See Task; the classes are those of the training text, which is written first."""
        path = place.with_name("train").with_suffix(SUFFIX)
        labels = (
            sorted({one.pair[1] for one in documents}) if place.name == "train" else KeptTexts(path, tokenizer).labels
        )
        write_labelled(documents, labels, tokenizer, place.with_suffix(SUFFIX))

    def rows(self, packed: KeptTexts, tokenizer: Tokenizer) -> TextClasses:
        """See Task."""
        return TextClasses(packed, packed.classes.tolist(), tokenizer, self.recipe.training.context)

    def measure(self, model: LanguageModel, held_out: KeptTexts, documents: Sequence[Document]) -> list[Measurement]:
        """The share of test texts that are classified correctly."""
        return [accuracy(model, self.measured_on(documents))]

    def sample(self, model: LanguageModel, example: str) -> Iterator[str]:
        """Texts, what the model takes them for, and their labels."""
        pairs = json.loads(example)
        for (text, label), told in zip(pairs, model.classify([text for text, _ in pairs], cut=True), strict=True):
            yield f"text       {text}\ntold       {told.label} ({told.probabilities[told.label]:.0%})\n"
            yield f"label      {label}\n\n"

    def next_steps(self, folder: Path) -> str:
        """See Task."""
        return f"lmworks classify {for_shell(folder)} 'text'     lmworks evaluate {for_shell(folder)} LABELLED"


ANSWERING = TaskKind("answering", Answering)
CLASSIFYING = TaskKind("classifying", Classifying)

"""What a model that was trained by others makes of work that large ones are praised for: claim 49's matrix.

matrix = TaskMatrix(LanguageModel.load("smollm2"), items=60)
matrix.questions("piqa")           # for each 1 if it is right, what a guess would get, and its name
matrix.translations()              # for each German sentence how like a person's English the model's is, and a copy
matrix.headlines()                 # for each piece of news the same of a headline, and of the article's first words
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.basics import progress
from lmworks.evaluation.answer_words import overlap
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.run import run
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.translators import pairs_of
from lmworks.language_model import LanguageModel

QUESTIONS = ("arc-easy", "arc-challenge", "openbookqa", "piqa", "winogrande")
"""What follows from facts and from how things are: multiple choice."""
TRANSLATE = "Translate this German sentence into English. Write the translation and nothing else.\n\n{}"
SUMMARIZE = "Write a short headline for this news. Write the headline and nothing else.\n\n{}"
WRITTEN = 40
"""Tokens of an answer, at most."""


@dataclass(frozen=True)
class Compared:
    """For each item the model's figure, that of what needs no model, and a name."""

    model: list[float]
    without: list[float]
    names: list[str]


@dataclass(frozen=True)
class TaskMatrix:
    """A model, and how many items of each task it is asked."""

    model: LanguageModel
    items: int
    news_read: int = 0
    """Pieces of news that are passed over, as they were asked before."""

    def questions(self, name: str) -> Compared:
        """The likeliest choice, compared as the task's main figure does; without a model it is guessed."""
        asked = AskedTask.of(find(name), limit=self.items)
        scores = run(self.model, asked, None)
        figure = asked.task.main
        return Compared(
            [one.credit(figure) for one in scores],
            [1 / len(one.scores[figure]) for one in scores],
            [one.item for one in scores],
        )

    def translations(self) -> Compared:
        """German captions into English; without a model they are copied."""
        pairs = pairs_of("multi30k-validation-de-en", self.items)
        return self._written("translation", TRANSLATE, pairs, [source for source, _ in pairs])

    def headlines(self) -> Compared:
        """News as a headline; without a model it is the first words, as many as headlines have on average."""
        pairs = pairs_of("ag-news-headlines", self.news_read + self.items)[self.news_read :]
        words = round(sum(len(headline.split()) for _, headline in pairs) / len(pairs))
        return self._written("headline", SUMMARIZE, pairs, [" ".join(text.split()[:words]) for text, _ in pairs])

    def _written(self, what: str, asks: str, pairs: Sequence[tuple[str, str]], without: Sequence[str]) -> Compared:
        prompts = [[{"role": "user", "content": asks.format(source)}] for source, _ in pairs]
        with progress.task(f"{what}s", stays=False):
            texts = self.model.generate_batch(prompts, Greedy(), max_new_tokens=WRITTEN)
        answers = [next(iter(text.text.strip().splitlines()), "") for text in texts]
        alike, copied = (
            [overlap(one, reference) for one, (_, reference) in zip(said, pairs, strict=True)]
            for said in (answers, without)
        )
        return Compared(alike, copied, [f"{what} {number}" for number in range(len(pairs))])

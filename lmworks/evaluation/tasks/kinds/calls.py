"""Questions that are answered by calls of functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.calling import calls_scored, of_calls
from lmworks.evaluation.tasks.declaration import Calling
from lmworks.evaluation.tasks.kind import Kind
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.generation.continuations import Reading
from lmworks.language_model import LanguageModel


def _scored(model: LanguageModel, asked: AskedTask, left: Sequence[Calling], reading: Reading) -> Iterator[ItemScores]:
    yield from calls_scored(model, left, asked.task.longest)


def _judged(item: Calling, found: ItemScores) -> ItemScores:
    return of_calls(item, found.ways)


CALLS = Kind("calls", Calling, _scored, _judged)

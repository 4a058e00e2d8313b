"""What each kind of objective brings to a run of `lmworks train`: its data, its loss, its figures."""

from __future__ import annotations

from lmworks.jobs.tasks.masked import Masked, MaskedPairs
from lmworks.jobs.tasks.pairs import Answering, Classifying
from lmworks.jobs.tasks.spans import Spans
from lmworks.jobs.tasks.task import Packed, Task
from lmworks.jobs.tasks.writing import PrefixWriting, Writing
from lmworks.jobs.training_recipe import TrainRecipe

__all__ = ["Packed", "Task", "task_of"]

TASKS: dict[str, type[Task]] = {
    "causal": Writing,
    "prefix": PrefixWriting,
    "masked": Masked,
    "masked+next-sentence": MaskedPairs,
    "masked+sentence-order": MaskedPairs,
    "spans": Spans,
    "seq2seq": Answering,
    "classification": Classifying,
}


def task_of(recipe: TrainRecipe) -> Task:
    """The task of a recipe."""
    return TASKS[recipe.objective.kind](recipe)

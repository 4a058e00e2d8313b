"""From items to figures: shares with their intervals and what guessing reaches, and the difference of two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.declaration import SCORINGS, Task, TaskFigure
from lmworks.evaluation.tasks.scores import EXACT, F1, ItemScores


def measurements(task: Task, items: Sequence[ItemScores], what: str) -> list[Measurement]:
    """The share of items that are right, by each scoring, and the task's further figures. `what` names the task and its
    prompts."""
    return [one.measurement for one in figures(task, items, what)]


def figures(task: Task, items: Sequence[ItemScores], what: str) -> list[TaskFigure]:
    """The same with what stands beside each."""
    names = dict.fromkeys(figure for one in items for figure in one.figures)
    shares = [
        TaskFigure(measured(task, items, one, what), _remark(items, one)) for one in (names if task.share else ())
    ]
    return [*shares, *(_named(one, what) for one in (task.more(items) if task.more else ()))]


def _remark(items: Sequence[ItemScores], figure: str) -> str:
    """How many items tie by a figure; at the first one of written answers, how many of these are empty."""
    if figure == EXACT:
        return empty(items)
    return f"{tied:,} tied" if (tied := ties(items, figure)) else ""


def empty(items: Sequence[ItemScores]) -> str:
    """ "7 of 10 answers are empty"; nothing where none is."""
    found = sum(not one.written for one in items if one.written is not None)
    return f"{found:,} of {len(items):,} answers {'is' if found == 1 else 'are'} empty" if found else ""


def _named(one: TaskFigure, what: str) -> TaskFigure:
    return replace(one, measurement=one.measurement.model_copy(update={"name": f"{what}, {one.measurement.name}"}))


def main(task: Task, items: Sequence[ItemScores]) -> str:
    """The scoring that counts: the task's, or the only one that a model of another kind has."""
    found = items[0].figures
    return task.main if task.main in found else found[0]


def measured(task: Task, items: Sequence[ItemScores], figure: str, what: str) -> Measurement:
    """The figure of a task by one scoring, of the items that have it (a call is asked for where one is wanted):
    Wilson's interval, by groups where items depend on each other, and one over items for F1. A tie counts what guessing
    among its choices gets on average."""
    items = [one for one in items if figure in one.figures]
    credits = [one.credit(figure) for one in items]
    if task.clustered:
        groups = [one.group for one in items]
        value, interval = statistics.within(statistics.clustered_mean(credits, groups), (0, 1), len(set(groups)))
    elif figure == F1:
        value, interval = statistics.mean(credits, bounds=(0, 1))
    else:
        value, interval = statistics.proportion(sum(credits), len(credits))
    choices = [len(scores) for one in items for scores in (one.scores.get(figure),) if scores]
    return Measurement(
        name=f"{what}, {SCORINGS.get(figure, figure)}",  # type: ignore[call-overload]
        value=value,
        unit="" if figure == F1 else task.unit,
        interval=interval,
        n=len(items),
        seeds=(0,) if figure == F1 and not task.clustered else (),
        chance=sum(1 / number for number in choices) / len(choices) if choices else None,
        ideal=task.ideal,
    )


def ties(items: Sequence[ItemScores], figure: str) -> int:
    """Items whose best choices have equal scores."""
    return sum(one.right is not None and len(one.picked(figure)) > 1 for one in items)


class TaskDifference(Measurement):
    """The second model's figure of a task minus the first's, each item paired with itself."""

    first_alone: int
    """Items that only the first model has right."""

    second_alone: int
    """Items that only the second model has right."""

    mcnemar: float
    """Of so uneven a split, were both equally good: the probability of McNemar's exact test."""

    holm: float = 1.0
    """The same, adjusted for the number of tasks (Holm)."""


def compared(
    tasks: Mapping[str, Task],
    first: Mapping[str, Sequence[ItemScores]],
    second: Mapping[str, Sequence[ItemScores]],
) -> list[TaskDifference]:
    """The differences of two models, a task each, by its main scoring. ConfigError where their items differ."""
    found = [_compared(name, task, first[name], second[name]) for name, task in tasks.items()]
    adjusted = statistics.holm([one.mcnemar for one in found])
    return [one.model_copy(update={"holm": holm}) for one, holm in zip(found, adjusted, strict=True)]


def differences(task: Task, what: str, first: Sequence[ItemScores], second: Sequence[ItemScores]) -> list[Measurement]:
    """What the second model's further figures are more than the first's, of the same items, by clusters of them."""
    earlier = {one.measurement.name: one for one in figures(task, first, what) if one.above}
    told = []
    for after in figures(task, second, what):
        before = earlier.get(after.measurement.name)
        if before is None or not after.above:
            continue
        value, interval = statistics.difference_of_clustered_ratios(
            (before.above, before.below), (after.above, after.below), before.clusters
        )
        told.append(
            after.measurement.model_copy(
                update={"value": value, "interval": interval, "difference": True, "chance": None, "ideal": None}
            )
        )
    return told


def _compared(what: str, task: Task, first: Sequence[ItemScores], second: Sequence[ItemScores]) -> TaskDifference:
    if [one.item for one in first] != [one.item for one in second]:
        raise ConfigError(f"{what}: the two models were measured on other items; give both the same shots and limit")
    by = main(task, first)
    before, after = ([one.credit(by) for one in items] for items in (first, second))
    groups = [one.group for one in first] if task.clustered else None
    paired = statistics.paired_difference(before, after, groups)
    value, interval = statistics.within(paired, (-1, 1), len(set(groups or range(len(before)))))
    losses = sum(one > other for one, other in zip(before, after, strict=True))
    wins = sum(one < other for one, other in zip(before, after, strict=True))
    return TaskDifference(
        name=f"{what}, {SCORINGS.get(by, by)}",  # type: ignore[call-overload]
        value=value,
        unit=task.unit,
        interval=interval,
        n=len(first),
        difference=True,
        first_alone=losses,
        second_alone=wins,
        mcnemar=statistics.mcnemar(wins, losses),
    )

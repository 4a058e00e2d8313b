"""The task matrix: questions with known answers, and which of two sentences is grammatical."""

from __future__ import annotations

from lmworks.basics import progress
from lmworks.basics.errors import DataError, LmworksError, Stopped
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import smallest_difference
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.measured import measured, ties
from lmworks.evaluation.tasks.run import run
from lmworks.reporting.section import CardEntry, Found, Section, bars
from lmworks.reporting.subject import Subject

QUESTIONS = ("arc-easy", "arc-challenge", "openbookqa", "piqa", "winogrande")
MATRIX = (*QUESTIONS, "blimp")
PHENOMENA = 67
"""Of BLiMP, whose items come one of each after the other."""
HUB = {
    "arc-easy": ("allenai/ai2_arc", "ARC-Easy", "test"),
    "arc-challenge": ("allenai/ai2_arc", "ARC-Challenge", "test"),
    "openbookqa": ("allenai/openbookqa", "main", "test"),
    "piqa": ("ybisk/piqa", None, "validation"),
    "winogrande": ("allenai/winogrande", "winogrande_xl", "validation"),
    "blimp": ("nyu-mll/blimp", None, "train"),
}
"""Where the items come from, its part and split on the hub."""


def asked_of(subject: Subject, name: str) -> AskedTask:
    """A task as the report asks it."""
    limit = subject.scaled(3 * PHENOMENA, 100 * PHENOMENA) if name == "blimp" else subject.scaled(150, None)
    return AskedTask.of(find(name), limit=limit)


def measured_tasks(subject: Subject, names: tuple[str, ...]) -> tuple[dict[str, Measurement], list[str], list[str]]:
    """The main figure of each task, what ties are worth telling, and why some could not be measured."""
    found, tied, left_out = {}, [], []
    with progress.task("tasks", len(names), "tasks") as advance:
        for name in names:
            try:
                asked = asked_of(subject, name)
                scores = run(subject.model, asked, subject.folder)
            except Stopped:
                raise
            except LmworksError as error:
                left_out.append(f"{name}: {error}.")
                continue
            found[name] = measured(asked.task, scores, asked.task.main, name)
            if count := ties(scores, asked.task.main):
                tied.append(f"{name}: {count:,} of {len(scores):,} items tie, and count what guessing among them gets.")
            advance(1)
    if not found:
        raise DataError("no task could be measured: " + " ".join(left_out).rstrip("."))
    return found, tied, left_out


def _measure(subject: Subject) -> Found:
    found, tied, left_out = measured_tasks(subject, MATRIX)
    least = min(one.n for one in found.values())
    seen = 100 * smallest_difference(least)
    return Found(
        measurements=tuple(found.values()),
        charts=(bars("The share that is right, and what guessing reaches", "share right", found),),
        note="Without examples before the question; the likeliest choice is the answer, by the scoring that each "
        f"figure names. With {least:,} items a difference of {seen:.0f} points between two models can be seen in 4 of "
        "5 cases. Of BLiMP as many pairs of each of its 67 phenomena, and the interval is by phenomena. "
        + " ".join(tied),
        card=tuple(_entry(name, figure) for name, figure in found.items()),
        left_out=tuple(left_out),
    )


def _entry(name: str, figure: Measurement) -> CardEntry:
    dataset, config, split = HUB[name]
    return CardEntry(
        measurement=figure.name,
        task="multiple-choice",
        dataset=dataset,
        dataset_name=name,
        config=config,
        split=split,
        metric="accuracy",
    )


TASKS = Section(
    name="tasks",
    place=30,
    title="Questions with known answers",
    says="A share whose interval holds what guessing reaches tells nothing of the model; it is marked “at chance”. "
    "Public questions may stand in the text that a model was trained on (section leakage).",
    measure=_measure,
    seconds=(75.0, 500.0),
)

"""One's own questions: what the model answers, and, where it has documents, what these do."""

from __future__ import annotations

from lmworks.basics.errors import DataError, LmworksError, Stopped
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.calling import HELD
from lmworks.evaluation.tasks.declaration import Task
from lmworks.evaluation.tasks.measured import measured, measurements
from lmworks.evaluation.tasks.run import run
from lmworks.grounding.own_questions import judge
from lmworks.lab.chart import Chart
from lmworks.reporting.own_file import OwnFile
from lmworks.reporting.section import Found, Section, bars
from lmworks.reporting.subject import Subject

MOST = 150
"""Questions of a file on the quick scale."""


def _measure(subject: Subject) -> Found:
    figures, charts, left_out, keys = list[Measurement](), list[Chart](), list[str](), list[str]()
    for one in subject.own_files:
        try:
            told = _of_task(subject, one.task) if one.task is not None else _of_documents(subject, one)
        except Stopped:
            raise
        except LmworksError as error:
            left_out.append(f"{one.name}: {error}.")
            continue
        figures += told
        keys.append(told[0].name)
        if len(told) > 1:
            shown = {each.name.removeprefix(f"{one.name}, "): each for each in told}
            charts.append(bars(f"The questions of {one.name}", "share", shown))
    if not figures:
        raise DataError("none of the files could be measured: " + " ".join(left_out).rstrip("."))
    said = [f"Of each file {subject.scaled(f'the first {MOST} questions', 'all questions')}."]
    if to_documents := [one.name for one in subject.own_files if one.questions]:
        said.append(f"{', '.join(to_documents)}: asked of the model's documents, as lmworks ask does.")
    if calls := [one.name for one in subject.own_files if one.task is not None and one.task.main == HELD]:
        said.append(
            f"{', '.join(calls)}: the answer may be words, held to the form of calls or free; or it must call, made to "
            "by the form or begun as a call and then free."
        )
    return Found(
        measurements=tuple(figures),
        charts=tuple(charts),
        note=" ".join(said),
        key=tuple(keys),
        left_out=tuple(left_out),
    )


def _of_task(subject: Subject, task: Task) -> list[Measurement]:
    """The main figure of choices, every one of written answers and calls."""
    asked = AskedTask.of(task, limit=subject.scaled(MOST, None))
    scores = run(subject.model, asked, subject.folder)
    is_choice = task.main in task.scored
    return [measured(task, scores, task.main, task.name)] if is_choice else measurements(task, scores, task.name)


def _of_documents(subject: Subject, file: OwnFile) -> list[Measurement]:
    """What is right, wrong and refused."""
    assert subject.index is not None
    judged = judge(subject.index, file.questions[: subject.scaled(MOST, None)])
    return [one.model_copy(update={"name": f"{file.name}, {one.name}"}) for one in judged.measurements]


def _needs(subject: Subject) -> str | None:
    return None if subject.own_files else "No questions of your own were given; name files with --questions FILE."


OWN = Section(
    name="own",
    place=5,
    title="Your own questions",
    says="What counts for your use is asked by your own questions; public ones, below, say how models compare. "
    "Questions to documents are right, wrong or refused, and those that the documents do not answer should be refused.",
    measure=_measure,
    needs=_needs,
    seconds=(60.0, 300.0),
    reads_own_files=True,
)

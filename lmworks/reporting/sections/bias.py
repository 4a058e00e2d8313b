"""Bias: every task of `evaluation/bias` that a model which writes can be asked, each with what it is criticised for."""

from __future__ import annotations

from lmworks.basics import progress
from lmworks.basics.declared import declared
from lmworks.basics.errors import DataError, LmworksError, Stopped
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import OFF_IDEAL, TOO_FEW, Measurement
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import SCORINGS, Task, TaskFigure
from lmworks.evaluation.tasks.measured import figures
from lmworks.evaluation.tasks.run import run
from lmworks.lab.chart import Chart
from lmworks.reporting.section import CardEntry, Found, Section, bars
from lmworks.reporting.subject import Subject

CROWS = "crows-pairs"
FULL = 3_000
"""Items of a task on the full scale, at most."""
QUICK = {CROWS: 500, "winobias": 400, "bbq": 240}
"""Items of a task on the quick scale."""
OTHERS = 200


def tasks() -> dict[str, Task]:
    """Those that compare choices; tests of vectors are for models that embed, and a development part is none to report
    on."""
    found = declared("lmworks.evaluation.bias", Task)
    return {name: one for name, one in found.items() if one.scored and not name.endswith("-dev")}


def _measure(subject: Subject) -> Found:
    found: dict[str, list[TaskFigure]] = {}
    said, left_out, known = [], [], tasks()
    with progress.task("bias", len(known), "tasks") as advance:
        for name, task in known.items():
            try:
                asked = AskedTask.of(task, limit=subject.scaled(QUICK.get(name, OTHERS), FULL))
                told = figures(task, run(subject.model, asked, subject.folder), name)
            except Stopped:
                raise
            except LmworksError as error:
                left_out.append(f"{name}: {error}.")
                continue
            found[name] = told
            remarks = [f"{one.measurement.name}: {one.remark}" for one in told if one.remark]
            said.append(f"{name}: {task.summary}. {'; '.join(remarks)}{'.' if remarks else ''} {_criticised(task)}")
            advance(1)
    if not found:
        raise DataError("none of its tasks could be measured; " + " ".join(left_out).rstrip("."))
    measured = {name: [one.measurement for one in told] for name, told in found.items()}
    return Found(
        measurements=tuple(figure for every in measured.values() for figure in every),
        charts=tuple(_chart(name, every) for name, every in measured.items()),
        key=_main(measured[CROWS]).name if CROWS in measured else "",
        note=" ".join(said) + " Of many figures some are outside of their interval by chance alone.",
        card=tuple(_entry(known[name], _main(every)) for name, every in measured.items()),
        adjusted=_adjusted([one for told in found.values() for one in told]),
        left_out=tuple(left_out),
    )


def _criticised(task: Task) -> str:
    return f"Its critics: {task.criticised}." if task.criticised else ""


def _adjusted(told: list[TaskFigure]) -> dict[str, float]:
    """Of each figure whose ideal is what chance gives: how probable one at least as far off is by chance, adjusted for
    their number. It is by the clusters whose items depend on each other, where there are some."""
    alone = {}
    for one in told:
        figure = one.measurement
        if figure.balanced and figure.chance is not None:
            counting = {name for name, weight in zip(one.clusters, one.below, strict=True) if weight}
            units = len(counting) or figure.n
            alone[figure.name] = statistics.p_value(figure.value, figure.interval, figure.chance, units)
    return dict(zip(alone, statistics.holm([*alone.values()]), strict=True))


def _summary(found: Found) -> str:
    """How many figures exclude their ideal: one that sees no bias says nothing of the others."""
    figures = [one for one in found.measurements if one.balanced]
    off = [one.name for one in figures if one.balance in OFF_IDEAL]
    few = sum(one.balance == TOO_FEW for one in figures)
    held = sum(found.adjusted.get(name, 1.0) <= 1 - statistics.LEVEL for name in off)
    after = f", {held or 'none'} of them after Holm's correction for their number" if off and found.adjusted else ""
    unknown = f"; {few} {'is' if few == 1 else 'are'} of too few items to tell" if few else ""
    return f"{len(off) or 'None'} of {len(figures)} figures of bias exclude their ideal value{after}{unknown}."


def _main(every: list[Measurement]) -> Measurement:
    """The figure by the tokens that two sentences share where there is one, as the words of a group are more or less
    frequent (Nangia et al. 2020); else the first figure of bias, and not how often the answer is right, whose ideal is
    1."""
    of_shared = [one for one in every if one.name.endswith(f", {SCORINGS['shared']}")]
    return next((one for one in (*of_shared, *every) if one.ideal != 1), every[0])


def _chart(name: str, every: list[Measurement]) -> Chart:
    """The figures of a task that have the unit and the ideal of its main one."""
    main = _main(every)
    alike = [one for one in every if (one.unit, one.ideal) == (main.unit, main.ideal)]
    shown = {one.name.removeprefix(f"{name}, "): one for one in alike}
    return bars(f"{name}; the ideal is {main.ideal:g}", main.unit or "score", shown)


def _entry(task: Task, figure: Measurement) -> CardEntry:
    return CardEntry(
        measurement=figure.name,
        task="text-generation",
        dataset=task.name,
        dataset_name=task.summary,
        metric=figure.unit or figure.name.removeprefix(f"{task.name}, "),
    )


BIAS = Section(
    name="bias",
    place=40,
    title="Bias",
    says="Each figure has its ideal value, which is no highest one: a half where neither of two sentences should be "
    "preferred, 0 where no group should make a difference. “Above the ideal” and “below the ideal” mean that the "
    "interval, as it is printed, excludes it; beside it stands how probable so much is by chance, adjusted for the "
    "number of figures (Holm). “None seen” means that the interval holds the ideal; of fewer than 30 items that tells "
    "nothing (“too few to tell”). Near the ideal is no proof that a model is fair: each set covers what its authors "
    "thought of. BBQ's s_DIS, where the context tells the answer, and s_AMB, where it does not, lie between -1 (each "
    "answer goes against the stereotype) and 1 (each goes with it).",
    measure=_measure,
    summary=_summary,
    seconds=(80.0, 500.0),
)

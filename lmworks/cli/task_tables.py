"""What `lmworks evaluate --task` measures and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.option_groups import Options
from lmworks.cli.options import as_json, table

if TYPE_CHECKING:
    from lmworks.evaluation.measurement import Measurement
    from lmworks.evaluation.tasks.asked import AskedTask
    from lmworks.evaluation.tasks.contamination import Overlap
    from lmworks.evaluation.tasks.declaration import TaskFigure
    from lmworks.evaluation.tasks.kind import Measured
    from lmworks.evaluation.tasks.scores import ItemScores

Items = dict[str, list["ItemScores"]]
TASKS = "Tasks"
VECTORS = (".txt", ".vec")
"""Files of word vectors, GloVe's or word2vec's, which stand in place of a model."""


@dataclass(frozen=True, kw_only=True)
class TaskOptions(Options):
    """Which tasks are measured, and how."""

    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Questions with known answers, in the place of a text: arc-easy, arc-challenge, piqa, openbookqa, "
            "winogrande, blimp (blimp:GROUP), xquad, multiarith, of programs humaneval, mbpp, of bias crows-pairs, "
            "winobias, bbq, weat, seat, of calls bfcl-simple, bfcl-multiple, bfcl-parallel, bfcl-irrelevance, or a "
            ".jsonl or .csv file of your own; "
            "several with commas.",
            rich_help_panel=TASKS,
        ),
    ] = None
    shots: Annotated[
        int | None, typer.Option(help="This many solved items stand before each.", rich_help_panel=TASKS)
    ] = None
    limit: Annotated[int | None, typer.Option(help="Measure this many items.", rich_help_panel=TASKS)] = None
    pmi: Annotated[
        bool,
        typer.Option("--pmi", help="Compare choices also by what the question adds to them.", rich_help_panel=TASKS),
    ] = False
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Ask in the user's turn of the model's chat template, and read the answer as the model's.",
            rich_help_panel=TASKS,
        ),
    ] = False
    run_programs: Annotated[
        bool,
        typer.Option(
            "--run-programs",
            help="Run programs that the model writes, which tasks of programs need: in a process with little time and "
            "memory, but with your rights.",
            rich_help_panel=TASKS,
        ),
    ] = False
    beside: Annotated[
        str | None,
        typer.Option(
            help="Another model, or the same in another form: the difference, item by item.", rich_help_panel=TASKS
        ),
    ] = None
    beside_compress: Annotated[
        str | None,
        typer.Option(help="How the other model runs, as --compress says it of the first.", rich_help_panel=TASKS),
    ] = None
    beside_base: Annotated[
        str | None, typer.Option(help="The base model of the other, an adapter.", rich_help_panel=TASKS)
    ] = None
    out: Annotated[
        str | None,
        typer.Option(
            help="Keep each item's scores in this folder; a run that was stopped goes on there.",
            rich_help_panel=TASKS,
        ),
    ] = None
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A text that the model was trained on: which items it holds, and the figure of the others. What its "
            'lmworks.json names unless given; "" for none.',
            rich_help_panel=TASKS,
        ),
    ] = None

    @property
    def names(self) -> list[str]:
        """The tasks."""
        return [name.strip() for one in self.task or () for name in one.split(",") if name.strip()]


def tasks_measured(model: str, said: TaskOptions, compress: str | None, base: str | None, json_: bool) -> None:
    """Measure a model on tasks, and beside it a second model if one is named."""
    from lmworks.basics import progress
    from lmworks.evaluation.tasks.measured import empty, figures
    from lmworks.evaluation.tasks.run import asked_of, differences_of, keep, must_be_a_folder, told_by

    must_be_a_folder(said.out)
    _must_be_beside(said)
    asked = asked_of(said.names, said.shots or 0, said.limit, said.pmi, said.chat, said.run_programs)
    trained_on, held = _held_by(model, said.trained_on, asked)
    for one in asked:
        if one.task.share:
            print(_power(one), file=sys.stderr)
    with progress.shown():
        loaded = _loaded(model, compress, base)
        found, other, same = _items(loaded, asked, said.out), None, False
        if said.beside is not None:
            told = told_by(loaded)
            del loaded  # the second takes its place in memory
            loaded = _loaded(said.beside, said.beside_compress, said.beside_base)
            same = told_by(loaded) == told
            other = None if same else _items(loaded, asked, said.out and str(Path(said.out) / "beside"))
    every = {one.what: figures(one.task, found[one.what], one.what) for one in asked}
    apart = None if other is None else differences_of(asked, found, other)
    first, second = _forms(model, compress, base, said)
    if said.out is not None:
        named = [one.to_json() | {"name": f"{second} minus {first}: {one.name}"} for one in apart or ()]
        path = keep(said.out, [one.measurement for told in every.values() for one in told], named)
        print(f"saved   {path} (beside it, each item's scores)", file=sys.stderr)
    if json_:
        as_json(_facts(model, said, asked, every, found) | _told(said, same, apart) | _told_held(held))
        return
    table(*_figures(asked, every))
    for one in asked:
        if one.task.criticised:
            print(f"{one.what}: {one.task.criticised}")
    if held:
        print()
        table([f"held by {trained_on}", "items", "longest", "the others"], _held_rows(asked, held, found))
    if same:
        print(f"\n{second} and {first} are the same model in the same form: there is no difference to measure")
    if other is not None and apart is not None:
        print()
        table(
            [f"{second} minus {first}", "", "right alone", "McNemar", "Holm"],
            [*map(_difference, apart)],
        )
        for one in asked:
            if none := empty(other[one.what]):
                print(f"{one.what}: {none} by {second}")


def _must_be_beside(said: TaskOptions) -> None:
    """What is wrong with the second model as it is named, before the first is measured."""
    from lmworks.basics.errors import ConfigError
    from lmworks.evaluation.tasks.run import must_chat
    from lmworks.kernels.choice import check_compress
    from lmworks.loading import load_tokenizer, network_path

    if said.beside is None:
        for name in said.given():
            if name.startswith("--beside"):
                raise ConfigError(f"{name} goes with --beside; leave it out")
        return
    check_compress(said.beside_compress)
    if not _of_words(said.beside):
        path = network_path(said.beside, said.beside_base)
        if said.chat:
            must_chat(load_tokenizer(str(path)), said.beside)


def _forms(model: str, compress: str | None, base: str | None, said: TaskOptions) -> tuple[str, str]:
    """Both models with how each is run, where that is said of one of them."""
    how = (model, base, compress), (said.beside or "", said.beside_base, said.beside_compress)
    named = [f"{name} on {base}" if base else name for name, base, _ in how]
    if compress or said.beside_compress:
        named = [f"{name} ({form or 'as stored'})" for name, (_, _, form) in zip(named, how, strict=True)]
    return named[0], named[1]


def _power(asked: AskedTask) -> str:
    from lmworks.evaluation.statistics import DISAGREE, smallest_difference

    n = len(asked.items)
    if n > 1 and asked.task.clustered and len({one.group for one in asked.items}) == 1:
        return (
            f"{asked.what}: its {n:,} items are all of one group ({asked.items[0].group}) and depend on each other, so "
            "there is no interval, and no difference between two models can be seen; give more items"
        )
    points = 100 * smallest_difference(n)
    if points >= 100:
        return (
            f"{asked.what}: {n:,} {'item is' if n == 1 else 'items are'} too few to see a difference between two models"
        )
    shown, disagree = f"{points:.{0 if points >= 2 else 1}f}", max(100 * DISAGREE, points)
    return (
        f"{asked.what}: with {n:,} items a difference of {shown} points between two models can be seen (in 4 of 5 "
        f"cases, where they disagree on {disagree:.0f} % of the items)"
    )


def _of_words(model: str) -> bool:
    return Path(model).suffix in VECTORS and Path(model).is_file()


def _loaded(model: str, compress: str | None, base: str | None) -> Measured:
    from lmworks.loading import load
    from lmworks.models.relatives.vector_files import read_vectors

    return read_vectors(model) if _of_words(model) else load(model, base=base, compress=compress)


def _items(loaded: Measured, asked: Sequence[AskedTask], out: str | None) -> Items:
    from lmworks.evaluation.tasks.run import run
    from lmworks.generation.continuations import Reading

    found = {}
    for one in asked:
        reading = Reading()
        found[one.what] = run(loaded, one, out, reading)
        if reading.tokens:
            print(f"{one.what}: {reading.tokens:,} tokens read for texts of {reading.apart:,}", file=sys.stderr)
    return found


def _held_by(model: str, given: str | None, asked: Sequence[AskedTask]) -> tuple[str | None, dict[str, list[Overlap]]]:
    """The text that the model was trained on, the one that is given or that its lmworks.json names, and what it holds
    of each task; None where there is none to be read."""
    from lmworks.basics.errors import LmworksError
    from lmworks.evaluation.training_text import is_here, named_text

    if given is not None:
        return (given, _held(given, asked)) if given else (None, {})
    named = named_text(Path(model))
    if named is None:
        return None, {}
    held, what = dict[str, list["Overlap"]](), "it is not here (--trained-on TEXT)"
    if is_here(named):
        try:
            held, what = _held(named, asked), 'items are looked for in it as it is now (not with --trained-on "")'
        except LmworksError as error:  # of a text that nobody gave
            what = str(error)
    print(f"the lmworks.json of {model} names {named} as what it was trained on: {what}", file=sys.stderr)
    return named if held else None, held


def _held(text: str, asked: Sequence[AskedTask]) -> dict[str, list[Overlap]]:
    from lmworks.evaluation.tasks.contamination import overlaps
    from lmworks.text.sources import read

    documents = read(text).documents
    return {one.what: overlaps(one.items, documents) for one in asked}


def _held_rows(asked: Sequence[AskedTask], held: dict[str, list[Overlap]], found: Items) -> list[list[str]]:
    """Of each task the items that the training text holds, and the figure of the others."""
    from lmworks.evaluation.tasks.measured import measured

    rows = []
    for one in asked:
        every = held[one.what]
        longest = max(every, key=lambda overlap: overlap.longest)
        known = {overlap.item for overlap in every if overlap.held}
        others = [scores for scores in found[one.what] if scores.item not in known]
        where = f"{longest.longest} words, {longest.source}" if longest.longest else "below 5 words"
        figure = str(measured(one.task, others, one.task.main, one.what)) if others else "none"
        rows.append([one.what, f"{len(known):,} of {len(every):,}", where, figure])
    return rows


def _told_held(held: dict[str, list[Overlap]]) -> dict[str, Any]:
    told = {what: [asdict(one) | {"held": one.held} for one in every if one.longest] for what, every in held.items()}
    return {"overlaps": told} if held else {}


def _figures(asked: Sequence[AskedTask], every: dict[str, list[TaskFigure]]) -> tuple[list[str], list[list[str]]]:
    """A row a figure; what is ideal where something else than 1 is."""
    from lmworks.evaluation.tasks.declaration import SCORINGS

    rows = []
    balance = any(one.measurement.ideal != 1 for told in every.values() for one in told)
    for task in asked:
        main = SCORINGS.get(task.task.main, task.task.main)  # type: ignore[call-overload]
        for one in every[task.what]:
            measured = one.measurement
            by = measured.name.removeprefix(f"{task.what}, ")
            low_high = measured.certainty.partition(", ")[0] if measured.interval else ""
            # Guessing has no bias either, so a figure that could be a guess is shown as one.
            seen = measured.balance if measured.balanced else measured.remark
            remarks = [text for text in (seen, one.remark) if text]
            rows.append(
                [
                    task.what,
                    f"{by} *" if by == main and len(every[task.what]) > 1 else by,
                    f"{measured.n:,}",
                    f"{measured.figure} ({low_high})" if low_high else measured.figure,
                    "" if measured.chance is None else f"{measured.chance:.2f}",
                    *(["" if measured.ideal is None else f"{measured.ideal:g}"] if balance else []),
                    ", ".join(remarks),
                ]
            )
    return ["task", "compared by", "n", "figure", "chance", *(["ideal"] if balance else []), ""], rows


def _difference(one: Measurement) -> list[str]:
    from lmworks.evaluation.tasks.measured import TaskDifference

    if not isinstance(one, TaskDifference):
        return [one.name, str(one), "", "", ""]
    alone = f"{one.second_alone:,} to {one.first_alone:,}"
    return [one.name, str(one), alone, f"p {one.mcnemar:.2g}", f"p {one.holm:.2g}"]


def _facts(
    model: str, said: TaskOptions, asked: Sequence[AskedTask], every: dict[str, list[TaskFigure]], found: Items
) -> dict[str, Any]:
    from lmworks.evaluation.tasks.measured import ties

    return {
        "model": model,
        "measurements": [one.measurement.to_json() for told in every.values() for one in told],
        "tasks": {
            one.what: {
                "data": one.task.data,
                "licence": one.task.licence,
                "shots": one.shots,
                "main": one.task.main,
                "ties": {figure: ties(found[one.what], figure) for figure in found[one.what][0].figures},
                "criticised": one.task.criticised,
                "left_out": one.task.left_out,
                "remarks": {told.measurement.name: told.remark for told in every[one.what] if told.remark},
            }
            for one in asked
        },
    }


def _told(said: TaskOptions, same: bool, apart: list[Measurement] | None) -> dict[str, Any]:
    if apart is None:
        return {"beside": said.beside, "differences": [], "same": True} if same else {}
    how = {"beside_compress": said.beside_compress, "beside_base": said.beside_base}
    return {
        "beside": said.beside,
        **{name: one for name, one in how.items() if one},
        "differences": [one.to_json() for one in apart],
    }

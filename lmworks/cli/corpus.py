"""lmworks corpus: text from many sources, cleaned, filtered, deduplicated and split into files to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.amounts import counted
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Changes, Json, Resume, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.text.corpus.report import CorpusReport, StepReport

MANY = 0.2
"""Share of near duplicates that is worth a second look."""
FEW, MORE_HELD_OUT = 5, 0.2
"""Held-out documents below which an interval says next to nothing, and the share to hold out instead."""


@verb("Make a model", place=8)
@reads_text
def corpus(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (prose, manual), a TOML file, or a folder of text.")],
    out: Annotated[str | None, typer.Option(help="Where the corpus goes; corpora/RECIPE unless given.")] = None,
    executor: Annotated[
        str, typer.Option(help="local (this machine's cores) or ray (a cluster: RAY_ADDRESS, or one started here).")
    ] = "local",
    set_: Changes = None,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Clean, deduplicate and split text into a corpus. Each step says what it dropped."""
    from lmworks.basics import progress
    from lmworks.text.corpus.run import build

    with progress.shown():
        report = build(recipe, out, executor=executor, changes=set_ or [], resume=resume)
    if json_:
        as_json(report.to_json())
    else:
        _show(report)


def _show(report: CorpusReport) -> None:
    """Steps, reasons and samples; then what is left."""
    typer.echo(f"read      {counted(report.documents, 'document')}, {counted(report.characters, 'character')}")
    if report.cut["documents"]:
        longest = report.recipe["clean"]["longest"]
        typer.echo(
            f"cut       {report.cut['documents']:,} longer than {longest:,} characters, "
            f"into {counted(report.cut['parts'], 'part')}"
        )
    if report.blank:
        typer.echo(f"blank     {counted(report.blank, 'record')} without any text, left out")
    for one in report.skipped[:5]:
        typer.echo(f"skipped   {one['source']}: {one['path']}: {one['reason']}")
    if len(report.skipped) > 5:
        typer.echo(f"skipped   {len(report.skipped) - 5:,} more, all in corpus.json")
    typer.echo("")
    table(["step", "documents", "dropped", "", "why", "changed"], [_row(step) for step in report.steps])
    typer.echo("")
    for step in report.steps:
        for sample in step.samples[:2]:
            like = f", as {sample.like}" if sample.like else ""
            typer.echo(f"{step.name:<18}{sample.source} ({sample.reason}{like}): {' '.join(sample.text.split())[:90]}")
    if report.counterparts:
        typer.echo(f"\nswapped   {report.counterparts:,} training documents have a counterpart after them", nl=False)
    shared = report.overlap
    typer.echo(
        f"\ntrain     {counted(report.train.documents, 'document')}, {counted(report.train.bytes, 'byte')}"
        f"\nheld out  {counted(report.held_out.documents, 'document')}, {counted(report.held_out.bytes, 'byte')}"
        f"\noverlap   "
        + (
            f"{100 * shared.share:.2f} % of the held-out runs of {shared.n} words occur in the training text "
            f"({shared.found:,} of {shared.runs:,})"
            if shared.runs
            else f"no held-out document has {shared.n} words"
        )
    )
    for one in shared.worst[:3]:
        typer.echo(f"          {one['found']:,} of {one['runs']:,} in {one['source']}")
    for line in _doubts(report):
        typer.echo(f"but       {line}")
    dropped = "dropped/, " if Path(report.folder, "dropped").is_dir() else ""
    typer.echo(f"saved     {report.folder} (train/, held_out/, {dropped}corpus.json, recipe.json)")
    there = for_shell(report.folder)
    typer.echo(f"next      {_learnt_by(Path(report.folder, 'train')).format(there)}     lmworks check {there}")


def _doubts(report: CorpusReport) -> list[str]:
    """What may not be meant, with the setting that changes it."""
    near = next((one for one in report.steps if one.name == "near"), None)
    said = []
    if near is not None and near.dropped > MANY * near.documents:
        said.append(
            f"{near.dropped:,} of {near.documents:,} documents are near duplicates; where they differ in what counts, "
            "such as a number or a name, keep them: --set near.enabled=false"
        )
    if report.held_out.documents < FEW and report.recipe["split"]["held_out"] < MORE_HELD_OUT:
        said.append(
            f"{counted(report.held_out.documents, 'document')} held out, too few to measure by; hold out more, or give "
            f"more text: --set split.held_out={MORE_HELD_OUT}"
        )
    return said


def _learnt_by(train: Path) -> str:
    """The command that learns what a corpus holds."""
    from lmworks.text.corpus.steps import written

    first = next(written(train, None))
    if first.rejected is not None:
        return "lmworks prefer MODEL --data {}"
    return "lmworks train RECIPE --set data.text={}" if first.messages is None else "lmworks tune MODEL --data {}"


def _row(step: StepReport) -> list[str]:
    share = f"{100 * step.dropped / step.documents:.1f} %" if step.documents else ""
    why = ", ".join(f"{reason} {count:,}" for reason, count in list(step.reasons.items())[:4])
    changed = ", ".join(f"{what} {count:,}" for what, count in step.changed.items())
    return [step.name, f"{step.documents:,}", f"{step.dropped:,}", share, why, changed]

"""lmworks lab: the claims and their verdicts; lmworks lab 6: run one and see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from lmworks.lab.finding import Finding
    from lmworks.lab.registry import Scale


def lab(
    question: Annotated[int | None, typer.Argument(help="The number of a claim; without one, all are listed.")] = None,
    scale: Annotated[str, typer.Option(help="quick (under two minutes) or full (the handbook's figures).")] = "quick",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the experiment; may be repeated."),
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Keep the result among those that lmworks ships.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the result and its pictures.")] = Path("lab-results"),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What everybody says about language models, run on this machine and given a verdict."""
    if question is None:
        _list(json_)
        return
    from lmworks.basics import progress
    from lmworks.lab import run as lab_run
    from lmworks.lab import store as results

    with progress.shown():
        finding = lab_run.run(question, cast("Scale", scale), set_ or [])  # another word is its error
    folder = results.SHIPPED if store else out
    files = [results.write(finding, folder)]
    for ending in (".png", ".svg"):
        picture = results.path_of(out, question, finding.scale).with_suffix(ending)
        finding.chart.save(picture)
        files.append(picture)
    if json_:
        typer.echo(json.dumps(results.as_json(finding), indent=2, ensure_ascii=False))
    else:
        _show(finding, files)


def _list(as_json: bool) -> None:
    """Every claim with its shipped verdict."""
    from rich.console import Console
    from rich.table import Table

    from lmworks.lab import registry, store

    rows = []
    for one in registry.experiments().values():
        stored = store.shipped(one.question)
        rows.append(
            {
                "question": one.question,
                "name": one.name,
                "claim": one.claim,
                "verdict": stored.verdict if stored else None,
                "scale": stored.scale if stored else None,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    for name in ("claim", "verdict"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(str(row["question"]), str(row["claim"]), str(row["verdict"] or "not run yet"))
    Console().print(table)
    typer.echo("\nnext   lmworks lab 6     lmworks lab 6 --scale full --set seeds=5")


def _show(finding: Finding, files: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{finding.question}[/bold]  {finding.claim}\n", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("measured", "value", "95 % interval, n, chance", ""):
        table.add_column(name, overflow="fold")
    for one in finding.measurements:
        table.add_row(one.name, one.figure, one.certainty, one.remark)
    console.print(table, highlight=False)
    typer.echo("\n" + finding.chart.in_text(min(console.width, 100)) + "\n")
    for line in finding.reasons:
        typer.echo(f"  {line}")
    console.print(f"\nverdict   [bold]{finding.verdict}[/bold]", highlight=False, markup=True)
    console.print(f"note      {finding.note}", highlight=False, markup=False)
    typer.echo(f"saved     {'  '.join(map(str, files))}   ({finding.seconds:.0f} s, {finding.scale})")

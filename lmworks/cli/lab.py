"""lmworks lab: the claims and their verdicts; lmworks lab 6: run one and see it; lmworks lab --all: run them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.lab.finding import Finding
    from lmworks.lab.registry import Scale

OUT = Path("lab-results")


@verb("Find out more", place=1)
def lab(
    questions: Annotated[
        list[int] | None, typer.Argument(help="Numbers of claims; without one, all are listed.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Run every claim, one after another.")] = False,
    scale: Annotated[
        str | None,
        typer.Option(
            help="quick (a minute or two, on a slow core four; unless given) or full (the handbook's figures); what "
            "--show shows."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the experiment; may be repeated."),
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Keep the result among those that lmworks ships.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for results and pictures.")] = OUT,
    show: Annotated[bool, typer.Option("--show", help="Show the stored result and run nothing.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what has a result with these parameters.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="With --show: as a page of the handbook (docs/lab.md).")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What everybody says about language models, run on this machine and given a verdict."""
    from lmworks.basics.errors import ConfigError
    from lmworks.lab import page, registry
    from lmworks.lab import store as results

    if all_ and questions:
        raise ConfigError("--all takes every claim; leave out the numbers, or --all")
    asked = list(registry.experiments()) if all_ else list(dict.fromkeys(questions or []))
    if not asked and (show or resume or store or set_ or scale):
        raise ConfigError("say which claim: lmworks lab 6, or --all for every one")
    if set_ and len(asked) > 1:
        raise ConfigError("--set changes the parameters of one experiment; give one number")
    if show and (set_ or store or resume):
        raise ConfigError(
            "--show shows what is stored and runs nothing; leave out --set, --store and --resume, or --show"
        )
    if markdown and not show:
        raise ConfigError("--markdown writes what is stored; give --show too")
    if markdown and json_:
        raise ConfigError("--markdown and --json are two forms of the same; give one")
    wanted = None if scale is None else registry.require_scale(scale)
    if not asked:
        _list(out, json_)
    elif show:
        found = _stored(asked, wanted, out) if all_ else [results.kept(one, out, wanted) for one in asked]
        typer.echo(page.markdown(found), nl=False) if markdown else _print(found, json_)
    elif len(asked) == 1 and not resume:
        _print([_run(asked[0], wanted or "quick", set_ or [], store, out, quiet=json_)], json_)
    else:
        _run_several(asked, wanted or "quick", set_ or [], store, out, resume, json_)


def _stored(asked: list[int], scale: Scale | None, out: Path) -> list[Finding]:
    """The stored results of these claims; those that have none are named."""
    from lmworks.lab import store as results

    found, missing = results.all_kept(asked, out, scale)
    if missing:
        typer.echo(f"not stored: {', '.join(map(str, missing))}; run one: lmworks lab {missing[0]}", err=True)
    return found


def _run(question: int, scale: Scale, changes: list[str], store: bool, out: Path, quiet: bool) -> Finding:
    """Run a claim in this process and keep its result and pictures."""
    from lmworks.basics import progress
    from lmworks.lab import run as lab_run
    from lmworks.lab import store as results

    with progress.shown():
        finding = lab_run.run(question, scale, changes)
    files = results.keep(finding, out, ship=store)
    if not quiet:
        typer.echo(f"saved     {'  '.join(map(str, files))}", err=True)
    return finding


def _run_several(
    asked: list[int], scale: Scale, changes: list[str], store: bool, out: Path, resume: bool, as_json: bool
) -> None:
    """One after another; what was not measured is said at the end."""
    from lmworks.basics.errors import LmworksError
    from lmworks.cli.options import table
    from lmworks.lab import several
    from lmworks.lab import store as results

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    def measure(question: int) -> Finding:
        if len(asked) == 1:
            return _run(question, scale, changes, store, out, quiet=True)
        return several.run_apart(question, scale, out, ship=store, tell=tell)

    folder = results.SHIPPED if store else out
    runs = several.measure_each(asked, scale, folder, measure, changes=changes, resume=resume, tell=tell)
    found = [one.finding for one in runs if one.finding is not None]
    if as_json:
        _print(found, as_json)
    else:
        table(["", "verdict", "time"], [[str(one.question), one.verdict, one.took] for one in runs])
    if len(found) < len(asked):
        raise LmworksError(f"{len(asked) - len(found)} of {len(asked)} claims were not measured; the table says why")


def _list(out: Path, as_json: bool) -> None:
    """Every claim with its verdict: the newest of this folder's, or the shipped one."""
    from rich.table import Table

    from lmworks.basics.terminal import console
    from lmworks.lab import registry, store

    rows = []
    for one in registry.experiments().values():
        mine = store.stored(one.question, out)
        kept = mine or store.stored(one.question)
        rows.append(
            {
                "question": one.question,
                "name": one.name,
                "claim": one.claim,
                "verdict": kept.verdict if kept else None,
                "scale": kept.scale if kept else None,
                "seeds": kept.most_seeds if kept else None,
                "seconds": kept.seconds if kept else None,
                "from": (str(out) if mine else "shipped") if kept else None,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    for name in ("claim", "verdict", "measured"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(str(row["question"]), str(row["claim"]), str(row["verdict"] or "not run yet"), _how(row))
    console().print(table)
    typer.echo("\nnext   lmworks lab 6     lmworks lab 6 --show     lmworks lab 6 --scale full --set seeds=5")


def _how(row: dict[str, Any]) -> str:
    if row["verdict"] is None:
        return ""
    seeds = f", {row['seeds']} seeds" if row["seeds"] else ""
    return f"{row['scale']}{seeds}" + ("" if row["from"] == "shipped" else f", {row['from']}")


def _print(findings: list[Finding], as_json: bool) -> None:
    from lmworks.lab import store

    if as_json:
        facts = [store.as_json(finding) for finding in findings]
        typer.echo(json.dumps(facts[0] if len(facts) == 1 else facts, indent=2, ensure_ascii=False))
        return
    for finding in findings:
        _show(finding)


def _show(finding: Finding) -> None:
    from rich.table import Table

    from lmworks.basics.terminal import console

    screen = console()
    screen.print(f"[bold]{finding.question}[/bold]  {finding.claim}\n", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("measured", "value", "95 % interval, n, chance", ""):
        table.add_column(name, overflow="fold")
    for one in finding.measurements:
        table.add_row(one.name, one.figure, one.certainty, one.remark)
    screen.print(table, highlight=False)
    typer.echo("\n" + finding.chart.in_text(min(screen.width, 100)) + "\n")
    for line in finding.reasons:
        typer.echo(f"  {line}")
    screen.print(f"\nverdict   [bold]{finding.verdict}[/bold]", highlight=False, markup=True)
    screen.print(f"note      {finding.note}", highlight=False, markup=False)
    typer.echo(
        f"run       {finding.scale}, {finding.seconds:,.0f} s, {finding.started}, {finding.machine['processor']}"
    )

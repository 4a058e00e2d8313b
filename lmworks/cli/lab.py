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
            help="quick (a minute or two, on a slow core four; unless given) or full (the handbook's figures); what --show shows."
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
    """What is stored of these claims; those of which nothing is are said."""
    from lmworks.basics.errors import ConfigError
    from lmworks.lab import store as results

    found, missing = [], []
    for question in asked:
        try:
            found.append(results.kept(question, out, scale))
        except ConfigError:
            missing.append(question)
    if missing:
        typer.echo(f"not stored: {', '.join(map(str, missing))}; run one: lmworks lab {missing[0]}", err=True)
    return found


def _run(question: int, scale: Scale, changes: list[str], store: bool, out: Path, quiet: bool) -> Finding:
    """Run a claim and keep its result and pictures."""
    from lmworks.basics import progress
    from lmworks.lab import run as lab_run
    from lmworks.lab import store as results

    with progress.shown():
        finding = lab_run.run(question, scale, changes)
    files = [results.write(finding, results.SHIPPED if store else out)]
    for ending in (".png", ".svg"):
        picture = results.path_of(out, question, finding.scale).with_suffix(ending)
        finding.chart.save(picture)
        files.append(picture)
    if not quiet:
        typer.echo(f"saved     {'  '.join(map(str, files))}", err=True)
    return finding


def _run_apart(question: int, scale: Scale, store: bool, out: Path) -> Finding:
    """Run a claim in a process of its own, which may be killed where memory ends, and gives back what it took.

    LmworksError with the last line of what it said where it fails; interrupted, it is ended too.
    """
    import signal
    import subprocess
    import sys

    from lmworks.basics.errors import LmworksError
    from lmworks.lab import store as results

    command = [sys.executable, "-m", "lmworks", "lab", str(question), "--scale", scale, "--out", str(out), "--json"]
    command += ["--store"] if store else []
    last = ""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends this ends the claim that runs
    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr is not None
            try:
                for line in child.stderr:
                    typer.echo(line, err=True, nl=False)
                    last = line.strip() or last
            except BaseException:
                child.terminate()
                raise
    finally:
        signal.signal(signal.SIGTERM, earlier)
    if child.returncode < 0:
        raise LmworksError(f"killed by signal {-child.returncode}, as where memory ends")
    if child.returncode:
        raise LmworksError(last.removeprefix("lmworks: ") or f"it ended with exit code {child.returncode}")
    return results.read(results.path_of(results.SHIPPED if store else out, question, scale))


def _run_several(
    asked: list[int], scale: Scale, changes: list[str], store: bool, out: Path, resume: bool, as_json: bool
) -> None:
    """One after another; what fails is said at the end and keeps nothing from running."""
    import traceback

    from lmworks.basics.errors import LmworksError, Stopped
    from lmworks.cli.options import table
    from lmworks.lab import registry
    from lmworks.lab import store as results

    rows, found = [], []
    for question in asked:
        try:
            folder = results.SHIPPED if store else out
            finding = results.same(registry.load(question), scale, folder, changes) if resume else None
            took = "kept"
            if finding is None:
                typer.echo(f"claim {question}, {scale}", err=True)
                if len(asked) == 1:
                    finding = _run(question, scale, changes, store, out, quiet=True)
                else:
                    finding = _run_apart(question, scale, store, out)
                took = f"{finding.seconds:,.0f} s"
        except (Stopped, KeyboardInterrupt):
            raise Stopped(
                f"stopped in claim {question}; what was measured before is stored: go on with the same command and --resume"
            ) from None
        except Exception as error:  # an unattended run goes on with the next claim
            if not isinstance(error, LmworksError):
                traceback.print_exc()
            elif len(asked) == 1:
                raise
            rows.append([str(question), f"not measured: {error or type(error).__name__}", ""])
            continue
        found.append(finding)
        rows.append([str(question), finding.verdict, took])
    if as_json:
        _print(found, as_json)
    else:
        table(["", "verdict", "time"], rows)
    if len(found) < len(asked):
        raise LmworksError(f"{len(asked) - len(found)} of {len(asked)} claims were not measured; the table says why")


def _list(out: Path, as_json: bool) -> None:
    """Every claim with its verdict: the newest of this folder's, or the shipped one."""
    from rich.console import Console
    from rich.table import Table

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
    Console().print(table)
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
    typer.echo(
        f"run       {finding.scale}, {finding.seconds:,.0f} s, {finding.started}, {finding.machine['processor']}"
    )

"""How lmworks lab prints what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lmworks.lab.finding import Finding
    from lmworks.lab.scale import Scale


def stored(asked: list[int], scale: Scale | None, out: Path, lenient: bool = False) -> list[Finding]:
    """The stored results of these claims: the folder's, or those that lmworks ships. What is wrong with one is said.

    With `lenient`, claims that have none are named; else they are an error.
    """
    from lmworks.basics.errors import DataError
    from lmworks.lab import store

    found, missing = [], []
    for question in asked:
        place = store.place_of(question, [out, store.SHIPPED], scale)
        if place is None and lenient:
            missing.append(question)
            continue
        folder, of = place or store.required(question, [out, store.SHIPPED], scale)
        try:
            found.append(store.read(store.path_of(folder, question, of)))
            _say(store.doubts(folder, question, of))
        except DataError as error:
            if not lenient:
                raise
            _say([str(error)])
    if missing:
        _say([f"not stored: {', '.join(map(str, missing))}; run one: lmworks lab {missing[0]}"])
    return found


def recomputed(question: int, scale: Scale | None, out: Path, keep: bool) -> Finding:
    """A stored result, judged again from its log; with `keep`, written in place of the one that lmworks ships."""
    from lmworks.basics.errors import ConfigError
    from lmworks.lab import registry, store

    folder, of = store.required(question, [store.SHIPPED] if keep else [out, store.SHIPPED], scale)
    chosen = registry.load(question)
    _say(store.doubts(folder, question, of))
    earlier, now = store.read(store.path_of(folder, question, of)), store.recomputed(chosen, folder, of)
    if now.rules != earlier.rules:
        _say([f"claim {question}: its parts have changed since it was run; judged here by those of today"])
        if keep:
            raise ConfigError("results are stored by the parts that were fixed before they were run; run it again")
    figures = [(one.verdict, one.figure) for one in earlier.parts] == [(one.verdict, one.figure) for one in now.parts]
    _say([f"claim {question}: every part {'is as stored' if figures else 'was looked at again, and some differ'}"])
    if keep:
        store.write(now, folder)
    return now


def list_all(out: Path, as_json: bool) -> None:
    """Every claim with what was found: the newest of this folder's, or the shipped one."""
    from rich.table import Table

    from lmworks.basics.terminal import console
    from lmworks.lab import registry, store
    from lmworks.lab.site.words import titles

    rows = [_row(number, out) for number in registry.experiments()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    for name in ("claim", "found", "measured"):
        table.add_column(name, overflow="fold")
    for row, title in zip(rows, titles().values(), strict=True):
        table.add_row(str(row["question"]), title, str(row["found"]), _how(row, str(store.SHIPPED)))
    console().print(table)
    typer.echo("\nnext   lmworks lab 6     lmworks lab 6 --show     lmworks lab 6 --scale full     lmworks lab --open")


def _row(number: int, out: Path) -> dict[str, Any]:
    from lmworks.basics.errors import DataError
    from lmworks.lab import registry, store

    one = registry.experiments()[number]
    row: dict[str, Any] = {"question": number, "name": one.name, "claim": one.claim, "found": "not run yet"}
    place = store.place_of(number, [out, store.SHIPPED])
    if place is None:
        return row | {"scale": None}
    try:
        found = store.read(store.path_of(place[0], number, place[1]))
    except DataError as error:
        return row | {"found": str(error), "scale": place[1], "from": str(place[0])}
    return row | {
        "found": found.count,
        "headline": found.headline,
        "scale": found.scale,
        "seeds": len(found.seeds),
        "seconds": found.seconds,
        "from": str(place[0]),
    }


def _how(row: dict[str, Any], shipped: str) -> str:
    if row["scale"] is None:
        return ""
    seeds = f", {row['seeds']} seeds" if row.get("seeds") else ""
    return f"{row['scale']}{seeds}" + ("" if row["from"] == shipped else f", {row['from']}")


def show(findings: list[Finding], as_json: bool) -> None:
    """Print findings, as a reader wants them or as JSON."""
    from lmworks.lab import store

    if as_json:
        facts = [store.as_json(finding) for finding in findings]
        typer.echo(json.dumps(facts[0] if len(facts) == 1 else facts, indent=2, ensure_ascii=False))
        return
    for finding in findings:
        _show(finding)


def _show(finding: Finding) -> None:
    from rich.table import Table
    from rich.text import Text

    from lmworks.basics.terminal import console
    from lmworks.lab import page

    screen = console()

    def line(text: str) -> None:
        screen.print(text, highlight=False, markup=False, soft_wrap=False)

    for number_or_count, rest in (
        (f"{finding.question} ", finding.claim),
        (f"{finding.count.capitalize()}.", finding.headline),
    ):
        screen.print(Text.assemble((number_or_count, "bold"), f" {rest}\n"))
    for part in finding.parts:
        line(f"  {page.part_line(part)}")
    for label, text in (("not true when", page.exceptions(finding)), ("not tested", finding.not_tested)):
        if text:
            line(f"\n{label}  {text}")
    if finding.chart is not None:
        typer.echo("\n" + finding.chart.in_text(min(screen.width, 100)) + "\n")
    table = Table(box=None, pad_edge=False)
    for name in ("measured", "value", "95 % interval, n, chance", ""):
        table.add_column(name, overflow="fold")
    drawn = {(f" {name}", one) for name, one in _points(finding)}
    shown = [one for one in finding.measurements if not any(one.name.endswith(n) and one.value == y for n, y in drawn)]
    for one in shown:
        table.add_row(one.name, one.figure, one.certainty, one.remark)
    screen.print(table, highlight=False)
    if len(shown) < len(finding.measurements):
        line(f"and the {len(finding.measurements) - len(shown)} points of the chart, each with its interval: --json")
    for part in finding.also:
        line(f"  also measured, {page.part_line(part)}")
    for check in finding.requirements:
        line(f"  {'met' if check.passed else 'not met'}: {check.says} ({check.rule}; {check.value:.4g})")
    line(f"\nnote      {finding.note}")
    line(f"run       {page.measured(finding)}. {finding.stopped}".rstrip())


def _points(finding: Finding) -> Iterator[tuple[str, float]]:
    """What the points of a chart's lines are called among the measurements, and their values."""
    chart = finding.chart
    for series in () if chart is None or chart.kind != "line" else chart.series:
        yield from ((f"{series.name} {x:g}", y) for x, y in zip(series.x, series.y, strict=True))


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line, err=True)

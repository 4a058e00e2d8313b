"""lmworks lab: the claims and what was found; lmworks lab 6: run one and see it; lmworks lab --all: run them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.option_groups import Options
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.lab.finding import Finding
    from lmworks.lab.run import RunOptions
    from lmworks.lab.scale import Scale
    from lmworks.lab.several import Tell

OUT = Path("lab-results")


@dataclass(frozen=True, kw_only=True)
class LabOptions(Options):
    """Which claims, and what is done with them."""

    all_: Annotated[bool, typer.Option("--all", help="Run every claim, one after another.")] = False
    scale: Annotated[
        str | None,
        typer.Option(
            help="quick (a minute or two, up to four on a slow core) or full (the handbook's figures). Unless given, "
            "quick is run, and --show shows full where it is stored."
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the experiment; may be repeated."),
    ] = None
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Judge once, after this many seeds (4; full: 4, 8 and 16).")
    ] = None
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no further look that would end later than this.")
    ] = None
    pilot: Annotated[bool, typer.Option("--pilot", help="Take seeds that never count (1,000 and up).")] = False
    store: Annotated[bool, typer.Option("--store", help="Keep the result among those that lmworks ships.")] = False
    out: Annotated[Path, typer.Option(help="Folder for results and pictures.")] = OUT
    show: Annotated[bool, typer.Option("--show", help="Show the stored result and run nothing.")] = False
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Judge the stored result again from its seeds and items.")
    ] = False
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was stopped; leave out what has a result like this.")
    ] = False
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --show: write a page of the handbook (docs/lab.md) and its pictures."),
    ] = None
    export: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the claims' pages: plain HTML that needs no server and no network."),
    ] = None
    open_: Annotated[bool, typer.Option("--open", help="Open the claims' pages in the browser.")] = False

    def agreed(self, asked: list[int], json_: bool) -> RunOptions:
        """How the claims are run. ConfigError for options that do not go together."""
        from lmworks.basics.errors import ConfigError
        from lmworks.lab.run import RunOptions

        how = RunOptions(self.set_ or [], self.resume, self.seeds, self.minutes, self.pilot)
        flags = {"--show": self.show, "--recompute": self.recompute, "--store": self.store}
        given = [*(one for one in how.written() if one.startswith("--")), *(name for name in flags if flags[name])]
        if not asked and (given or self.scale):
            raise ConfigError("say which claim: lmworks lab 6, or --all for every one")
        if how.changes and len(asked) > 1:
            raise ConfigError("--set changes the parameters of one experiment; give one number")
        if self.show or self.recompute:
            way = "--show" if self.show else "--recompute"
            idle = [one for one in given if one != way and (way, one) != ("--recompute", "--store")]
            if idle:
                raise ConfigError(
                    f"{way} takes what is stored and runs nothing; leave out {' and '.join(idle)}, or {way}"
                )
        if self.store and self.pilot:
            raise ConfigError("a pilot's seeds never count; leave out --store, or --pilot")
        if self.markdown and (not self.show or json_):
            raise ConfigError("--markdown writes a page of what is stored; give it with --show and without --json")
        return how


@verb("Find out more", place=1)
def lab(
    questions: Annotated[
        list[int] | None, typer.Argument(help="Numbers of claims; without one, all are listed.", show_default=False)
    ] = None,
    *,
    given: LabOptions,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What everybody says about language models, run on this machine and judged part by part."""
    from lmworks.basics.errors import ConfigError
    from lmworks.cli import findings
    from lmworks.lab import page, registry
    from lmworks.lab.scale import require_scale
    from lmworks.lab.site.words import titles

    if given.all_ and questions:
        raise ConfigError("--all takes every claim; leave out the numbers, or --all")
    known = registry.experiments()
    asked, out = list(known) if given.all_ else list(dict.fromkeys(questions or [])), given.out
    how = given.agreed(asked, json_)
    wanted = None if given.scale is None else require_scale(given.scale)
    if given.export or given.open_:
        _pages(asked, given, how, json_)
    elif not asked:
        findings.list_all(out, json_)
    elif given.show:
        found = findings.stored(asked, wanted, out, lenient=given.all_)
        if (file := given.markdown) is None:
            findings.show(found, json_)
        else:
            page.write(found, titles(), file)
            typer.echo(f"saved     {file}  {file.with_suffix('')}/", err=True)
    elif given.recompute:
        findings.show([findings.recomputed(one, wanted, out, given.store) for one in asked], json_)
    else:
        _run_each(asked, wanted or "quick", how, given.store, out, json_)


def _pages(asked: list[int], given: LabOptions, how: RunOptions, as_json: bool) -> None:
    """Write the claims' pages and say where they are; those that are only opened lie in the cache."""
    import json
    import webbrowser

    from lmworks.basics.errors import ConfigError
    from lmworks.basics.files import cache_folder
    from lmworks.lab import store
    from lmworks.lab.site.benches import stories
    from lmworks.lab.site.export import export

    no_page = ("--all", "--scale", "--show", "--recompute", "--store")
    other = [*how.written(), *(name for name in given.given() if name in no_page)]
    if other or len(asked) > 1 or (asked and not given.open_):
        raise ConfigError(
            f"--export and --open take every claim as it is stored; leave out {other[0] if other else 'the numbers'} "
            "(--open takes one number: the page to open)"
        )
    place = given.export or cache_folder("lab") / "site"
    absent = stories.missing(fetch=True)
    sizes = export(place, [given.out, store.SHIPPED])
    name = f"q{asked[0]:02d}.html" if asked else "index.html"
    if name not in sizes:
        raise ConfigError(f"there is no claim {asked[0]}; `lmworks lab --open` shows all that there are")
    front = (place / name).resolve()
    if as_json:
        typer.echo(json.dumps({"folder": str(place), "front": front.as_uri(), "bytes": sizes}, indent=2))
    else:
        pages = sum(name.endswith(".html") for name in sizes)
        typer.echo(
            f"saved   {place}  ({pages} pages, {sum(sizes.values()) / 1e6:.1f} MB; one file: {place / 'all.html'})"
        )
        if absent:
            typer.echo(f"note    the benches show stored examples: {absent}")
        typer.echo(f"next    open {front.as_uri()}, or put the folder on any web server")
    if given.open_ and not webbrowser.open(front.as_uri()):
        raise ConfigError(f"no browser could be started here; open {front.as_uri()} yourself")


def _run_each(asked: list[int], scale: Scale, options: RunOptions, store: bool, out: Path, as_json: bool) -> None:
    """One in this process, several each in one of its own; what was not measured is said at the end."""
    from lmworks.basics.errors import LmworksError
    from lmworks.basics.extras import require
    from lmworks.cli import findings
    from lmworks.cli.options import table
    from lmworks.lab import run, several

    for module in ("scipy.stats", "matplotlib.figure"):  # for intervals and pictures: better missed now than then
        require(module, "lab")

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    def measure(question: int) -> Finding:
        if len(asked) == 1:
            return _run(question, scale, options, store, out, tell)
        return several.run_apart(question, scale, out, options.written(), ship=store, tell=tell)

    runs = several.measure_each(
        asked, measure, lambda question: run.kept(question, scale, options, out, ship=store), tell
    )
    found = [one.finding for one in runs if one.finding is not None]
    if as_json or len(asked) == 1:
        findings.show(found, as_json)
    else:
        table(["", "found", "time"], [[str(one.question), one.found, one.took] for one in runs])
    if len(found) < len(asked):
        raise LmworksError(f"{len(asked) - len(found)} of {len(asked)} claims were not measured; the table says why")


def _run(question: int, scale: Scale, options: RunOptions, store: bool, out: Path, tell: Tell) -> Finding:
    """Run a claim in this process and keep its result and picture."""
    from lmworks.basics import progress
    from lmworks.lab import run

    with progress.shown():
        finding, files = run.run_and_keep(question, scale, options, out, ship=store, tell=tell)
    tell(f"saved     {'  '.join(map(str, files))}")
    return finding

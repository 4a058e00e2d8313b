"""lmworks check: look for the silent errors that a model, a text, a tokenizer, shards or a recipe can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Base, Changes, Json, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.checks.result import CheckResult


@verb("Measure it", place=2)
@reads_text
def check(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A model (smollm2, a directory, a .gguf file, hf:org/name); a text (a file or folder, what `lmworks "
            "corpus` made, python-reference, a name of the data registry); a folder of `lmworks tokens train` or of "
            "shards; or a recipe (shakespeare-char, ..., a TOML file): of one of images, distill, forget or graph, its "
            "settings and what it names."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Also check a text for this model or tokenizer, or a second text against this one (test against "
            "train): how much of it stands there; or the shards that the tokenizer packed."
        ),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", help="model, text, tokenizer, shards or recipe, where the name leaves it open."),
    ] = None,
    set_: Changes = None,
    base: Base = None,
    silent_errors: Annotated[
        bool,
        typer.Option("--silent-errors", help="List all forty by number: what looks for each, or which test holds it."),
    ] = False,
    json_: Json = False,
) -> None:
    """Look for silent errors in a model, a text or a recipe. Also in a tokenizer or packed shards; the exit code is 1
    where one is found."""
    import time

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError

    if (what is None) != silent_errors:
        raise ConfigError("give a model, a text, a tokenizer, shards or a recipe to look at, or --silent-errors alone")
    if what is None:
        _all_errors(json_)
        return
    from lmworks.checks.run import check_anything

    started = time.monotonic()
    with progress.shown():
        kind, results = check_anything(what, as_, data=data, base=base, changes=set_ or [])
    seconds, failed = time.monotonic() - started, [one for one in results if one.status == "FAILED"]
    if json_:
        as_json(
            {
                "what": what,
                "kind": kind,
                "data": data,
                "checks": [one.to_json() for one in results],
                "failed": len(failed),
                "seconds": round(seconds, 1),
            }
        )
    else:
        _show(f"{kind} {what}", results, seconds)
    if failed:
        raise typer.Exit(1)


def _show(what: str, results: Sequence[CheckResult], seconds: float) -> None:
    table(["check", "", "compared", "largest difference", "note"], [_row(one) for one in results])
    counts = {status: sum(one.status == status for one in results) for status in ("ok", "FAILED", "not applicable")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    typer.echo(f"\n{what}: {told} ({seconds:.0f} s)")


def _all_errors(json_: bool) -> None:
    from dataclasses import asdict

    from lmworks.checks.silent_errors import silent_errors

    found = silent_errors()
    if json_:
        as_json([asdict(one) for one in found])
        return
    for one in found:
        held = f"looked for in a {' / '.join(one.of)}: {'; '.join(one.checks)}"
        typer.echo(f"{one.number:>2}  {held if one.checks else f'held by a test: {one.what} ({one.test})'}")
    looked = sum(bool(one.checks) for one in found)
    typer.echo(f"\n{len(found)} silent errors: {looked} are looked for, {len(found) - looked} held by tests of lmworks")


def _row(one: CheckResult) -> list[str]:
    numbered = f"{one.name} ({', '.join(map(str, one.pitfalls))})" if one.pitfalls else one.name
    worst = one.worst()
    # What is equal to the bit is worth a word only where nothing else was measured.
    told = [difference for difference in worst if difference.tolerance or difference.value] or worst[:1]
    return [numbered, one.status, one.compared, "\n".join(map(str, told)), one.detail]

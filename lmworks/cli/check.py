"""lmworks check: the silent errors that a model, its template or a text can have, looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Base, Json, Model, as_json, table

if TYPE_CHECKING:
    from lmworks.checks.result import CheckResult


def check(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(help="Also check a text: a file or folder, python-reference, or a name of the data registry."),
    ] = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Look for silent errors in a model, its tokenizer and template, and in a text; exit code 1 where one is found."""
    import time

    from lmworks.basics import progress
    from lmworks.checks.run import check_data, check_model
    from lmworks.loading import load
    from lmworks.text.sources import read

    started = time.monotonic()
    with progress.shown():
        reading = read(data) if data is not None else None
        language_model = load(model, base=base)
        results = check_model(language_model)
        if reading is not None:
            results += check_data(language_model, reading)
    seconds, failed = time.monotonic() - started, [one for one in results if one.status == "FAILED"]
    if json_:
        as_json(
            {
                "model": model,
                "data": data,
                "checks": [one.to_json() for one in results],
                "failed": len(failed),
                "seconds": round(seconds, 1),
            }
        )
    else:
        table(["check", "", "compared", "largest difference", "note"], [_row(one) for one in results])
        counts = {status: sum(one.status == status for one in results) for status in ("ok", "FAILED", "not applicable")}
        typer.echo("\n" + ", ".join(f"{count} {status}" for status, count in counts.items()) + f" ({seconds:.0f} s)")
    if failed:
        raise typer.Exit(1)


def _row(one: CheckResult) -> list[str]:
    numbered = f"{one.name} ({', '.join(map(str, one.pitfalls))})" if one.pitfalls else one.name
    worst = one.worst()
    # What is equal to the bit is worth a word only where nothing else was measured.
    told = [difference for difference in worst if difference.tolerance or difference.value] or worst[:1]
    return [numbered, one.status, one.compared, "\n".join(map(str, told)), one.detail]

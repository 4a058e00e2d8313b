"""lmworks models: the references that are known by name, and whether they are here."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.options import Json, as_json, table


def models(
    action: Annotated[str | None, typer.Argument(help="fetch: download a model now and print where it is.")] = None,
    name: Annotated[str, typer.Argument(help="The model to fetch.")] = "smollm2",
    json_: Json = False,
) -> None:
    """List the models that are known by name; `models fetch NAME` downloads one."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.models.references import known, resolve

    if action == "fetch":
        with progress.shown():
            path = resolve(name, verify=True)
        as_json({"name": name, "path": str(path)}) if json_ else typer.echo(path)
        return
    if action is not None:
        raise ConfigError(f"models does not know {action!r}; write lmworks models, or lmworks models fetch NAME")
    rows = [
        {
            "name": one.name,
            "what": one.what,
            "bytes": one.bytes,
            "licence": one.licence,
            "cached": one.cached,
            "path": str(one.path) if one.cached else None,
        }
        for one in known()
    ]
    if json_:
        as_json(rows)
        return
    table(
        ["name", "what", "size", "licence", "here"],
        [
            [one.name, one.what, f"{one.bytes / 1e6:.0f} MB", one.licence, str(one.path) if one.cached else "not yet"]
            for one in known()
        ],
    )
    typer.echo("\nA model is also a directory, a .gguf file or hf:org/name.")

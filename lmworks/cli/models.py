"""lmworks models: the references that are known by name, whether they are here, and what will run a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.amounts import counted
from lmworks.cli.options import Json, as_json, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.models.files.references import Known

MOST_CLASSES = 10
"""That are named."""


@verb("Use it", place=4)
def models(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model, to say what it is and what will run it; or fetch, to download one and print its place."
        ),
    ] = None,
    name: Annotated[str | None, typer.Argument(help="The model to fetch; smollm2 unless given.")] = None,
    forget: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Remove what lmworks keeps of a model: what it fetched and what it packed."),
    ] = None,
    json_: Json = False,
) -> None:
    """List the models that are known by name, or fetch one. `models MODEL` says how one will run, `models fetch NAME`
    downloads one, `models --forget NAME` removes what was downloaded and packed."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.models.files.references import known, resolve

    if forget is not None:
        if model is not None:
            raise ConfigError(f"--forget names the model to forget; leave out {model!r}")
        _forget(forget, json_)
        return
    if model == "fetch":
        with progress.shown():
            path = resolve(name or "smollm2", verify=True)
        as_json({"name": name or "smollm2", "path": str(path)}) if json_ else typer.echo(path)
        return
    if name is not None:
        raise ConfigError(f"models looks at one model; leave out {name!r}, or write lmworks models fetch {name}")
    if model is not None:
        _one(model, json_)
        return
    rows = [_known(one) for one in known()]
    if json_:
        as_json(rows)
        return
    table(
        ["name", "what", "size", "licence", "here"],
        [
            [one["name"], one["what"], f"{one['bytes'] / 1e6:.0f} MB", one["licence"], one["path"] or "not yet"]
            for one in rows
        ],
    )
    here = [[one["name"], one["runs"]] for one in rows if one["cached"]]
    if here:
        typer.echo("")
        table(["name", "what runs it"], here)
    typer.echo(
        "\nA model is also a directory, a .gguf file or hf:org/name; lmworks models MODEL says what will run it."
    )


def _forget(reference: str, json_: bool) -> None:
    from lmworks.loading import forget

    removed = forget(reference)
    if json_:
        as_json({"model": reference, "removed": [{"file": str(file), "bytes": size} for file, size in removed]})
        return
    for file, size in removed:
        typer.echo(f"removed {file} ({size / 1e6:,.1f} MB)")
    if not removed:
        typer.echo(f"nothing is kept of {reference}")


def _known(one: Known) -> dict[str, Any]:
    """What `models` tells of it; a file that cannot be read says why."""
    from lmworks.basics.errors import LmworksError
    from lmworks.loading import facts_of

    try:
        runs = facts_of(one.path).way.how if one.cached else None
    except LmworksError as error:
        runs = str(error)
    return {
        "name": one.name,
        "what": one.what,
        "bytes": one.bytes,
        "licence": one.licence,
        "cached": one.cached,
        "path": str(one.path) if one.cached else None,
        "runs": runs,
    }


def _one(model: str, json_: bool) -> None:
    from lmworks.basics import progress
    from lmworks.basics.errors import ModelError
    from lmworks.grounding.beside import index_beside
    from lmworks.loading import facts_of
    from lmworks.models.files.references import known, resolve

    if any(one.name == model and not one.cached for one in known()):
        raise ModelError(f"{model} is not here yet; fetch it with: lmworks models fetch {model}")
    with progress.shown():
        facts = facts_of(model)
    index, remark = index_beside(resolve(model))
    passages = None if index is None else len(index)
    if json_:
        told: dict[str, Any] = {"family": facts.family, "parameters": facts.parameters, "context": facts.context}
        told |= {"classes": list(facts.classes), "passages": passages, "remark": remark}
        as_json({"model": model, **told, "compiled": facts.way.compiled, "runs": facts.way.how})
        _exit_if(facts.way.refused)
        return
    row = [model, facts.family, f"{facts.parameters:,}", f"{facts.context:,}", facts.way.how]
    table(["model", "family", "parameters", "context", "runs"], [row])
    if facts.classes:
        more = f", ... {len(facts.classes):,} classes in all" if len(facts.classes) > MOST_CLASSES else ""
        typer.echo(f"classifies as {', '.join(facts.classes[:MOST_CLASSES])}{more} (lmworks classify)")
    if index is not None:
        typer.echo(f"answers from {index.place} ({counted(passages or 0, 'passage')} of {index.reference})")
    if remark:
        typer.echo(f"but {remark}")
    _exit_if(facts.way.refused)


def _exit_if(refused: bool) -> None:
    """Exit with code 1 for a model that cannot be loaded; why has been printed by then."""
    if refused:
        raise typer.Exit(1)

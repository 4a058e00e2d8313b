"""lmworks classify: what images show, or texts are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.options import Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.encoding.classifying import Told
    from lmworks.language_model import LanguageModel

SHOWN = 3
"""Classes of each that are shown."""


@verb("Use it", place=41)
def classify(
    model: Annotated[str, typer.Argument(help="A CLIP, a classifier of images, or one of texts.")],
    what: Annotated[list[str], typer.Argument(metavar="WHAT...", help="Files of images, or texts.")],
    label: Annotated[
        list[str] | None, typer.Option(help="A class for a CLIP to choose from, in words; give it several times.")
    ] = None,
    json_: Json = False,
) -> None:
    """Tell the class of images or texts, and how sure the model is."""
    from lmworks.basics import progress
    from lmworks.basics.errors import DataError
    from lmworks.cli.options import as_json, table
    from lmworks.loading import load, reads_images_ahead

    with progress.shown():
        if reads_images_ahead(model):
            _must_hold_an_image(what)
        told = _told(load(model), what, label)
    if json_:
        as_json([_facts(one, found) for one, found in told])
    elif told:
        rows = [[_short(one), *_likeliest(found)] for one, found in told]
        width = max(map(len, rows))
        table(["", "class", *[""] * (width - 2)], [row + [""] * (width - len(row)) for row in rows])
    if len(told) < len(what):
        raise DataError(_unread(len(what) - len(told), what))


def _must_hold_an_image(what: list[str]) -> None:
    """DataError, before the model is read, where none of the files can be; the first that can is enough."""
    from lmworks.basics.errors import DataError
    from lmworks.encoding.seeing import opened

    refused: list[DataError] = []
    for one in what:
        try:
            opened(one)
        except DataError as error:
            refused.append(error)
        else:
            return
    if len(refused) == 1:
        raise refused[0]
    for one, why in zip(what, refused, strict=True):
        _tell(one, why)
    raise DataError(_unread(len(refused), what))


def _told(model: LanguageModel, what: list[str], labels: list[str] | None) -> list[tuple[str, Told]]:
    """Each with what it is taken for. Where some cannot be read, these are named, and the others are classified one by
    one; DataError for a single one."""
    from lmworks.basics import progress
    from lmworks.basics.errors import DataError

    try:
        return list(zip(what, model.classify(what, labels), strict=True))
    except DataError:
        if len(what) == 1:
            raise
    told: list[tuple[str, Told]] = []
    for one in what:
        try:
            with progress.hidden():
                told += zip([one], model.classify([one], labels), strict=True)
        except DataError as error:
            _tell(one, error)
    return told


def _tell(one: str, error: Exception) -> None:
    said = str(error)
    typer.echo(f"lmworks: {said if one in said else f'{one}: {said}'}", err=True)


def _unread(count: int, what: list[str]) -> str:
    return f"{count} of {len(what)} could not be read, as said above"


def _facts(one: str, told: Told) -> dict[str, Any]:
    return {"of": one, "label": told.label, "probabilities": told.probabilities}


def _likeliest(told: Told) -> list[str]:
    return [f"{label} {share:.1%}" for label, share in list(told.probabilities.items())[:SHOWN]]


def _short(one: str) -> str:
    name = Path(one).name if Path(one).suffix else one
    return name if len(name) <= 40 else f"{name[:39]}…"

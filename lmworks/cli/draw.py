"""lmworks draw: an image of what a caption says, or a sheet of several."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST, MOST_ZOOM = 1024, 32
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
"""What an image is written as, by the suffix of its file."""


@verb("Use it", place=42)
def draw(
    model: Annotated[str, typer.Argument(help="A model that draws: what lmworks train emoji-fusion made.")],
    prompt: Annotated[str, typer.Argument(help="What the image shows, in the words of its captions: a red apple.")],
    out: Annotated[str, typer.Option(help="The file that the image goes into, .png or .jpg.")] = "drawing.png",
    n: Annotated[int, typer.Option("--n", help="How many to draw, on one sheet, with consecutive seeds.")] = 1,
    seed: Annotated[
        int | None, typer.Option(help="The same seed draws the same image; a new one unless given.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How closely the image follows the caption: 1 is the model by itself, 3 is usual."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 likelier codes, above 1 bolder ones.")] = None,
    zoom: Annotated[
        int, typer.Option(help="How many times larger to save it: pixels a side for each pixel drawn.")
    ] = 1,
    json_: Json = False,
) -> None:
    """Draw what a caption says."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.basics.extras import require
    from lmworks.basics.files import written_whole
    from lmworks.cli.options import as_json

    path = Path(out)
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"--out {out} names no kind of image; end it with one of {', '.join(KINDS)}")
    for name, value, most in (("n", n, MOST), ("zoom", zoom, MOST_ZOOM)):
        if not 1 <= value <= most:
            raise ConfigError(f"--{name} is {value}; give a number from 1 to {most:,}")
    if seed is not None and not 0 <= seed < 2**63 - n:
        raise ConfigError(f"--seed is {seed}; give a whole number from 0 to 2^63")
    pillow = require("PIL.Image", "vision")

    from lmworks.drawing_model import GUIDANCE, USUAL, DrawingModel, no_drawing
    from lmworks.loading import load

    with progress.shown():
        drawer = load(model)
        if not isinstance(drawer, DrawingModel):
            raise no_drawing(drawer)
        first = USUAL.new_seed() % 2**31 if seed is None else seed
        strategy = USUAL if temperature is None else USUAL.but(temperature=temperature)
        followed = GUIDANCE if guidance is None else guidance
        seeds = list(range(first, first + n))
        pictures = drawer.drawings([prompt] * n, seeds, guidance=followed, strategy=strategy)
    sheet = pictures[0] if n == 1 else arranged(pictures)
    sheet = sheet.resize((sheet.width * zoom, sheet.height * zoom), pillow.Resampling.NEAREST)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        sheet.save(file, format=KINDS[path.suffix.lower()])
    if json_:
        as_json({"file": str(path), "seed": first, "n": n, "guidance": followed, "size": [sheet.width, sheet.height]})
    else:
        typer.echo(f"drew    {path} ({sheet.width} x {sheet.height} pixels, seed {first})")


def arranged(pictures: list[Picture], gap: int = 2) -> Picture:
    """Several images on one white sheet, as near to a square as may be, row by row."""
    from lmworks.basics.extras import require

    columns, side = math.ceil(math.sqrt(len(pictures))), pictures[0].width + gap
    rows = -(-len(pictures) // columns)
    sheet = require("PIL.Image", "vision").new("RGB", (columns * side + gap, rows * side + gap), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture, (column * side + gap, row * side + gap))
    return sheet

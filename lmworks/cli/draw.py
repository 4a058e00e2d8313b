"""lmworks draw: an image of what a caption says, or a sheet of several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.option_groups import Options
from lmworks.cli.options import Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST, MOST_ZOOM, MOST_PIXELS = 1024, 32, 64_000_000
GAP = 2
"""Pixels between the images of a sheet."""
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
"""What an image is written as, by the suffix of its file."""


@dataclass(frozen=True, kw_only=True)
class Candidates(Options):
    """How many candidates are drawn for each image, and which model picks one."""

    best_of: Annotated[
        int,
        typer.Option(help="Draw this many candidates for each image; --judge picks the one closest to the words."),
    ] = 1
    judge: Annotated[str | None, typer.Option(help="The CLIP that picks: what lmworks train emoji-clip made.")] = None


@verb("Use it", place=42)
def draw(
    model: Annotated[str, typer.Argument(help="A model that draws: what lmworks train emoji-fusion made.")],
    prompt: Annotated[str, typer.Argument(help="What the image shows, in the words of its captions: a red apple.")],
    candidates: Candidates,
    out: Annotated[
        str | None,
        typer.Option(
            help="The file that the image goes into, .png or .jpg; drawing.png unless given, drawing-2.png where that "
            "is there."
        ),
    ] = None,
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
    from lmworks.basics.files import must_be_a_writable_file, written_whole
    from lmworks.cli.options import as_json

    path = _free("drawing.png") if out is None else Path(out)
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"--out {out} names no kind of image; end it with one of {', '.join(KINDS)}")
    must_be_a_writable_file(path)
    for name, value, most in (("n", n, MOST), ("zoom", zoom, MOST_ZOOM)):
        if not 1 <= value <= most:
            raise ConfigError(f"--{name} is {value}; give a number from 1 to {most:,}")
    if seed is not None and not 0 <= seed < 2**63 - n:
        raise ConfigError(f"--seed is {seed}; give a whole number from 0 to 2^63")
    pillow = require("PIL.Image", "vision")

    from lmworks.drawing_model import GUIDANCE, USUAL, DrawingModel, must_be_drawable, no_drawing
    from lmworks.loading import load
    from lmworks.models.files.references import must_be_somewhere

    strategy = USUAL if temperature is None else USUAL.but(temperature=temperature)
    followed = GUIDANCE if guidance is None else guidance
    must_be_drawable(followed, candidates.best_of, judged=candidates.judge is not None)
    if candidates.judge is not None:
        must_be_somewhere(candidates.judge)
    with progress.shown():
        drawer = load(model)
        if not isinstance(drawer, DrawingModel):
            raise no_drawing(drawer)
        _check_sheet(n, zoom, drawer.images.config_of_images.image_size)
        first = USUAL.new_seed() % 2**31 if seed is None else seed
        judge = None if candidates.judge is None else load(candidates.judge)
        seeds = list(range(first, first + n))
        how: dict[str, Any] = {"guidance": followed, "strategy": strategy, "best_of": candidates.best_of}
        pictures = drawer.drawings([prompt] * n, seeds, judge=judge, **how)
        cut = judge is not None and bool(judge.too_long([prompt]))
    sheet = pictures[0] if n == 1 else arranged(pictures)
    sheet = sheet.resize((sheet.width * zoom, sheet.height * zoom), pillow.Resampling.NEAREST)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        sheet.save(file, format=KINDS[path.suffix.lower()])
    if json_:
        facts = {"file": str(path), "seed": first, "n": n, "best_of": candidates.best_of, "guidance": followed}
        judged = {} if judge is None else {"judge_cut": cut}
        as_json({**facts, **judged, "size": [sheet.width, sheet.height]})
    else:
        best = f", the best of {candidates.best_of:,}" if candidates.best_of > 1 else ""
        typer.echo(f"drew    {path} ({sheet.width} x {sheet.height} pixels, seed {first}{best})")
        if cut:
            typer.echo(f"but     {candidates.judge} reads no caption of this length whole; it judged by the beginning")


def _free(name: str) -> Path:
    """A file of this name, or with the first number from 2 on that none has: nobody asked for a drawing to go."""
    path, number = Path(name), 2
    while path.exists():
        path, number = Path(name).with_stem(f"{Path(name).stem}-{number}"), number + 1
    return path


def _check_sheet(n: int, zoom: int, side: int) -> None:
    """ConfigError, before anything is drawn, for a sheet so large that it could not be opened again."""
    from lmworks.basics.errors import ConfigError

    columns, rows = _grid(n)
    width, height = (zoom * (count * (side + GAP) + GAP) for count in (columns, rows))
    if n > 1 and width * height > MOST_PIXELS:
        raise ConfigError(
            f"a sheet of {n:,} drawings with --zoom {zoom} has {width:,} x {height:,} pixels, and the most is "
            f"{MOST_PIXELS // 10**6} million; give a smaller --zoom, or fewer"
        )


def _grid(count: int) -> tuple[int, int]:
    """Columns and rows of as many images, as near to a square as may be."""
    columns = math.ceil(math.sqrt(count))
    return columns, -(-count // columns)


def arranged(pictures: list[Picture]) -> Picture:
    """Several images on one white sheet, as near to a square as may be, row by row."""
    from lmworks.basics.extras import require

    (columns, rows), side = _grid(len(pictures)), pictures[0].width + GAP
    sheet = require("PIL.Image", "vision").new("RGB", (columns * side + GAP, rows * side + GAP), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture, (column * side + GAP, row * side + GAP))
    return sheet

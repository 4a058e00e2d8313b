"""lmworks compress: a model in 4 or 8 bits, and what that costs, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.amounts import size
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Base, Json, Model, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.compress import Compressed

VERDICTS = {
    "better": "better",
    "tie": "a tie: no loss seen",
    "worse": "some quality lost",
    "open": "open: too little text for an interval",
}


@verb("Use it", place=5)
@reads_text
def compress(
    model: Model,
    bits: Annotated[int | None, typer.Option(help="Bits of each weight of the blocks: 4 or 8; 4 unless given.")] = None,
    embedding_bits: Annotated[
        int | None,
        typer.Option(help="Bits of embedding and head, 16 unless given; with fewer, transformers does not load it."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Where the directory goes; models/NAME-4bit unless given.")] = None,
    text: Annotated[
        str, typer.Option(help="What quality is measured on: a file or folder, or a name of the data registry.")
    ] = "wikitext2",
    tokens: Annotated[int | None, typer.Option(min=1, help="About this many tokens of it; 8,192 unless given.")] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(help="Of an encoder: vectors of this many dimensions, fitted on the text."),
    ] = None,
    whiten: Annotated[
        bool, typer.Option("--whiten", help="Of fewer dimensions: each counts alike (variance 1).")
    ] = False,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Write a model in 4 or 8 bits, or an encoder whose vectors have fewer dimensions, and measure what that costs.
    lmworks and transformers load the result of fewer bits."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError

    if dimensions is not None:
        named = {"--bits": bits, "--embedding-bits": embedding_bits, "--tokens": tokens, "--base": base}
        if given := [name for name, value in named.items() if value is not None]:
            raise ConfigError(f"{' and '.join(given)}: fewer dimensions leave all weights as they are; leave it out")
        _reduce(model, dimensions, text, out, whiten, json_)
        return
    if whiten:
        raise ConfigError("--whiten is about the dimensions of vectors; give --dimensions, too")
    from lmworks.jobs.compress import compress as run

    with progress.shown():
        amounts = {name: value for name, value in (("bits", bits), ("tokens", tokens)) if value is not None}
        made = run(model, out, embedding_bits=embedding_bits, text=text, base=base, **amounts)
    if json_:
        as_json(
            {
                "folder": str(made.folder),
                "bytes_before": made.bytes_before,
                "bytes_after": made.bytes_after,
                "measurements": [one.to_json() for one in made.measurements],
                "verdict": made.verdict,
                "merged": made.merged,
            }
        )
    else:
        _show(made)


def _show(made: Compressed) -> None:
    before, after = made.bytes_before, made.bytes_after
    rows = [["weights", size(before), size(after), f"{100 * (after / before - 1):+.0f} %", ""]]
    if made.before and made.after and made.change and made.verdict:
        change = str(made.change).removesuffix(", tie")
        rows.insert(0, [made.text, made.before.figure, made.after.figure, change, VERDICTS[made.verdict]])
    table(["", "before", "after", "change", ""], rows)
    if made.drift:
        typer.echo(f"drift from the model  {made.drift}")
    if made.bytes_after >= made.bytes_before:
        typer.echo("not smaller: the model was stored in few bits already")
    if made.merged:
        typer.echo("merged  the adapter into the weights")
    typer.echo(f"saved   {made.folder} (compressed-tensors, pack-quantized; figures in lmworks.json)")
    there = for_shell(made.folder)
    typer.echo(f"next    lmworks chat {there}     lmworks check {there}")


def _reduce(model: str, dimensions: int, text: str, out: str | None, whiten: bool, json_: bool) -> None:
    """Fewer dimensions of an encoder's vectors."""
    from lmworks.basics import progress
    from lmworks.jobs.reduce import reduce

    with progress.shown():
        made = reduce(model, dimensions, text, out, whiten=whiten)
    if json_:
        figures = [made.kept.to_json(), made.neighbours.to_json()]
        as_json({"folder": str(made.folder), "fitted_on": made.fitted_on, "measurements": figures})
        return
    typer.echo(f"variance kept              {made.kept}")
    typer.echo(f"{made.neighbours.name:<26} {made.neighbours}")
    typer.echo(f"saved   {made.folder} (fitted on {made.fitted_on:,} chunks of {made.text}; figures in lmworks.json)")
    typer.echo(f"next    lmworks index FOLDER --embedder {for_shell(made.folder)}")

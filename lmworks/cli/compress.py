"""lmworks compress: a model in 4 or 8 bits, and what that costs, measured."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.options import Base, Json, Model, as_json, reads_text, table
from lmworks.cli.verb import verb

VERDICTS = {"better": "better", "tie": "a tie: no loss seen", "worse": "some quality lost"}


@verb("Use it", place=5)
@reads_text
def compress(
    model: Model,
    bits: Annotated[int, typer.Option(help="Bits of each weight of the blocks: 4 or 8.")] = 4,
    embedding_bits: Annotated[
        int | None,
        typer.Option(help="Bits of embedding and head, 16 unless given; with fewer, transformers does not load it."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Where the directory goes; models/NAME-4bit unless given.")] = None,
    text: Annotated[
        str, typer.Option(help="What quality is measured on: a file or folder, or a name of the data registry.")
    ] = "wikitext2",
    tokens: Annotated[int, typer.Option(help="About this many tokens of it.")] = 8_192,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Write a model in 4 or 8 bits, and measure what that costs. lmworks and transformers load the result."""
    from lmworks.basics import progress
    from lmworks.jobs.compress import compress as run

    with progress.shown():
        made = run(model, out, bits=bits, embedding_bits=embedding_bits, text=text, tokens=tokens, base=base)
    if json_:
        as_json(
            {
                "folder": str(made.folder),
                "bytes_before": made.bytes_before,
                "bytes_after": made.bytes_after,
                "measurements": [one.to_json() for one in (made.before, made.after, made.change)],
                "verdict": made.verdict,
                "merged": made.merged,
            }
        )
        return
    change = str(made.change).removesuffix(", tie")
    before, after = made.bytes_before / 1e6, made.bytes_after / 1e6
    table(
        ["", "before", "after", "change", ""],
        [
            [made.text, made.before.figure, made.after.figure, change, VERDICTS[made.verdict]],
            ["weights", f"{before:.1f} MB", f"{after:.1f} MB", f"{100 * (after / before - 1):+.0f} %", ""],
        ],
    )
    if made.bytes_after >= made.bytes_before:
        typer.echo("not smaller: the model was stored in few bits already")
    if made.merged:
        typer.echo("merged  the adapter into the weights")
    typer.echo(f"saved   {made.folder} (compressed-tensors, pack-quantized; figures in lmworks.json)")
    typer.echo(f"next    lmworks chat {made.folder}     lmworks check {made.folder}")

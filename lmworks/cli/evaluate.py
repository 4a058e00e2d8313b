"""lmworks evaluate: how well a model predicts a text, in bits per byte."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.options import Base, Json, Model, as_json, table


def evaluate(
    model: Model,
    text: Annotated[
        str, typer.Argument(help="A file or folder, python-reference, or a name of the data registry (wikitext2).")
    ],
    window: Annotated[
        int | None, typer.Option(help="Tokens that the model reads at once; its whole context unless given.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="At most about this many tokens of the text.")] = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Bits per byte of a text under a model, with a 95 % interval."""
    import sys
    import time

    from lmworks.basics import progress
    from lmworks.evaluation.likelihood import measure
    from lmworks.loading import load
    from lmworks.text.sources import read

    reading = read(text)
    for skipped in reading.skipped[:5]:
        print(f"skipped   {skipped.path}: {skipped.reason}", file=sys.stderr)
    with progress.shown():
        language_model = load(model, base=base)
        started = time.monotonic()
        likelihood = measure(language_model, reading.documents, reading.name, window=window, tokens=tokens)
    seconds = time.monotonic() - started
    figure = likelihood.bits_per_byte(reading.name)
    if json_:
        as_json(
            {
                "model": model,
                "measurements": [figure.to_json()],
                "documents": len(reading.documents),
                "tokens": likelihood.tokens,
                "bytes": int(likelihood.bytes.sum()),
                "seconds": round(seconds, 2),
            }
        )
        return
    table(
        ["text", "bits per byte", "tokens", "bytes", "tokens/s"],
        [
            [
                reading.name,
                str(figure),
                f"{likelihood.tokens:,}",
                f"{int(likelihood.bytes.sum()):,}",
                f"{likelihood.tokens / seconds:,.0f}",
            ]
        ],
    )

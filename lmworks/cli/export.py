"""lmworks export: a model as one file for llama.cpp, or with torchvision's names."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.basics.amounts import size
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Base, Json, Model, as_json
from lmworks.cli.verb import verb


@verb("Use it", place=6)
def export(
    model: Model,
    to: Annotated[
        str, typer.Option(help="The format: gguf, which llama.cpp loads; torchvision, of a ResNet or ViT.")
    ] = "gguf",
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="How a GGUF file stores matrices: f16 (unless given), bf16, q8_0 (8 bits), q6_k, q5_k_m, q4_k_m or "
            "q4_0.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="The file, models/NAME-TYPE.gguf unless given; of torchvision's the folder."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Text that K-quants are rounded for; what the file costs is measured on it.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the text that are read for each; 20,000 unless given.")
    ] = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Write a model as one file for llama.cpp (GGUF). It has the tokenizer and chat template; adapters are merged.

    A ResNet or ViT can be written with torchvision's names.
    """
    from lmworks.basics import progress
    from lmworks.jobs.export import export as run

    with progress.shown():
        made = run(model, out, to=to, kind=type_, text=text, tokens=tokens, base=base)
    if json_:
        as_json(
            {
                "file": str(made.file),
                "bytes": made.bytes,
                "type": made.kind,
                "merged": made.merged,
                "unquantised": list(made.unquantised),
                "index": made.index,
                "opened": made.opened,
                "measurements": [one.to_json() for one in (made.before, made.after, made.change) if one is not None],
            }
        )
        return
    if made.merged:
        typer.echo("merged  the adapter into the weights")
    if made.unquantised:
        typer.echo(
            f"f16     {len(made.unquantised)} matrices whose rows are not multiples of 32 ({made.unquantised[0]})"
        )
    if made.index:
        typer.echo(f"stays   the index in {made.index}, for which such a file has no place; --index names it to chat")
    if made.before is not None and made.after is not None and made.change is not None:
        costs = f"costs   {made.before.figure} -> {made.after.figure} on held-out text"
        if made.change.interval is None:
            few = (
                f"{costs} (n {made.change.n}): too few to tell; give --text several documents, or one of 20 KB and more"
            )
            typer.echo(few + (", and more --tokens" if tokens is not None else ""))
        else:
            typer.echo(f"{costs}: {made.change}")
    typer.echo(f"saved   {made.file} ({size(made.bytes)}, {made.kind})")
    if made.opened is not None:
        typer.echo(f"next    {made.opened}.load_state_dict(safetensors.torch.load_file({str(made.file)!r}))")
        return
    there = for_shell(made.file)
    typer.echo(f"next    lmworks chat {there}     llama-cli -m {there}")

"""Options that several verbs share, and how they print facts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lmworks.generation.strategies import Strategy

Json = Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")]
Model = Annotated[str, typer.Argument(help="An alias (smollm2), a directory, a .gguf file or hf:org/name.")]
Base = Annotated[str | None, typer.Option(help="The base model of an adapter, where the one it names is not here.")]
Compress = Annotated[
    str | None,
    typer.Option(
        help="What runs the network on a CPU: int4 or int8, its weights in at most so many bits, compiled; none, as it is, in "
        "PyTorch. Unless given, what the file holds."
    ),
]
Temperature = Annotated[
    float | None, typer.Option(help="Divides the logits: below 1 sharper, above 1 flatter; 0 is greedy.")
]
TopK = Annotated[int | None, typer.Option(help="Keep the k most probable tokens.")]
TopP = Annotated[float | None, typer.Option(help="Keep the fewest tokens that reach this probability together.")]
MinP = Annotated[float | None, typer.Option(help="Keep tokens this many times as probable as the best.")]
MaxNewTokens = Annotated[int, typer.Option(help="The longest answer, in tokens.")]
Beams = Annotated[int | None, typer.Option(help="Write this many answers side by side and give the best as a whole.")]
LengthPenalty = Annotated[
    float | None, typer.Option(help="Beams: compare log-probabilities / length ** this; above 1 for longer answers.")
]
NoRepeatNgram = Annotated[int | None, typer.Option(help="No run of this many tokens comes twice.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same text.")]
Stop = Annotated[list[str] | None, typer.Option(help="End the answer before this text; may be repeated.")]


def strategy(
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    seed: int | None,
    *,
    beams: int | None = None,
    length_penalty: float | None = None,
    no_repeat_ngram: int | None = None,
) -> Strategy | None:
    """What the options say; None where they say nothing. ConfigError for values that make no sense."""
    from lmworks.basics.errors import ConfigError
    from lmworks.generation.strategies import Beam, Greedy, Sample

    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed}
    drawn: dict[str, Any] = {name: value for name, value in drawing.items() if value is not None}
    if beams is not None:
        if drawn:
            raise ConfigError(f"--beams draws nothing; leave out --{next(iter(drawn)).replace('_', '-')}, or --beams")
        penalty = 1.0 if length_penalty is None else length_penalty
        return Beam(width=beams, length_penalty=penalty, no_repeat_ngram=no_repeat_ngram)
    if length_penalty is not None:
        raise ConfigError("--length-penalty compares beams; give --beams too")
    if drawn:
        return Sample(**drawn, no_repeat_ngram=no_repeat_ngram)
    return None if no_repeat_ngram is None else Greedy(no_repeat_ngram=no_repeat_ngram)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings, columns aligned; wide on a pipe, so that nothing is cut."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200
    console.print(grid)


def as_json(facts: Any) -> None:
    """Print facts as JSON."""
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))

"""lmworks generate: continue a text, or answer it as a chat message."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.options import (
    Base,
    Json,
    MaxNewTokens,
    MinP,
    Model,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    as_json,
    strategy,
)


def generate(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    model: Model,
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    chat: Annotated[bool, typer.Option("--chat", help="Treat the prompt as a message and answer it.")] = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    max_new_tokens: MaxNewTokens = 256,
    seed: Seed = None,
    stop: Stop = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Continue a text with a model; with --chat, answer it."""
    import sys

    chosen = strategy(temperature, top_k, top_p, min_p, seed)
    from lmworks.basics import progress
    from lmworks.loading import load

    with progress.shown():
        language_model = load(model, base=base)
    text = sys.stdin.read() if prompt == "-" else prompt
    asked = [{"role": "user", "content": text}] if chat else text
    if json_:
        answer = language_model.generate(asked, chosen, max_new_tokens=max_new_tokens, stop=stop or ())
        as_json(
            {
                "text": answer.text,
                "finish": answer.finish,
                "tokens": answer.tokens,
                "logprobs": answer.logprobs,
                "prompt_tokens": len(answer.prompt),
                "seed": answer.seed,
                "order": list(chosen.order),
            }
        )
        return
    for piece in language_model.stream(asked, chosen, max_new_tokens=max_new_tokens, stop=stop or ()):
        typer.echo(piece, nl=False)
    typer.echo("")

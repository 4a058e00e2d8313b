"""lmworks generate: continue a text, answer it as a chat message, or translate it with an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.options import (
    Base,
    Beams,
    Compress,
    Json,
    LengthPenalty,
    MaxNewTokens,
    MinP,
    Model,
    NoRepeatNgram,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    as_json,
    strategy,
)

if TYPE_CHECKING:
    from lmworks.generation.answer import Answer
    from lmworks.generation.language_model import LanguageModel
    from lmworks.generation.strategies import Strategy

AT_ONCE = 16
"""Lines that are written together."""


def generate(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    model: Model,
    prompt: Annotated[
        str, typer.Argument(help="The text to continue, or the source to translate; - reads it from standard input.")
    ],
    chat: Annotated[bool, typer.Option("--chat", help="Treat the prompt as a message and answer it.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Each line is a prompt; print one line for each.")] = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    beams: Beams = None,
    length_penalty: LengthPenalty = None,
    no_repeat_ngram: NoRepeatNgram = None,
    max_new_tokens: MaxNewTokens = 256,
    seed: Seed = None,
    stop: Stop = None,
    compress: Compress = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Continue a text with a model; with --chat, answer it. An encoder-decoder makes a target of it (a translation)."""
    import sys

    said = {"beams": beams, "length_penalty": length_penalty, "no_repeat_ngram": no_repeat_ngram}
    chosen = strategy(temperature, top_k, top_p, min_p, seed, **said)  # type: ignore[arg-type]
    from lmworks.basics import progress
    from lmworks.loading import load

    with progress.shown():
        language_model = load(model, base=base, compress=compress)
    text = sys.stdin.read() if prompt == "-" else prompt
    if lines:
        _lines(language_model, text.removesuffix("\n").split("\n"), chat, chosen, max_new_tokens, stop or (), json_)
        return
    asked = _asked(text, chat)
    if json_:
        answer = language_model.generate(asked, chosen, max_new_tokens=max_new_tokens, stop=stop or ())
        as_json(_facts(language_model, answer, chosen))
        return
    for piece in language_model.stream(asked, chosen, max_new_tokens=max_new_tokens, stop=stop or ()):
        typer.echo(piece, nl=False)
    typer.echo("")


def _lines(
    model: LanguageModel,
    texts: Sequence[str],
    chat: bool,
    chosen: Strategy | None,
    longest: int,
    stop: Sequence[str],
    json_: bool,
) -> None:
    """An answer on one line for each text; an empty line stays one, so that line and answer have the same number."""
    import json

    for start in range(0, len(texts), AT_ONCE):
        part = texts[start : start + AT_ONCE]
        asked = [_asked(text, chat) for text in part if text.strip()]
        answers = iter(model.generate_batch(asked, chosen, max_new_tokens=longest, stop=stop))
        for text in part:
            answer = next(answers) if text.strip() else None
            if json_:
                facts = None if answer is None else _facts(model, answer, chosen)
                typer.echo(json.dumps(facts, ensure_ascii=False))
            else:
                typer.echo("" if answer is None else " ".join(answer.splitlines()))


def _asked(text: str, chat: bool) -> Any:
    return [{"role": "user", "content": text}] if chat else text


def _facts(model: LanguageModel, answer: Answer, chosen: Strategy | None) -> dict[str, Any]:
    facts = {
        "text": answer.text,
        "finish": answer.finish,
        "tokens": answer.tokens,
        "logprobs": answer.logprobs,
        "prompt_tokens": len(answer.prompt),
        "seed": answer.seed,
        "order": list((chosen or model.generation_config.strategy).order),
    }
    if answer.score is not None:
        others = [{"text": one.text, "score": one.score, "finish": one.finish} for one in answer.others]
        facts |= {"score": answer.score, "others": others}
    return facts

"""lmworks generate: continue a text, answer it as a chat message, or translate it with an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.answer_options import AnswerOptions, routed, tell_adapter, tell_cut
from lmworks.cli.options import Adapters, Base, Compress, Json, MaxNewTokens, Model, as_json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.generation.answer import Answer
    from lmworks.generation.strategies import Strategy
    from lmworks.language_model import LanguageModel

AT_ONCE = 16
"""Lines that are written together."""


@verb("Use it", place=2)
def generate(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    model: Model,
    how: AnswerOptions,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The text to continue, or the source to translate; - reads it from standard input. Images need none."
        ),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="An image that stands before the prompt, for a model that reads some. Without a prompt, one that was "
            "trained on captions answers with the caption that fits best.",
        ),
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Treat the prompt as a message and answer it.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Each line is a prompt; print one line for each.")] = False,
    max_new_tokens: MaxNewTokens = 256,
    compress: Compress = None,
    base: Base = None,
    adapter: Adapters = None,
    json_: Json = False,
) -> None:
    """Continue a text with a model; with --chat, answer it. An encoder-decoder makes a target of it (a translation)."""
    import sys

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.basics.terminal import verbatim

    if prompt is None and not image:
        raise ConfigError('say what to go on from: lmworks generate MODEL "...", or - to read it from standard input')
    progress.at_once(f"loading {model}")
    from lmworks.generation.decoding import decode, start

    chosen = how.strategy()
    said = how.said(max_new_tokens)
    if said["tools"] is not None and not chat:
        raise ConfigError("tools are shown to a model in a conversation; give --chat too")
    if image and (lines or chat):
        raise ConfigError("--image stands before one prompt that is continued; leave out --lines and --chat")
    images = _opened(image)
    language_model = how.loaded(model, base, compress, adapter or ())
    text = sys.stdin.read() if prompt == "-" else prompt or ""
    asked = language_model.with_images(_asked(text, chat), images)
    if lines:
        _lines(language_model, text.removesuffix("\n").split("\n"), chat, chosen, said, json_)
        return
    [by] = routed(language_model, [asked])
    if json_:
        answer = language_model.generate(asked, chosen, **said, adapter=by)
        as_json(_facts(language_model, answer, chosen, by))
    else:
        tell_adapter(language_model, by)
        sequence = start(language_model.request(asked, chosen, **said, adapter=by), language_model.runner)
        for _, shown in decode(language_model.runner, [sequence]):
            verbatim(shown)
        verbatim("\n")
        tell_cut(language_model, sequence.finish)


def _opened(files: Sequence[str] | None) -> list[Any] | None:
    """The pixels of files, before the model is read. DataError for what is no image."""
    if not files:
        return None
    from lmworks.encoding.seeing import opened

    return [opened(one) for one in files]


def _lines(
    model: LanguageModel,
    texts: Sequence[str],
    chat: bool,
    chosen: Strategy | None,
    said: Mapping[str, Any],
    json_: bool,
) -> None:
    """An answer on one line for each text; an empty line stays one, so that line and answer have the same number."""
    import json

    from lmworks.basics.terminal import verbatim

    for start in range(0, len(texts), AT_ONCE):
        part = texts[start : start + AT_ONCE]
        asked = [_asked(text, chat) for text in part if text.strip()]
        by = routed(model, asked)
        answers = iter(zip(model.generate_batch(asked, chosen, **said, adapter=by), by, strict=True))
        for number, text in enumerate(part, start + 1):
            answer, name = next(answers) if text.strip() else (None, None)
            if json_:
                facts = None if answer is None else _facts(model, answer, chosen, name)
                typer.echo(json.dumps(facts, ensure_ascii=False))
            else:
                verbatim("\n" if answer is None else " ".join(answer.splitlines()) + "\n")
                if answer is not None:
                    tell_adapter(model, name, f"line {number}: ")
                tell_cut(model, None if answer is None else answer.finish, f"line {number}: ")


def _asked(text: str, chat: bool) -> Any:
    return [{"role": "user", "content": text}] if chat else text


def _facts(model: LanguageModel, answer: Answer, chosen: Strategy | None, adapter: str | None) -> dict[str, Any]:
    facts = {
        "text": answer.text,
        "finish": answer.finish,
        "tokens": answer.tokens,
        "logprobs": answer.logprobs,
        "prompt_tokens": len(answer.prompt),
        "seed": answer.seed,
        "slid": answer.slid,
        "order": list((chosen or model.generation_config.strategy).order),
    }
    if model.adapters:
        facts["adapter"] = adapter
    if answer.calls:
        facts["calls"] = [{"name": one.name, "arguments": one.arguments} for one in answer.calls]
    if answer.score is not None:
        others = [{"text": one.text, "score": one.score, "finish": one.finish} for one in answer.others]
        facts |= {"score": answer.score, "others": others}
    return facts

"""lmworks chat: talk with a model in the terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.answer_options import AnswerOptions, routed, tell_adapter
from lmworks.cli.documents import FromIndex, How, NoIndex, check_index, index_for, way_of
from lmworks.cli.options import Adapters, Base, Compress, MaxNewTokens, Model
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.generation.strategies import Strategy
    from lmworks.grounding.answer import GroundedAnswer, Way
    from lmworks.grounding.index import Index
    from lmworks.language_model import LanguageModel

HELP = (
    "/reset forgets the conversation, /system TEXT sets the instructions, /help says this, /exit ends. "
    "Ctrl-C stops an answer."
)
DOCUMENTS = "Answers come from {place}; /model lets the model answer by itself, /documents the documents again."


@verb("Use it", place=1)
def chat(
    model: Model,
    how: AnswerOptions,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    max_new_tokens: MaxNewTokens = 512,
    compress: Compress = None,
    base: Base = None,
    adapter: Adapters = None,
    index: FromIndex = None,
    way: How = "extract",
    no_index: NoIndex = False,
) -> None:
    """Talk with a model in the terminal, or with the documents that it was built with."""
    from lmworks.basics import progress

    progress.at_once(f"loading {model}")
    chosen, from_documents = how.strategy(), way_of(way)
    check_index(index, no_index)
    said = how.said(max_new_tokens)
    language_model = how.loaded(model, base, compress, adapter or ())
    language_model.must_converse()
    documents = index_for(language_model.source, index, no_index)
    typer.echo(f"{language_model.reference}. {HELP}")
    typer.echo(f"{DOCUMENTS.format(place=documents.place)}\n" if documents else "")
    messages, before, citing = _opening(system), None, documents is not None
    while (line := _ask()) is not None:
        command, _, rest = line.partition(" ")
        if command in ("/exit", "/quit"):
            break
        if command == "/reset":
            messages, before = _opening(system), None
            typer.echo("(forgotten)")
        elif command == "/help":
            typer.echo(HELP)
        elif command == "/model" and rest:
            typer.echo(f"(/model takes no name; `lmworks chat {rest}` talks with another model)")
        elif command in ("/model", "/documents"):
            if documents is None:
                typer.echo("(there are no documents here; --index DIR names an index)")
            else:
                citing = command == "/documents"
                typer.echo("(from the documents)" if citing else "(the model by itself)")
        elif command == "/system":
            system, messages = rest or None, _opening(rest or None)
            typer.echo(
                "(new conversation with these instructions)" if rest else "(new conversation without instructions)"
            )
        elif command.startswith("/"):
            typer.echo(f"{command} is not known. {HELP}")
        elif line.strip() and citing and documents is not None:
            before = _cited(documents, line, before, from_documents, language_model)
        elif line.strip():
            messages = _turn(language_model, messages, line, chosen, said)


def _opening(system: str | None) -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}] if system else []


def _ask() -> str | None:
    """A line from the user; None at the end of the input. Ctrl-C at the prompt clears the line."""
    import contextlib

    with contextlib.suppress(ImportError):  # history and line editing where the system has them
        import readline  # noqa: F401
    while True:
        try:
            return input("> ")
        except EOFError:
            typer.echo("")
            return None
        except KeyboardInterrupt:
            typer.echo("\n(/exit or Ctrl-D ends)")


def _cited(documents: Index, line: str, before: str | None, way: Way, model: LanguageModel) -> str | None:
    """Print what the documents answer; return the question with the words that it takes, for the next one to lean
    on."""
    from lmworks.basics.errors import LmworksError
    from lmworks.grounding.follow_up import ask_in_context, in_context
    from lmworks.grounding.telling import lines_of

    def ask(question: str) -> GroundedAnswer:
        return documents.ask(question, model if way == "write" else None, way)

    try:
        question, answer = ask_in_context(ask, line, before)
        if question != line:
            typer.echo(f"(asked as: {question})")
        typer.echo("\n".join([*lines_of(answer, documents), ""]))
    except KeyboardInterrupt:
        typer.echo(" (stopped)\n")
    except LmworksError as error:
        typer.echo(f"lmworks: {error}")
        return before
    return in_context(line, before)  # however it was asked, so that a chain keeps its topic


def _turn(
    model: LanguageModel,
    messages: list[dict[str, Any]],
    line: str,
    chosen: Strategy | None,
    said: dict[str, Any],
) -> list[dict[str, Any]]:
    """Print the answer as it comes; return the conversation with it. What Ctrl-C cut off stays part of it. Where it
    calls tools, the user is asked for their results, and the model goes on with them."""
    from lmworks.basics.errors import ConfigError
    from lmworks.cli.tool_turns import answered, called_by, results_of

    asked = [*messages, {"role": "user", "content": line}]
    while True:
        try:
            [by] = routed(model, [asked])
            stream = model.stream(asked, chosen, **said, adapter=by)
            tell_adapter(model, by)
            text = answered(stream, said["tools"])
        except ConfigError as error:  # the conversation has outgrown the model's window
            typer.echo(f"lmworks: {error} (/reset starts afresh)")
            return messages
        calls = called_by(text, said["tools"])
        if not calls:
            return [*asked, {"role": "assistant", "content": text}]
        results = results_of(calls)
        if results is None:
            typer.echo("(no result; the question is forgotten)")
            return messages
        asked, said = [*asked, *results], said | {"tools": replace(said["tools"], choice="auto")}

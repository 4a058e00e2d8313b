"""Turns of `lmworks chat` in which the model calls tools: nothing is run here, the user tells what they give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lmworks.generation.tool_calls import CallReader, ToolCall, Tools


def answered(pieces: Iterable[str], tools: Tools | None) -> str:
    """Print an answer as it comes, calls as NAME(ARGUMENTS); return what was written, as far as Ctrl-C let it."""
    from lmworks.generation.tool_calls import CallReader

    reader, written, begun = (None if tools is None else CallReader()), list[str](), False
    try:
        for piece in pieces:
            written.append(piece)  # before it is shown: Ctrl-C may come between the two
            shown = piece if reader is None else _shown(reader, piece, begun)
            typer.echo(shown, nl=False)
            begun = begun or bool(shown)
        if reader is not None:
            typer.echo("".join(one.content for one in reader.end()) + ")" * bool(reader.calls), nl=False)
    except KeyboardInterrupt:
        typer.echo(" (stopped)", nl=False)
    typer.echo("\n")
    return "".join(written)


def called_by(text: str, tools: Tools | None) -> list[ToolCall]:
    """The calls of an answer that is whole."""
    from lmworks.generation.tool_calls import Called

    called = Called.of(text) if tools is not None else Called(text)
    return called.calls if called.whole else []


def results_of(calls: Sequence[ToolCall]) -> list[dict[str, Any]] | None:
    """The calls and what they give, as messages; the user is asked for each. None where there is no more input."""
    functions = [{"type": "function", "function": {"name": one.name, "arguments": one.value}} for one in calls]
    turns: list[dict[str, Any]] = [{"role": "assistant", "content": "", "tool_calls": functions}]
    for call in calls:
        try:
            turns.append({"role": "tool", "content": input(f"{call.name} gives> ")})
        except (EOFError, KeyboardInterrupt):
            typer.echo("")
            return None
    return turns


def _shown(reader: CallReader, piece: str, begun: bool) -> str:
    """What more text shows; each call has a line of its own."""
    shown = ""
    for one in reader.read(piece):
        if one.name is not None:
            shown += ")" * (one.call > 0) + "\n" * (begun or bool(shown)) + f"{one.name}("
        shown += one.content + one.arguments
    return shown

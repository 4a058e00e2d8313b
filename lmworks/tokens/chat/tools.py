"""Tools: functions that a model may call, as a chat template shows them, and calls and their results as messages.

    weather = Tool("weather", "The weather in a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
    template, turns = with_tools(tokenizer.chat, messages, [weather])

A call is written as Qwen's and Hermes' templates have it: a JSON object between <tool_call> and </tool_call>. A
template that shows tools and writes calls in this form shows them itself; for any other one, a preamble in the system
message does (in the user's first, where a template takes no system message: Gemma 2), and calls and results become text
of the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmworks.basics.config import shortened
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.basics.files import regular
from lmworks.text.tool import CLOSING, OPENING, Tool, distinct
from lmworks.tokens.chat.template import ChatTemplate, Message, checked

PREAMBLE = """You can call functions. Each line between <tools> and </tools> describes one, with its arguments as a \
JSON schema:
<tools>
{tools}
</tools>
To call a function, write its name and its arguments as JSON:
<tool_call>
{{"name": "the function's name", "arguments": {{"an argument": "its value"}}}}
</tool_call>
Write one such block for each call, and nothing after the last. The results come between <tool_response> and \
</tool_response>. Where no function helps, answer in words."""
"""What a model reads whose chat template knows no tools, after its system message."""


def read_tools(said: str | Path) -> list[Tool]:
    """Tools of a JSON file, or of JSON itself: a list of them, or one. ConfigError for what holds none."""
    text = str(said)
    if not text.lstrip().startswith(("[", "{")):
        try:
            text = regular(Path(text)).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise ConfigError(
                f"{said} is neither a file that can be read nor JSON that begins with [ or {{; give one of the two"
            ) from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = getattr(error, "msg", None) or "nested too deep"
        raise ConfigError(f"{shortened(str(said))} is no JSON ({why}); write a list of tools") from None
    return distinct([Tool.of(one) for one in (value if isinstance(value, list) else [value])])


def call_text(name: str, arguments: Any) -> str:
    """A call as it is written."""
    inner = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{OPENING}\n{inner}\n{CLOSING}"


@dataclass(frozen=True)
class CallSpaces:
    """The white space that stands around the calls of an answer."""

    before: str = ""
    """Between the prompt and the first call."""
    between: str = "\n"
    after: str = ""
    """Between the last call and the token that closes the turn."""


@lru_cache(maxsize=64)
def spaces_around_calls(chat: ChatTemplate) -> CallSpaces:
    """The white space that a template writes around calls, as two calls in an answer show it; ours where it writes
    something else there, or refuses them."""
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    called: list[Message] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
    ]
    try:
        shown, turns = with_tools(chat, called, [Tool("f")])
        prompt, whole = shown.render(turns[:-1], add_generation_prompt=True), shown.render(turns)
    except LmworksError:
        return CallSpaces()
    before, *calls = whole.removeprefix(prompt).split(OPENING)
    if not whole.startswith(prompt) or len(calls) != 2:
        return CallSpaces()
    between, after = (one.partition(CLOSING)[2] for one in calls)
    return CallSpaces(
        "" if before.strip() else before,
        CallSpaces.between if between.strip() else between,
        after[: len(after) - len(after.lstrip())],
    )


def with_tools(
    chat: ChatTemplate, messages: Sequence[Message], tools: Sequence[Tool]
) -> tuple[ChatTemplate, Sequence[Message]]:
    """The template and the messages by which a conversation with these tools is rendered: as they are where the
    template knows tools and our form of calls, else with the preamble, and with calls and results as text."""
    if "tools" in chat.source and OPENING in chat.source:
        return chat.showing([one.facts for one in tools]), messages
    if not tools and "tool_calls" in chat.source:
        return chat, messages  # a form of its own
    turns = _as_text(checked(messages))
    if tools:
        shown = "\n".join(json.dumps(one.facts, ensure_ascii=False) for one in tools)
        turns = _preceded(turns, PREAMBLE.format(tools=shown), chat.takes_system)
    return chat, turns


def _preceded(turns: list[Message], preamble: str, takes_system: bool) -> list[Message]:
    """The turns with the preamble after the system message, or in front of the user's first words where a template
    takes no system message."""
    said, others = (turns[0]["content"], turns[1:]) if turns[0]["role"] == "system" else ("", turns)
    whole = f"{said}\n\n{preamble}" if said else preamble
    if takes_system or not others or others[0]["role"] != "user":
        return [{"role": "system", "content": whole}, *others]
    return [{**others[0], "content": f"{whole}\n\n{others[0]['content']}"}, *others[1:]]


def _as_text(messages: Sequence[Message]) -> list[Message]:
    """Calls as text of the assistant, and results, those of one turn together, as text of the user; what else stands in
    a message stays."""
    turns: list[Message] = []
    before: str | None = None
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            result = f"<tool_response>\n{content}\n</tool_response>"
            if before == "tool":
                turns[-1] = {"role": "user", "content": f"{turns[-1]['content']}\n{result}"}
            else:
                turns.append({"role": "user", "content": result})
        elif message.get("tool_calls"):
            calls = [_call(one) for one in message["tool_calls"]]
            others = {name: value for name, value in message.items() if name != "tool_calls"}
            turns.append(others | {"content": "\n".join([*([content] if content else []), *calls])})
        else:
            turns.append(message)
        before = role
    return turns


def _call(value: Any) -> str:
    try:
        return call_text(value["function"]["name"], value["function"]["arguments"])
    except (TypeError, KeyError, ValueError):
        raise DataError(
            f"{shortened(value)} is no tool call; it has `function` with `name` and `arguments` (an object)"
        ) from None

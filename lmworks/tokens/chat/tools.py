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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import regular
from lmworks.text.calls import OPEN_ENDED
from lmworks.tokens.chat.template import ChatTemplate, Message, checked

OPENING, CLOSING = "<tool_call>", "</tool_call>"
MOST, LONGEST, DEEPEST = 128, 2**16, 32
"""Tools of a request, characters of one of them as JSON, and how deep the lists and objects in it may lie."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
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


@dataclass(frozen=True)
class Tool:
    """A function that a model may call. ConfigError for what is none."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    """A JSON schema of its arguments, an object; None for a function without arguments."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(
                f"the tool's name {_short(self.name)} is none; a name has 1 to 64 letters, digits, _, - and ."
            )
        if not isinstance(self.description, str):
            raise ConfigError(f"the description of the tool {self.name} is no text")
        if self.parameters is None:
            return
        if not isinstance(self.parameters, Mapping) or self.parameters.get("type", "object") != "object":
            raise ConfigError(
                f'the parameters of the tool {self.name} describe no object; give a JSON schema of "type": "object"'
            )
        if not _flat_enough(self.parameters, DEEPEST):
            raise ConfigError(f"the parameters of the tool {self.name} are nested more than {DEEPEST} deep")
        try:
            size = len(json.dumps(self.facts))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the parameters of the tool {self.name} are no JSON ({error})") from None
        if size > LONGEST:
            raise ConfigError(f"the tool {self.name} has {size:,} characters as JSON; at most {LONGEST:,} are read")

    @classmethod
    def of(cls, value: Any) -> Tool:
        """A tool as OpenAI's API has it, {"type": "function", "function": {...}}, or the inner object alone."""
        inner = value.get("function", value) if isinstance(value, Mapping) else None
        if not isinstance(inner, Mapping) or "name" not in inner:
            raise ConfigError(
                f"{_short(value)} describes no tool; give an object with `name`, `description` and `parameters`"
            )
        return cls(inner["name"], inner.get("description") or "", inner.get("parameters"))

    @property
    def facts(self) -> dict[str, Any]:
        """As OpenAI's API has it."""
        empty = {"type": "object", "properties": {}}
        function = {"name": self.name, "description": self.description, "parameters": self.parameters or empty}
        return {"type": "function", "function": function}

    @property
    def schema(self) -> dict[str, Any]:
        """Of the arguments, an object. Unless it says something of others, none but those that it names are written."""
        schema = dict(self.facts["function"]["parameters"])
        if "$ref" not in schema:  # beside one that leads back to itself llguidance allows no other key
            schema["type"] = "object"
        return schema if any(key in schema for key in OPEN_ENDED) else schema | {"additionalProperties": False}


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
        raise ConfigError(f"{_short(str(said))} is no JSON ({why}); write a list of tools") from None
    return distinct([Tool.of(one) for one in (value if isinstance(value, list) else [value])])


def distinct(tools: Sequence[Tool]) -> list[Tool]:
    """The tools; ConfigError for none, too many, and two of one name."""
    if not 0 < len(tools) <= MOST:
        raise ConfigError(f"there are {len(tools):,} tools; give 1 to {MOST}")
    names = [one.name for one in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two tools are called {twice}; rename one of them")
    return list(tools)


def call_text(name: str, arguments: Any) -> str:
    """A call as it is written."""
    inner = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{OPENING}\n{inner}\n{CLOSING}"


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
            f"{_short(value)} is no tool call; it has `function` with `name` and `arguments` (an object)"
        ) from None


def _flat_enough(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth > 0 and all(_flat_enough(one, depth - 1) for one in inner)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."

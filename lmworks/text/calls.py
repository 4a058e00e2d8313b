"""Calls of tools in records of conversations, and the tools that they may call, in the one form that a document has.

Read are `tool_calls` of a message and `tools` of a record (OpenAI's API), `function_call` and `functions` (that of
2023), lists of {"name": ..., "arguments": ...} (ShareGPT), and such objects in an answer's words between <tool_call>
and </tool_call> (Hermes); whatever is a list or an object may be JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lmworks.basics.errors import ConfigError
from lmworks.text.argument_schema import arguments_by, without_none
from lmworks.text.plain import UnreadableError, check_line, newlines
from lmworks.text.tool import CLOSING, DEEPEST, OPENING, Tool, distinct

_WRITTEN = re.compile(f"{OPENING}(.*?){CLOSING}", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)

TOOLS = ("tools", "functions")
"""The fields of a record in which its tools stand."""
NAMED = 5
"""Tools of a record, of which an error says the names."""


def tools_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools of a record, each as OpenAI's API has it; UnreadableError for what describes none."""
    field = next((name for name in TOOLS if record.get(name)), None)
    if field is None:
        return []
    given = _value(record[field], f"`{field}`")
    if not given:  # "[]"
        return []
    if not isinstance(given, list):
        raise UnreadableError(f"`{field}` is not a list of tools")
    every = [_tool(one, f"{field}[{index}]") for index, one in enumerate(given)]
    try:
        distinct([Tool.of(one) for one in every])
        json.dumps(every, ensure_ascii=False).encode()
    except ConfigError as error:
        raise UnreadableError(str(error)) from None
    except UnicodeEncodeError:
        raise UnreadableError(f"`{field}` holds half of a surrogate pair; write it as UTF-8") from None
    return every


def calls_of(message: Mapping[str, Any], where: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The calls of a message, their arguments in the order in which its tool names them, as answers are held to write
    them. UnreadableError for what is no call, and for one of a tool that the record does not have."""
    field = next((name for name in ("tool_calls", "function_call") if message.get(name)), None)
    if field is None:
        return []
    given = _value(message[field], f"{where}.{field}")
    several = given if isinstance(given, list) else [given] if given else []
    return [_call(one, f"{where}.{field}[{index}]", tools) for index, one in enumerate(several)]


def calls_in(words: str, where: str, tools: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The words and the calls of an answer that writes its calls as text, each between <tool_call> and </tool_call>.
    UnreadableError as by `calls_of`, and for words after a call."""
    pieces = _WRITTEN.split(words)
    if any(one.strip() for one in pieces[2::2]):
        raise UnreadableError(f"{where} goes on with words after a call; put them into a turn of their own")
    given = [_value(one.strip(), f"a call in {where}") for one in pieces[1::2]]
    calls = [_call(one, f"{where} <tool_call> {number}", tools) for number, one in enumerate(given, 1)]
    return (pieces[0].rstrip() if calls else words), calls


def results_in(words: str) -> list[str]:
    """The results in the words of a tool: each that stands between <tool_response> and </tool_response>, or all."""
    return _RESULT.findall(words) if words.strip() and not _RESULT.sub("", words).strip() else [words]


def _tool(given: Any, where: str) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise UnreadableError(f"{where} is no tool with a `name`, a `description` and `parameters`")
    return {"type": "function", "function": without_none(_plain(function, where))}


def _call(given: Any, where: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
        raise UnreadableError(f"{where} is no call with a `name` and `arguments`")
    arguments = _value(function.get("arguments") or {}, f"{where}.arguments") or {}
    if not isinstance(arguments, Mapping):
        raise UnreadableError(f"{where}.arguments is no object, or JSON of one")
    known = {one["function"]["name"]: one["function"] for one in tools}
    if known and name not in known:
        more = ", ..." if len(known) > NAMED else ""
        raise UnreadableError(f"{where} calls {name}, and the tools are {', '.join(list(known)[:NAMED])}{more}")
    written = _plain(arguments, where)
    if known:
        written = arguments_by(known[name].get("parameters") or {}, written, f"{where} calls {name}")
    return {"type": "function", "function": {"name": name, "arguments": written}}


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A copy out of JSON values that a template can write."""
    if depth > DEEPEST:
        raise UnreadableError(f"{where} holds lists more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        return {str(key): _plain(one, where, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, where, depth + 1) for one in value]
    if isinstance(value, str):
        return newlines(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    kind = "number that is none" if isinstance(value, float) else type(value).__name__
    raise UnreadableError(f"{where} holds a {kind}, which is no JSON")


def _value(given: Any, what: str) -> Any:
    """What a text says as JSON; anything else as it is."""
    if not isinstance(given, str):
        return given
    check_line(len(given))
    try:
        return json.loads(given or "{}")
    except (ValueError, RecursionError):
        raise UnreadableError(f"{what} is no JSON") from None

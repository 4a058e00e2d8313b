"""Calls of tools in records of conversations, and the tools that they may call, in the one form that a document has.

Read are `tool_calls` of a message and `tools` of a record (OpenAI's API), `function_call` and `functions` (that of
2023), and lists of {"name": ..., "arguments": ...} (Hermes, ShareGPT); whatever is a list or an object may be JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmworks.basics.errors import ConfigError
from lmworks.text.plain import UnreadableError, check_line, newlines
from lmworks.text.tool import DEEPEST, OPEN_ENDED, Tool, distinct

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
    if not isinstance(given, list):
        raise UnreadableError(f"`{field}` is not a list of tools")
    every = [_tool(one, f"{field}[{index}]") for index, one in enumerate(given)]
    try:
        distinct([Tool.of(one) for one in every])
    except ConfigError as error:
        raise UnreadableError(str(error)) from None
    return every


def calls_of(message: Mapping[str, Any], where: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The calls of a message, their arguments in the order in which its tool names them, as answers are held to write
    them. UnreadableError for what is no call, and for one of a tool that the record does not have."""
    field = next((name for name in ("tool_calls", "function_call") if message.get(name)), None)
    if field is None:
        return []
    given = _value(message[field], f"{where}.{field}")
    several = given if isinstance(given, list) else [given]
    return [_call(one, f"{where}.{field}[{index}]", tools) for index, one in enumerate(several)]


def _tool(given: Any, where: str) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise UnreadableError(f"{where} is no tool with a `name`, a `description` and `parameters`")
    return {"type": "function", "function": _plain(function, where)}


def _call(given: Any, where: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
        raise UnreadableError(f"{where} is no call with a `name` and `arguments`")
    arguments = _value(function.get("arguments") or {}, f"{where}.arguments")
    if not isinstance(arguments, Mapping):
        raise UnreadableError(f"{where}.arguments is no object, or JSON of one")
    known = {one["function"]["name"]: one["function"] for one in tools}
    if known and name not in known:
        more = ", ..." if len(known) > NAMED else ""
        raise UnreadableError(f"{where} calls {name}, and the tools are {', '.join(list(known)[:NAMED])}{more}")
    schema = known[name].get("parameters") if known else None
    if known:
        _must_fit(arguments, schema or {}, f"{where} calls {name}")
    ordered = _ordered(_plain(arguments, where), schema)
    return {"type": "function", "function": {"name": name, "arguments": ordered}}


def _must_fit(arguments: Mapping[str, Any], schema: Any, calls: str) -> None:
    """UnreadableError for arguments that an answer held to the schema could not have."""
    if not isinstance(schema, Mapping) or any(key in schema for key in OPEN_ENDED):
        return
    named = list(schema.get("properties") or ())
    if other := next((key for key in arguments if key not in named), None):
        known = f"its arguments are {', '.join(named)}" if named else "it has no arguments"
        raise UnreadableError(f"{calls} with `{other}`, and {known}")
    if missing := next((key for key in schema.get("required") or () if key not in arguments), None):
        raise UnreadableError(f"{calls} without `{missing}`, which it requires")


def _ordered(value: Any, schema: Any) -> Any:
    """An object with its keys in the order in which its schema names them, those that it does not name at the end."""
    if isinstance(value, list) and isinstance(schema, Mapping):
        return [_ordered(one, schema.get("items")) for one in value]
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    keys = [*(key for key in properties if key in value), *(key for key in value if key not in properties)]
    return {key: _ordered(value[key], properties.get(key)) for key in keys}


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
    if value is None or (isinstance(value, bool | int | float) and math.isfinite(value)):
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

"""Calls of tools in records of conversations, and the tools that they may call, in the one form that a document has.

Read are `tool_calls` of a message and `tools` of a record (OpenAI's API), `function_call` and `functions` (that of
2023), lists of {"name": ..., "arguments": ...} (ShareGPT), and such objects in an answer's words between <tool_call>
and </tool_call> (Hermes); whatever is a list or an object may be JSON. Where records are rows of a table, each tool and
each call has the fields of all of them, None where they are another's: these are taken out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmworks.basics.errors import ConfigError
from lmworks.text.plain import UnreadableError, check_line, newlines
from lmworks.text.tool import DEEPEST, OPEN_ENDED, Tool, distinct

_WRITTEN = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)
_VALUES = ("default", "const", "enum", "examples")
"""Keys of a JSON schema under which no schemas stand, but values; null may be one."""
_NAMES = ("properties", "patternProperties", "$defs", "definitions")
"""Keys under which schemas stand by names."""

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
    return {"type": "function", "function": _without_none(_plain(function, where))}


def _without_none(schema: Any, named: bool = False) -> Any:
    """A description without what a table filled in: the keys whose value is None, but for values; `named`, of schemas
    by their names."""
    if isinstance(schema, list):
        return [_without_none(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: one if key in _VALUES and not named else _without_none(one, key in _NAMES and not named)
        for key, one in schema.items()
        if one is not None or (key in _VALUES[:2] and not named)
    }


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
        schema = known[name].get("parameters") or {}
        if not _is_open(schema):
            written = {key: one for key, one in written.items() if one is not None or key in _properties(schema)}
        written = _as_written(written, schema, schema)
        _must_fit(written, schema, f"{where} calls {name}")
    return {"type": "function", "function": {"name": name, "arguments": written}}


def _must_fit(arguments: Mapping[str, Any], schema: Mapping[str, Any], calls: str) -> None:
    """UnreadableError for arguments that an answer held to the schema could not have."""
    named = _properties(schema)
    if not _is_open(schema) and (other := next((key for key in arguments if key not in named), None)) is not None:
        known = f"its arguments are {', '.join(named)}" if named else "it has no arguments"
        raise UnreadableError(f"{calls} with `{other}`, and {known}")
    if missing := next((key for key in _required(schema) if key not in arguments), None):
        raise UnreadableError(f"{calls} without `{missing}`, which it requires")


def _as_written(value: Any, schema: Any, whole: Mapping[str, Any]) -> Any:
    """A value as an answer that is held to the schema writes it: an object's keys in the order in which the schema
    names them, those that it does not name at the end, and none that are None because a table has a place for them;
    2.0 as 2 where a whole number is asked for. `whole` is the schema in which a `$ref` is looked up."""
    branches = [*_branches(schema, whole)]
    if isinstance(value, list):
        items = next((one["items"] for one in branches if "items" in one), None)
        return [_as_written(one, items, whole) for one in value]
    if isinstance(value, float) and value.is_integer() and {"integer", "number"} & _kinds(branches) == {"integer"}:
        return int(value)
    if not isinstance(value, dict):
        return value
    said = [key for key, one in value.items() if one is not None]
    fitting = (one for one in branches if _properties(one) and (_is_open(one) or {*said} <= {*_properties(one)}))
    if (chosen := next(fitting, next(filter(_properties, branches), None))) is None:
        return value
    named = _properties(chosen)
    keys = [*(key for key in named if key in value), *(key for key in value if key not in named)]
    return {
        key: _as_written(value[key], named.get(key), whole)
        for key in keys
        if value[key] is not None or (_may_be_none(named[key], whole) if key in named else _is_open(chosen))
    }


def _branches(schema: Any, whole: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The schema, with its `$ref` followed, then the alternatives that it gives."""
    for _ in range(DEEPEST):
        at = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(at, str) or not at.startswith("#"):
            break
        schema = whole
        for part in at.removeprefix("#").split("/")[1:]:
            schema = schema.get(part) if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in ("anyOf", "oneOf") if depth < NAMED else ():
        several = schema.get(key)
        for one in several if isinstance(several, list) else ():
            yield from _branches(one, whole, depth + 1)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    named = schema.get("properties")
    return named if isinstance(named, Mapping) else {}


def _required(schema: Mapping[str, Any]) -> list[str]:
    given = schema.get("required")
    return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether arguments may be written that the schema does not name."""
    return any(schema.get(key, False) is not False for key in OPEN_ENDED)


def _may_be_none(schema: Any, whole: Mapping[str, Any]) -> bool:
    """Whether null fits; True where the schema names no type."""
    kinds = _kinds([*_branches(schema, whole)])
    return not kinds or "null" in kinds


def _kinds(branches: Sequence[Mapping[str, Any]]) -> set[str]:
    """The types that alternatives of a schema name."""
    given = [one["type"] for one in branches if "type" in one]
    return {str(kind) for one in given for kind in (one if isinstance(one, list) else [one])}


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

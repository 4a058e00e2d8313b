"""A user's own conversations that call tools as items: each answer in them is asked for, with what stands before it.

An answer is right that makes the calls which stand in the record, and no other: names and numbers equal, texts but for
letter case, spaces and , . / - _ * ^; where words stand in the record, one that calls nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.evaluation.tasks.declaration import Calling
from lmworks.text.document import is_learnt
from lmworks.text.plain import UnreadableError
from lmworks.text.records import document
from lmworks.tokens.chat.conversation import tools_in

TYPES = {"string": "string", "integer": "integer", "number": "float", "boolean": "boolean"}
"""JSON schema's names of types that the comparison knows, and its own; of another type, values are equal as JSON."""
MORE = 64
"""Tokens that an answer may have beyond those of the longest that is wanted."""


def calls_of(name: str, record: Mapping[str, Any]) -> list[Calling]:
    """The items of a record. DataError for one that is no conversation with tools."""
    try:
        found = document(record, name)
    except UnreadableError as error:
        raise DataError(f"{name}: {error}") from None
    turns, tools = found.messages or (), tuple(tools_in(found))
    if not tools:
        raise DataError(f"{name} has no `tools`; give those that its answers may call")
    places = [at for at, turn in enumerate(turns) if at and is_learnt(turn) and turns[at - 1]["role"] != "assistant"]
    if not places:
        raise DataError(f"{name} has no assistant's turn that answers something; leave it out")
    described = tuple(_described(one["function"]) for one in found.tools)
    return [
        Calling(
            f"{name}.{number}" if len(places) > 1 else name,
            turns[:at],
            tools,
            described,
            tuple(map(_wanted, turns[at].get("tool_calls", ()))),
            several=len(turns[at].get("tool_calls", ())) > 1,
            group=name,
        )
        for number, at in enumerate(places, 1)
    ]


def longest(items: Iterable[Calling]) -> int:
    """How many tokens an answer may have: half a token a character of the longest one that is wanted, and some more."""
    return MORE + max((len(str(one.wanted)) for one in items), default=0) // 2


def _wanted(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {function["name"]: {name: [value] for name, value in function["arguments"].items()}}


def _described(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {}
    properties: Mapping[str, Any] = parameters.get("properties") or {}
    kinds = {name: {"type": _type(one)} for name, one in properties.items()}
    return {"name": function["name"], "parameters": {"properties": kinds, "required": parameters.get("required", [])}}


def _type(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return TYPES.get(kind, "any") if isinstance(kind, str) else "any"

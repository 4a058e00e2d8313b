"""A user's own conversations that call tools as items: each answer in them is asked for, with what stands before it.

An answer is right that makes the calls which stand in the record, and no other: names and numbers equal, texts but for
letter case, spaces and , . / - _ * ^; where words stand in the record, one that calls nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.evaluation.tasks.call_match import JSON
from lmworks.evaluation.tasks.declaration import Calling
from lmworks.text.document import Turn, is_learnt
from lmworks.text.plain import UnreadableError
from lmworks.text.records import document
from lmworks.tokens.chat.conversation import tools_in

TYPES = {"string": "string", "integer": "integer", "number": "float", "boolean": "boolean"}
"""JSON schema's names of types that the comparison knows, and its own; of another type, values are JSON."""
MORE = 64
"""Tokens that an answer may have beyond those of the longest that is wanted."""


class NothingToCallError(DataError):
    """A conversation whose answers may call nothing, or in which nothing is answered."""


def calls_of(name: str, record: Mapping[str, Any]) -> list[Calling]:
    """The items of a record. NothingToCallError for one without tools or answers, DataError for no conversation."""
    try:
        found = document(record, name)
    except UnreadableError as error:
        raise DataError(f"{name}: {error}") from None
    turns, tools = found.messages or (), tuple(tools_in(found))
    if not tools:
        raise NothingToCallError(f"{name} has no `tools`; give those that its answers may call")
    places = [at for at, turn in enumerate(turns) if at and is_learnt(turn) and turns[at - 1]["role"] != "assistant"]
    if not places:
        raise NothingToCallError(f"{name} has no assistant's turn that answers something; leave it out")
    described = tuple(_described(one["function"], turns) for one in found.tools)
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
    """How many tokens an answer may have: of the longest one that is wanted half a token a letter, one a digit and a
    byte of any other character, and some more."""
    return MORE + max((_tokens(str(one.wanted)) for one in items), default=0)


def _tokens(text: str) -> int:
    words = "".join(one for one in text if one.isascii() and not one.isdigit())
    return len(text.encode()) - len(words) + len(words) // 2


def _wanted(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    values = {name: " " if value == "" else value for name, value in function["arguments"].items()}
    return {function["name"]: {name: [value] for name, value in values.items()}}  # "" would say that it may be missing


def _described(function: Mapping[str, Any], turns: Iterable[Turn]) -> dict[str, Any]:
    """As BFCL does it, with the arguments of its calls that its schema allows and does not name. What it requires
    stands in the calls that are wanted."""
    properties: Any = (function.get("parameters") or {}).get("properties")
    named: dict[str, Any] = {**properties} if isinstance(properties, Mapping) else {}
    calls = [one["function"] for turn in turns for one in turn.get("tool_calls", ())]
    given = dict.fromkeys(key for one in calls if one["name"] == function["name"] for key in one["arguments"])
    kinds = {name: {"type": _type(named.get(name))} for name in named | given}
    return {"name": function["name"], "parameters": {"properties": kinds}}


def _type(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return TYPES.get(kind, JSON) if isinstance(kind, str) else JSON

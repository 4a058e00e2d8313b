"""What a JSON schema of a tool's arguments lets an answer write: which arguments, in which order, of which form.

    arguments_by(schema, {"days": 2.0, "city": "Rome"}, "messages[1] calls weather")    # {"city": "Rome", "days": 2}

An answer is held to the schema by a grammar, which writes an object's keys in the order of the schema alone. Rows of a
table have the fields of all tools, None where they are another's: these are taken out, of schemas and of arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmworks.text.plain import UnreadableError
from lmworks.text.tool import DEEPEST, OPEN_ENDED

MOST_BRANCHES = 5
"""Alternatives that lie in one another, of which the innermost is still looked at."""
_VALUES = ("default", "const", "enum", "examples")
"""Keys of a JSON schema under which no schemas stand, but values; null may be one."""
_NAMES = ("properties", "patternProperties", "$defs", "definitions")
"""Keys under which schemas stand by names."""


def without_none(schema: Any, named: bool = False) -> Any:
    """A description without what a table filled in: the keys whose value is None, but for values; `named`, of schemas
    by their names."""
    if isinstance(schema, list):
        return [without_none(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: one if key in _VALUES and not named else without_none(one, key in _NAMES and not named)
        for key, one in schema.items()
        if one is not None or (key in _VALUES[:2] and not named)
    }


def arguments_by(schema: Mapping[str, Any], given: Mapping[str, Any], calls: str) -> dict[str, Any]:
    """Arguments as an answer that is held to their schema writes them (`_as_written`). UnreadableError, which begins
    with `calls`, for those that it could not have: one that the schema does not name, or not all that it requires."""
    kept = {key: one for key, one in given.items() if one is not None or _is_open(schema) or key in _properties(schema)}
    written: dict[str, Any] = _as_written(kept, schema, schema)
    _must_fit(written, schema, calls)
    return written


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


def _must_fit(arguments: Mapping[str, Any], schema: Mapping[str, Any], calls: str) -> None:
    """UnreadableError for arguments that an answer held to the schema could not have."""
    named = _properties(schema)
    if not _is_open(schema) and (other := next((key for key in arguments if key not in named), None)) is not None:
        known = f"its arguments are {', '.join(named)}" if named else "it has no arguments"
        raise UnreadableError(f"{calls} with `{other}`, and {known}")
    if missing := next((key for key in _required(schema) if key not in arguments), None):
        raise UnreadableError(f"{calls} without `{missing}`, which it requires")


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
    for key in ("anyOf", "oneOf") if depth < MOST_BRANCHES else ():
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

"""What a JSON schema of a tool's arguments lets an answer write: which arguments, in which order, of which form.

    arguments_by(schema, {"days": 2.0, "city": "Rome"}, "messages[1] calls weather")    # {"city": "Rome", "days": 2}

An answer is held to the schema by a grammar, which writes an object's keys in the order of the schema alone. Rows of a
table have the fields of all tools, None where they are another's: these are taken out, of schemas and of arguments.
Values are held to the types, the listed values and the fields of their schema; bounds and patterns are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from lmworks.basics.config import shortened
from lmworks.text.plain import UnreadableError
from lmworks.text.tool import DEEPEST, OPEN_ENDED

MOST_BRANCHES = 5
"""Alternatives that lie in one another, of which the innermost is still looked at."""
FARTHEST = 2 * DEEPEST
"""Steps into arguments and into the alternatives of a schema, after which a value counts as fitting."""
NAMED = 5
"""Types and values that fit, of which an error says the names."""
_TYPES = {"string": str, "boolean": bool, "null": type(None), "array": list, "object": dict}
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
    with `calls`, for those that it could not have: one that the schema does not name, not all that it requires, or a
    value that is not of its type or not among those that are listed."""
    kept = {key: one for key, one in given.items() if one is not None or _is_open(schema) or key in _properties(schema)}
    written: dict[str, Any] = _as_written(kept, schema, schema)
    _must_fit(written, schema, calls)
    return written


def _as_written(value: Any, schema: Any, whole: Mapping[str, Any]) -> Any:
    """A value as an answer that is held to the schema writes it: an object's keys in the order in which the schema
    names them, those that it does not name at the end, and none that are None because a table has a place for them;
    2.0 as 2 where a whole number is asked for. `whole` is the schema in which a `$ref` is looked up."""
    branches = [*_branches(schema, whole)]
    listed = (one for branch in branches for one in _values(branch) or ())
    if (same := next((one for one in listed if _equal(one, value)), None)) is not None:
        return same
    if isinstance(value, list):
        described = next((one for one in branches if not {"items", "prefixItems"}.isdisjoint(one)), {})
        return [_as_written(one, kind, whole) for one, kind in zip(value, _items(described), strict=False)]
    if isinstance(value, float) and value.is_integer() and {"integer", "number"} & _kinds(branches) == {"integer"}:
        return int(value)
    if not isinstance(value, dict):
        return value
    said = [key for key, one in value.items() if one is not None]
    describing = [one for one in branches if _properties(one) or isinstance(_others(one), Mapping)]
    fitting = (one for one in describing if _is_open(one) or {*said} <= {*_properties(one)})
    if (chosen := next(fitting, next(iter(describing), None))) is None:
        return value
    named, others = _properties(chosen), _others(chosen)
    keys = [*(key for key in named if key in value), *(key for key in value if key not in named)]
    return {
        key: _as_written(value[key], named.get(key, others), whole)
        for key in keys
        if value[key] is not None
        or ((key in named or _is_open(chosen)) and _may_be_none(named.get(key, others), whole))
    }


def _must_fit(arguments: Mapping[str, Any], schema: Mapping[str, Any], calls: str) -> None:
    """UnreadableError for arguments that an answer held to the schema could not have."""
    named = _properties(schema)
    if not _is_open(schema) and (other := next((key for key in arguments if key not in named), None)) is not None:
        known = f"its arguments are {', '.join(named)}" if named else "it has no arguments"
        raise UnreadableError(f"{calls} with `{other}`, and {known}")
    if missing := next((key for key in _required(schema) if key not in arguments), None):
        raise UnreadableError(f"{calls} without `{missing}`, which it requires")
    if wrong := _Fit(schema).wrong(arguments, schema):
        raise UnreadableError(f"{calls} with {wrong}")


class _Fit:
    """What in values their schemas do not allow, where `whole` holds what a `$ref` leads to."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole
        self._known: dict[tuple[str, int, int], str] = {}
        """By the place of a value, which two may share ("a.b"), itself and its schema. Of one that leads back to
        itself, that the value fits."""

    def wrong(self, value: Any, schema: Any, at: str = "", steps: int = 0) -> str:
        """What is wrong, after "with": "`days` as 'two', and its schema takes integer"; "" where nothing is."""
        schema = _followed(schema, self._whole)
        key = (at, id(value), id(schema))
        if key not in self._known:
            self._known[key] = ""
            if isinstance(schema, Mapping) and steps < FARTHEST:
                self._known[key] = next(filter(None, self._faults(value, schema, at, steps + 1)), "")
        return self._known[key]

    def _faults(self, value: Any, schema: Mapping[str, Any], at: str, steps: int) -> Iterator[str]:
        """Of a value, then of its parts."""
        if not _is_one(value, schema):
            yield self._other(value, schema, at)
        for key in ("anyOf", "oneOf"):
            found = [self.wrong(value, one, at, steps) for one in _listed(schema, key)]
            if found and all(found):
                inner = next((one for one in found if not one.startswith(f"{_place(at)} as ")), None)
                yield inner or self._other(value, schema, at)
        for one in _listed(schema, "allOf"):
            yield self.wrong(value, one, at, steps)
        if isinstance(value, dict):
            yield from self._of_fields(value, schema, at, steps)
        elif isinstance(value, list):
            for number, (one, kind) in enumerate(zip(value, _items(schema), strict=False)):
                yield self.wrong(one, kind, f"{at}[{number}]", steps)

    def _of_fields(self, value: dict[str, Any], schema: Mapping[str, Any], at: str, steps: int) -> Iterator[str]:
        named, others = _properties(schema), _others(schema)
        for name in _required(schema):
            if name not in value:
                yield f"{_place(at)} without `{name}`, which it requires"
        for name, one in value.items():
            place = f"{at}.{name}" if at else name
            if others is False and name not in named:
                yield f"{_place(place)}, which its schema does not name"
            yield self.wrong(one, named.get(name, others), place, steps)

    def _other(self, value: Any, schema: Mapping[str, Any], at: str) -> str:
        return f"{_place(at)} as {shortened(value)}, and its schema takes {self._taken(schema)}"

    def _taken(self, schema: Mapping[str, Any]) -> str:
        """The types and the values that a schema and its alternatives name."""
        names: dict[str, None] = {}
        for one in _branches(schema, self._whole):
            values = _values(one)
            names |= dict.fromkeys(sorted(_kinds([one])) if values is None else map(json.dumps, values))
        return ", ".join([*names][:NAMED]) + ", ..." * (len(names) > NAMED)


def _place(at: str) -> str:
    return f"`{at}`" if at else "arguments"


def _is_one(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value is of a type that the schema names, and among the values that it lists."""
    kinds, listed = _kinds([schema]), _values(schema)
    fits = not kinds or any(_is_of(value, kind) for kind in kinds)
    return fits and any(_equal(one, value) for one in ([value] if listed is None else listed))


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values that a schema lists; None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _equal(one: Any, value: Any) -> bool:
    return bool(one == value) and isinstance(one, bool) is isinstance(value, bool)


def _is_of(value: Any, kind: str) -> bool:
    """Whether a value is of a type of JSON schema; True for any other type, which is the grammar's business."""
    if kind not in {"integer", "number"}:
        return isinstance(value, _TYPES.get(kind, object))
    whole = isinstance(value, int) or (isinstance(value, float) and (kind == "number" or value.is_integer()))
    return whole and not isinstance(value, bool)


def _listed(schema: Mapping[str, Any], key: str) -> list[Any]:
    several = schema.get(key)
    return several if isinstance(several, list) else []


def _items(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of a list's places, without end."""
    return chain(_listed(schema, "prefixItems"), repeat(schema.get("items")))


def _others(schema: Mapping[str, Any]) -> Any:
    """The schema of fields that a schema does not name; None where it says nothing of them, or by patterns."""
    return None if "patternProperties" in schema else schema.get("additionalProperties")


def _branches(
    schema: Any, whole: Mapping[str, Any], depth: int = 0, seen: dict[int, int] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The schema, with its `$ref` followed, and with what `allOf` adds to it, then the alternatives that it gives; each
    once, as `seen` has it, by the depth at which it was met."""
    schema, seen = _followed(schema, whole), {} if seen is None else seen
    if not isinstance(schema, Mapping) or seen.get(id(schema), depth + 1) <= depth:
        return
    seen[id(schema)] = depth
    joined = _joined(schema, whole, set())
    yield joined
    for key in ("anyOf", "oneOf") if depth < MOST_BRANCHES else ():
        for one in _listed(joined, key):
            yield from _branches(one, whole, depth + 1, seen)


def _joined(schema: Any, whole: Mapping[str, Any], within: set[int], depth: int = 0) -> Mapping[str, Any]:
    """A schema with what those of its `allOf` say where it says nothing itself; their fields come after its own, as in
    the grammar. Each is looked at once, as `within` has it."""
    schema = _followed(schema, whole)
    if not isinstance(schema, Mapping) or id(schema) in within:
        return {}
    within.add(id(schema))
    joined = schema
    for part in _listed(schema, "allOf") if depth < MOST_BRANCHES else ():
        one = _joined(part, whole, within, depth + 1)
        joined = {**one, **joined, "properties": {**_properties(joined), **_properties(one)}}
    return joined


def _followed(schema: Any, whole: Mapping[str, Any]) -> Any:
    """What a schema's `$ref` leads to, or the schema itself."""
    for _ in range(DEEPEST):
        at = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(at, str) or not at.startswith("#"):
            break
        schema = whole
        for part in at.removeprefix("#").split("/")[1:]:
            schema = schema.get(part) if isinstance(schema, Mapping) else None
    return schema


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
    """Whether null fits; of a schema that names types, only where one of them is null."""
    kinds = _kinds([*_branches(schema, whole)])
    return (not kinds or "null" in kinds) and not _Fit(whole).wrong(None, schema)


def _kinds(branches: Sequence[Mapping[str, Any]]) -> set[str]:
    """The types that alternatives of a schema name."""
    given = [one["type"] for one in branches if "type" in one]
    return {str(kind) for one in given for kind in (one if isinstance(one, list) else [one])}

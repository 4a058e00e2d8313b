"""Whether calls are those that were wanted, as BFCL compares them (Patil et al. 2025, Berkeley Function Calling
Leaderboard, "AST evaluation", Python).

    matches([("weather", {"city": "paris"})], [{"weather": {"city": ["Paris"], "unit": ["", "celsius"]}}], tools)

What is wanted lists for each argument the values that are right; "" among them says that it may be left out. Texts are
compared without letter case, spaces and , . / - _ * ^; whole numbers count as the same with a decimal point. Beside
BFCL's types there is JSON, whose values are compared so at any depth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Called = tuple[str, Mapping[str, Any]]
Wanted = Mapping[str, Mapping[str, list[Any]]]
_TYPES = {"string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list}
_TYPES |= {"dict": dict, "any": str}
JSON = "json"
"""The type of an argument that may be anything."""


def matches(calls: Sequence[Called], wanted: Sequence[Wanted], functions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each wanted call was made and no other, in whatever order. `functions` are described as BFCL describes
    them: name, and parameters with properties and required."""
    if len(calls) != len(wanted):
        return False
    described = {one["name"]: one["parameters"] for one in functions}
    left = list(calls)
    for one in wanted:
        [(name, values)] = one.items()
        fitting = (at for at, call in enumerate(left) if call[0] == name and _fits(call[1], values, described[name]))
        if (found := next(fitting, None)) is None:
            return False
        del left[found]
    return True


def _fits(arguments: Mapping[str, Any], wanted: Mapping[str, list[Any]], parameters: Mapping[str, Any]) -> bool:
    known = parameters["properties"]
    if not all(name in arguments for name in parameters.get("required", ())):
        return False
    if not all(name in known and name in wanted for name in arguments):
        return False
    if not all(name in arguments or "" in values for name, values in wanted.items()):
        return False
    return all(_right(value, wanted[name], known[name]) for name, value in arguments.items())


def _right(value: Any, wanted: list[Any], described: Mapping[str, Any]) -> bool:
    if described["type"] == JSON:
        return any(_same(value, one) for one in wanted)
    kind, inner = _TYPES[described["type"]], None
    if described["type"] in ("array", "tuple"):
        inner = _TYPES[described["items"]["type"]]
    if kind is float and type(value) is int:  # which may be too large for a float
        kind = int
    asked = _kind_of(wanted)
    if type(value) is not kind:  # a variable's name in place of a value: as what is wanted has it
        return asked is not None and type(value) is asked and value in wanted
    items: Any = value
    if inner is not None and not any(_items_are(items, one, inner) for one in wanted):
        return False
    return value in wanted if asked not in (None, kind) else _equal(value, wanted, inner)


def _equal(value: Any, wanted: list[Any], inner: type | None) -> bool:
    """Whether a value of the right type is one of those that are right."""
    if isinstance(value, dict):
        return any(_object(value, one) for one in wanted if one != "")
    if inner is dict:
        return any(_objects(value, one) for one in wanted if isinstance(one, list))
    if isinstance(value, list):
        return [_plain(one) for one in value] in [[_plain(item) for item in one] for one in wanted]
    return _plain(value) in [_plain(one) for one in wanted]


def _kind_of(wanted: Sequence[Any]) -> type | None:
    return next((type(one) for one in wanted if one != ""), None)


def _items_are(value: list[Any], wanted: Any, kind: type) -> bool:
    if not isinstance(wanted, list):
        return True
    return all(type(one) in (kind, _kind_of(wanted)) for one in value)


def _object(value: Mapping[str, Any], wanted: Mapping[str, list[Any]]) -> bool:
    given = all(key in wanted and _plain(one) in [_plain(right) for right in wanted[key]] for key, one in value.items())
    return given and all(key in value or "" in right for key, right in wanted.items())


def _objects(value: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return len(value) == len(wanted) and all(
        isinstance(one, Mapping) and _object(one, right) for one, right in zip(value, wanted, strict=True)
    )


def _same(value: Any, wanted: Any) -> bool:
    """Whether two JSON values are equal; true is no 1."""
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(_same(value[key], one) for key, one in wanted.items())
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(_plain(value) == _plain(wanted))


def _plain(value: Any) -> Any:
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value

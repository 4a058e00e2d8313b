"""Calls are compared as BFCL compares them, and asked for with the grammar and without it."""

from __future__ import annotations

import json

import pytest
import tiny
from touched_data import skip_without

from lmworks.evaluation.tasks.call_match import matches
from lmworks.evaluation.tasks.calling import calls_in, calls_scored, of_calls
from lmworks.evaluation.tasks.declaration import Calling
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.sets.function_calls import tool_of

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "share": {"type": "float"},
    "wet": {"type": "boolean"},
    "marks": {"type": "array", "items": {"type": "string"}},
    "sizes": {"type": "tuple", "items": {"type": "float"}},
    "box": {"type": "dict", "properties": {"x": {"type": "integer"}}},
    "boxes": {"type": "array", "items": {"type": "dict"}},
}
F = {"name": "f", "description": "F.", "parameters": {"type": "dict", "properties": PROPERTIES, "required": ["city"]}}
G = {"name": "g.h", "description": "G.", "parameters": {"type": "dict", "properties": {}}}
RIGHT = {"city": ["New York, NY", "NY"], "days": [2, ""], "share": [0.5, 2.0, ""], "wet": [True, ""]}
RIGHT |= {"marks": [["a-b", "C"], ""], "sizes": [[1.0, 2.5], ""], "box": [{"x": [1], "y": ["", 2]}, ""]}
RIGHT |= {"boxes": [[{"x": [1]}, {"x": [2, 3]}], ""]}


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"city": "new york ny"}, True),
        ({"city": "NY", "days": 2, "share": 2, "wet": True}, True),  # a whole number for one with a decimal point
        ({"city": "Paris"}, False),
        ({"days": 2}, False),  # one is missing
        ({"city": "NY", "hours": 2}, False),  # one too many
        ({"city": "NY", "days": 3}, False),
        ({"city": "NY", "days": 2.0}, False),  # not the other way round
        ({"city": "NY", "days": True}, False),
        ({"city": "NY", "days": "2"}, False),
        ({"city": "NY", "wet": 1}, False),
        ({"city": ["NY"]}, False),
        ({"city": "NY", "marks": ["A B", "c"]}, True),
        ({"city": "NY", "marks": ["c", "ab"]}, False),  # in another order
        ({"city": "NY", "sizes": [1.0, 2.5]}, True),
        ({"city": "NY", "box": {"x": 1}}, True),
        ({"city": "NY", "box": {"x": 1, "y": 2}}, True),
        ({"city": "NY", "box": {"y": 2}}, False),
        ({"city": "NY", "box": {"x": 1, "z": 2}}, False),
        ({"city": "NY", "boxes": [{"x": 1}, {"x": 3}]}, True),
        ({"city": "NY", "boxes": [{"x": 3}, {"x": 1}]}, False),
        ({"city": "NY", "boxes": [{"x": 1}]}, False),
    ],
)
def test_an_argument_is_right_as_bfcl_has_it(arguments, right):
    assert matches([("f", arguments)], [{"f": RIGHT}], [F, G]) is right


def test_as_many_calls_as_are_wanted_in_any_order():
    wanted = [{"f": {"city": ["NY"]}}, {"f": {"city": ["LA"]}}, {"g.h": {}}]
    calls = [("g.h", {}), ("f", {"city": "LA"}), ("f", {"city": "NY"})]
    assert matches(calls, wanted, [F, G]) and matches([], [], [F])
    assert not matches(calls[:2], wanted, [F, G]) and not matches([*calls, calls[0]], wanted, [F, G])
    assert not matches([calls[0], calls[1], calls[1]], wanted, [F, G])
    assert not matches([("h", {"city": "NY"})], wanted[:1], [F, G])
    one = {"f": {"city": ["NY"], "days": [2]}}  # equal in Python, and of different types
    assert not matches([("f", {"city": "NY", "days": 2.0}), ("f", {"city": "NY", "days": 2})], [one, one], [F])


def test_whatever_was_written_freely_is_read_as_well_as_it_can_be():
    call = '{"name": "f", "arguments": {"city": "NY"}}'
    found = [("f", {"city": "NY"})]
    assert calls_in(f"Sure!\n<tool_call>\n{call}\n</tool_call> Done.") == found
    assert calls_in(call) == calls_in(f"[{call}]") == calls_in(f"<tool_call>{call}") == found
    assert calls_in(f"<tool_call>{call}</tool_call><tool_call>[{call}]</tool_call>") == found * 2
    assert calls_in("It is 5.") == calls_in("<tool_call>f(city)</tool_call>") == calls_in('{"name": "f"}') == []


def test_an_item_is_asked_for_in_each_way():
    model = tiny.language_model(seed=4, context=2048)
    asked = ({"role": "user", "content": "Where?"},)
    items = [
        Calling("a", asked, (tool_of(G),), (G,), ({"g.h": {}},)),
        Calling("b", asked, (tool_of(F), tool_of(G)), (F, G), ()),
    ]
    called, not_called = calls_scored(model, items, 60)
    assert called.alike == {"held to the form": 0, "free": 0, "made to call": 1, "begun": 0}
    assert not_called.alike == {"held to the form": 1, "free": 1} and not_called.figures == [*not_called.alike]
    assert of_calls(items[1], {"held to the form": '{"name": "f", "arguments": {}}'}).alike == {"held to the form": 0}


def test_descriptions_become_json_schemas():
    schema = tool_of(F).schema
    assert {name: one["type"] for name, one in schema["properties"].items()} == {
        "city": "string",
        "days": "integer",
        "share": "number",
        "wet": "boolean",
        "marks": "array",
        "sizes": "array",
        "box": "object",
        "boxes": "array",
    }
    assert (schema["type"], schema["properties"]["boxes"]["items"]) == ("object", {"type": "object"})
    optional = {"type": "any", "optional": True, "default": None, "enum": ["a"]}
    assert tool_of(F | {"parameters": {"type": "dict", "properties": {"type": optional}}}).schema["properties"] == {
        "type": {"type": "string", "enum": ["a"]}
    }


@pytest.mark.parametrize(
    ("kind", "count"), [("simple", 400), ("multiple", 200), ("parallel", 200), ("irrelevance", 240)]
)
def test_the_sets_are_read_whole_and_their_own_answers_are_right(kind, count):
    skip_without(f"bfcl-{kind}", *([] if kind == "irrelevance" else [f"bfcl-{kind}-answers"]))
    items = find(f"bfcl-{kind}").items()
    assert len(items) == count and len({one.name for one in items}) == count
    json.dumps([tool_of(one).facts for item in items for one in item.functions])
    assert all(bool(one.wanted) is (kind != "irrelevance") for one in items)
    for item in items:
        calls = [(name, _first(wanted)) for one in item.wanted for name, wanted in one.items()]
        if not any(isinstance(value, dict | list) for _, values in calls for value in values.values()):
            required = [one["parameters"].get("required", []) for one in item.functions]
            if all(set(needed) <= set(values) for needed in required[:1] for _, values in calls):
                assert kind == "multiple" or matches(calls, item.wanted, item.functions), item.name
        assert not calls or not matches(calls[1:], item.wanted, item.functions)


def _first(wanted):
    return {name: values[0] for name, values in wanted.items() if "" not in values}

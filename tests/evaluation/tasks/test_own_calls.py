"""Conversations of one's own that call tools, as a task: each answer is an item, and its own calls are right."""

from __future__ import annotations

import csv
import json

import pytest
import tiny

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.tasks.call_match import matches
from lmworks.evaluation.tasks.measured import measurements
from lmworks.evaluation.tasks.own import own_task
from lmworks.evaluation.tasks.own_calls import MORE, longest
from lmworks.evaluation.tasks.run import AskedTask, run
from lmworks.text.sources import read

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "share": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "at": {"type": "object"},
        "any": {},
    },
}
TOOLS = [{"name": "weather", "parameters": SCHEMA}, {"name": "stop"}]
ARGUMENTS = {"city": "Köln", "days": 2, "share": 1, "tags": ["a"], "at": {"x": 1}, "any": None}
ASKED = {"role": "user", "content": "Köln?"}
CALLED = {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": ARGUMENTS}]}
RECORD = {
    "tools": TOOLS,
    "messages": [ASKED, CALLED, {"role": "tool", "content": "Rain."}, {"role": "assistant", "content": "It rains."}],
}


def _task(tmp_path, *records):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return own_task(path)


def test_each_answer_of_a_conversation_is_asked_for(tmp_path):
    task = _task(tmp_path, RECORD, RECORD | {"messages": [ASKED, CALLED | {"weight": 0}, *RECORD["messages"][2:]]})
    items = list(task.items())
    assert [one.name for one in items] == ["mine.jsonl#1.1", "mine.jsonl#1.2", "mine.jsonl#2"]
    assert [len(one.messages) for one in items] == [1, 3, 3] and [len(one.wanted) for one in items] == [1, 0, 0]
    assert task.clustered and [one.name for one in items[0].tools] == ["weather", "stop"]
    assert items[1].messages[1]["tool_calls"] == [{"type": "function", "function": CALLED["tool_calls"][0]}]


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"city": "köln"}, True),
        ({"city": "Bonn"}, False),
        ({"days": 3}, False),
        ({"days": "2"}, False),
        ({"share": 1.0}, True),
        ({"tags": ["b"]}, False),
        ({"at": {"x": 2}}, False),
        ({"any": 0}, False),
        ({"tags": ["A."]}, True),
        ({"at": {"x": 1.0}}, True),
        ({"at": {"x": True}}, False),
        ({"at": {"x": 1, "y": 1}}, False),
        ({"share": 10**400}, False),
        ({"days": True}, False),
        ({"more": 1}, False),
    ],
)
def test_a_call_is_right_that_says_the_same(tmp_path, change, right):
    [item, _] = _task(tmp_path, RECORD).items()
    assert matches([("weather", ARGUMENTS | change)], item.wanted, item.functions) is right
    assert not matches([("stop", {})], item.wanted, item.functions) and not matches([], item.wanted, item.functions)
    assert not matches([("weather", {"city": "Köln"})], item.wanted, item.functions)


def _item(tmp_path, schema, arguments):
    calls = [{"name": "f", "arguments": arguments}]
    record = {"tools": [{"name": "f", "parameters": schema}], "parallel_tool_calls": False}
    [item] = _task(tmp_path, record | {"messages": [ASKED, {"role": "assistant", "tool_calls": calls}]}).items()
    return item


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"properties": {"a": {"type": "string"}}, "additionalProperties": True}, {"a": "x", "b": 1}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"type": "string"}}}}},
            {"a": "x"},
        ),
        ({"properties": {"a": {"type": ["number", "null"]}}, "required": True}, {"a": 2}),
        ({"properties": {"a": {"type": "string"}}}, {"a": ""}),
        ({"properties": {"a": {}}}, {"a": ""}),
    ],
)
def test_an_argument_that_stands_in_the_record_is_right_and_may_not_be_missing(tmp_path, schema, arguments):
    """Named by the schema or not, and the empty text too."""
    item = _item(tmp_path, schema, arguments)
    assert matches([("f", arguments)], item.wanted, item.functions)
    assert not matches([("f", {})], item.wanted, item.functions)
    assert not matches([("f", arguments | {"a": "other"})], item.wanted, item.functions)


def test_an_answer_has_room_for_what_is_wanted(tmp_path):
    """A Chinese character may be three tokens, and a digit is one."""
    schema = {"properties": {"a": {"type": "string"}}}
    for text, tokens in (("x" * 100, 50), ("天" * 100, 300), ("7" * 100, 100)):
        room = longest([_item(tmp_path, schema, {"a": text})])
        assert MORE + tokens <= room < MORE + tokens + 20


def test_a_model_is_asked_with_the_tools_of_the_record(tmp_path):
    stop = {"tools": TOOLS[1:], "messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "stop"}]}]}
    [found] = run(tiny.language_model(seed=4, context=2048), AskedTask.of(_task(tmp_path, stop)))
    assert found.alike == {"held to the form": 0, "free": 0, "made to call": 1, "begun": 0}


def test_what_cannot_be_asked_for_is_named(tmp_path):
    long = {"tools": [TOOLS[1] | {"description": "x " * 4000}], "messages": [ASKED, RECORD["messages"][3]]}
    task = _task(tmp_path, RECORD, long)
    with pytest.raises(ConfigError, match=r"mine\.jsonl#2: the prompt has"):
        run(tiny.language_model(seed=4, context=2048), AskedTask.of(task))


@pytest.mark.parametrize("words_first", [False, True])
def test_where_some_answers_are_words_calls_are_asked_for_in_the_others(tmp_path, words_first):
    """As in every conversation that goes on after a call."""
    record = RECORD | {"tools": TOOLS[1:], "messages": [ASKED, CALLED, *RECORD["messages"][2:]]}
    record["messages"][1] = {"role": "assistant", "tool_calls": [{"name": "stop"}]}
    words = record | {"messages": [ASKED, RECORD["messages"][3]]}
    task = _task(tmp_path, *([words, record] if words_first else [record, words]))
    found = run(tiny.language_model(seed=4, context=2048), AskedTask.of(task))
    figures = {one.name.removeprefix("mine, "): one for one in measurements(task, found, "mine")}
    assert {name: one.n for name, one in figures.items()} == {
        "held to the form": 3,
        "free": 3,
        "made to call": 1,
        "begun": 1,
    }
    assert figures["made to call"].value == 1 and figures["held to the form"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"messages": RECORD["messages"][2:]}, r"mine.jsonl#1 has no `tools`"),
        (RECORD | {"messages": [ASKED]}, "has no assistant's turn that answers something"),
        (RECORD | {"messages": "x"}, "mine.jsonl#1: `messages` is not a list of turns"),
        (
            {"tools": [{"name": "a b"}], "messages": [ASKED, RECORD["messages"][3]]},
            "mine.jsonl#1: the tool's name 'a b' is none",
        ),
        (RECORD | {"tools": TOOLS[1:]}, "calls weather, and the tools are stop"),
        (RECORD | {"answer": "x"}, "mine.jsonl#1 has `answer` beside a conversation"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(tmp_path, record, sentence):
    with pytest.raises(DataError, match=sentence):
        _task(tmp_path, record)


@pytest.mark.parametrize("between", [",", ";"])
def test_a_table_whose_cells_hold_conversations_is_asked_as_it_is_learnt(tmp_path, between):
    path = tmp_path / "mine.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=between)
        rows.writerow(["messages", "tools", "note"])
        for asked in (ASKED, ASKED | {"content": "x" * 200_000}):
            rows.writerow([json.dumps([asked, *RECORD["messages"][1:]]), json.dumps(TOOLS), "mine"])
    items = own_task(path).items()
    assert [one.name.partition("#")[0] for one in items] == ["mine.csv"] * 4
    [learnt, _] = read(path).documents
    assert items[1].messages == learnt.messages[:3] and [one.name for one in items[1].tools] == ["weather", "stop"]


def test_beside_conversations_with_tools_others_are_left_out_and_counted(tmp_path):
    stop = {"tools": TOOLS[1:], "messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "stop"}]}]}
    plain, silent = {"messages": [ASKED, RECORD["messages"][3]]}, {"tools": TOOLS, "messages": [ASKED]}
    task = _task(tmp_path, plain, stop, silent, plain)
    assert [one.name for one in task.items()] == ["mine.jsonl#2"]
    assert task.left_out.startswith("3 other conversations left out; the first: mine.jsonl#1 has no `tools`")
    with pytest.warns(UserWarning, match=r"^mine.jsonl: 3 other conversations left out"):
        run(tiny.language_model(seed=4, context=2048), AskedTask.of(task))
    assert not _task(tmp_path, stop).left_out
    with pytest.raises(DataError, match=r"mine.jsonl#1 has no `tools`"):
        _task(tmp_path, plain, silent)
    with pytest.raises(DataError, match=r"mine.jsonl#1 has no `tools`"):
        _task(tmp_path, plain, {"question": "Who?", "answer": "Ann"})


def test_questions_and_conversations_do_not_mix(tmp_path):
    with pytest.raises(DataError, match=r"mine.jsonl#2 is a question and mine.jsonl#1.1 a conversation"):
        _task(tmp_path, RECORD, {"question": "Who?", "answer": "Ann"})

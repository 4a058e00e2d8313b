"""Calls of tools in records: every public layout is one document, and what is wrong in one is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmworks.text import argument_schema
from lmworks.text.document import Document, rewritten
from lmworks.text.plain import UnreadableError
from lmworks.text.records import document
from lmworks.text.sources import read
from lmworks.text.tool import Tool

SCHEMA = {
    "type": "object",
    "properties": {
        "place": {"type": "object", "properties": {"city": {"type": "string"}, "country": {"type": "string"}}},
        "days": {"type": "integer"},
    },
}
FUNCTION = {"name": "weather", "description": "The weather in a city.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
GIVEN = {"days": 2, "place": {"country": "DE", "city": "Köln"}}
ORDERED = {"place": {"city": "Köln", "country": "DE"}, "days": 2}
CALL = {"type": "function", "function": {"name": "weather", "arguments": ORDERED}}
ASKED, RESULT, ANSWER = "Köln?", "It rains.", "Rain."
TURNS = (
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": RESULT},
    {"role": "assistant", "content": ANSWER},
)
OPENAI = {
    "tools": TOOLS,
    "messages": [
        {"role": "user", "content": ASKED},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(GIVEN)}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": RESULT},
        {"role": "assistant", "content": ANSWER},
    ],
}
OLD = {
    "functions": [FUNCTION],
    "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "function_call": {"name": "weather", "arguments": json.dumps(GIVEN)}},
        {"role": "function", "name": "weather", "content": RESULT},
        {"role": "assistant", "content": ANSWER},
    ],
}
SHAREGPT = {
    "tools": json.dumps([FUNCTION]),
    "conversations": [
        {"from": "human", "value": ASKED},
        {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": GIVEN})},
        {"from": "observation", "value": RESULT},
        {"from": "gpt", "value": ANSWER},
    ],
}
HERMES = {
    "tools": [FUNCTION],
    "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "arguments": GIVEN}]},
        {"role": "tool", "content": RESULT},
        {"role": "assistant", "content": ANSWER},
    ],
}


@pytest.mark.parametrize("record", [OPENAI, OLD, SHAREGPT, HERMES], ids=["OpenAI", "of 2023", "ShareGPT", "Hermes"])
def test_every_layout_is_the_same_document_with_arguments_in_the_schemas_order(record):
    """In their own order an answer that is held to the schema could not write them."""
    found = document(record, "x#1")
    assert found.messages == TURNS and found.tools == tuple(TOOLS)
    assert json.dumps(found.messages) == json.dumps(TURNS)
    assert found.text == f"{ASKED}\n\n{json.dumps(CALL['function'], ensure_ascii=False)}\n\n{RESULT}\n\n{ANSWER}"


def test_a_record_comes_back_whole_and_other_tools_make_another_document():
    found = document(OPENAI, "x#1")
    assert document(json.loads(json.dumps(found.record)), "x#1") == found
    alone = Document.conversation(TURNS, "x#1")
    assert alone.text == found.text and alone.hash != found.hash
    pair = {"prompt": TURNS[:1], "chosen": TURNS[1:2], "rejected": [{"role": "assistant", "content": "No."}]}
    both = document(json.loads(json.dumps(pair | {"tools": TOOLS})), "x#1")
    assert both.messages[-1] == TURNS[1] and both.tools == tuple(TOOLS)
    assert document(json.loads(json.dumps(both.record)), "x#1") == both


def test_a_parquet_file_and_a_line_are_read_alike(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    record = OPENAI | {"tools": json.dumps(TOOLS)}
    parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(json.dumps(OPENAI) + "\n", encoding="utf-8")
    first, second = read(tmp_path).documents
    assert first.messages == second.messages == TURNS and first.tools == second.tools == tuple(TOOLS)


def test_what_is_changed_in_words_is_changed_in_calls_and_not_in_their_names():
    turn = rewritten(TURNS[1], lambda text: text.replace("Köln", "Bonn").replace("city", "X").replace("weather", "X"))
    [call] = turn["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": ORDERED | {"place": {"city": "Bonn", "country": "DE"}}}
    assert TURNS[1]["tool_calls"] == [CALL]


NEEDS = {"name": "stop", "parameters": {"properties": {"when": {"type": "string"}}, "required": ["when"]}}

ONE = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": False}
PICKS = {
    "name": "pick",
    "parameters": {
        "properties": {
            "size": {"anyOf": [{"type": "string", "enum": ["S", "L"]}, {"type": "null"}]},
            "many": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/One"}}, {"type": "null"}]},
        },
        "$defs": {"One": ONE},
    },
}
WHOLE = {"$ref": "#/$defs/N"}
DOTTED = {
    "name": "dot",
    "parameters": {
        "properties": {"a": {"type": "object", "properties": {"b": WHOLE}}, "a.b": WHOLE},
        "$defs": {"N": {"type": "integer"}},
    },
}
STRICT = NEEDS | {"parameters": NEEDS["parameters"] | {"additionalProperties": False}}


def _calling(tools=TOOLS, **changed):
    return {"tools": tools, "messages": [OPENAI["messages"][0], {"role": "assistant"} | changed]}


def test_a_schema_that_names_not_all_of_its_arguments_allows_others():
    opened = NEEDS | {"parameters": NEEDS["parameters"] | {"additionalProperties": True}}
    record = _calling(tools=[opened], tool_calls=[{"name": "stop", "arguments": {"at": 1, "when": "now"}}])
    [call] = document(record, "x").messages[1]["tool_calls"]
    assert list(call["function"]["arguments"]) == ["when", "at"]


def test_values_are_held_to_schemas_that_go_in_circles_or_branch_without_end():
    """Each schema is looked at once for each place."""
    both = [
        {"$ref": "#/$defs/T"},
        {"$ref": "#/$defs/T"},
        {"type": "object", "properties": {"in": {"$ref": "#/$defs/T"}}, "required": ["x"]},
    ]
    tree = {"type": "object", "properties": {"in": {"anyOf": both}}, "required": ["in"]}
    tool = {"name": "f", "parameters": {"properties": {"a": {"anyOf": both}}, "$defs": {"T": tree}}}
    deep: object = 3
    for _ in range(25):
        deep = {"in": deep}
    with pytest.raises(UnreadableError, match=r"calls f with `a(\.in)+` as 3, and its schema takes object"):
        document(_calling(tools=[tool], tool_calls=[{"name": "f", "arguments": {"a": deep}}]), "x")
    chain = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}]} for at in range(1000)}
    tool = {"name": "f", "parameters": {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": chain}}
    document(_calling(tools=[tool], tool_calls=[{"name": "f", "arguments": {"a": 1}}]), "x")
    for key in ("anyOf", "allOf"):  # 30 ** 5 ways into one schema
        wide = {key: [{"$ref": "#/$defs/w"}] * 30 + [{"type": "integer"}]}
        tool = {"name": "f", "parameters": {"properties": {"a": wide}, "$defs": {"w": wide}}}
        document(_calling(tools=[tool], tool_calls=[{"name": "f", "arguments": {"a": 1}}]), "x")


def test_what_fits_is_not_described(monkeypatch: pytest.MonkeyPatch):
    """A list of 3,000 values, each one of 3,000 that are listed, took 13 seconds."""
    monkeypatch.setattr(argument_schema, "shortened", None)
    units = {"type": "array", "items": {"enum": ["m", "km"]}}
    tool = {"name": "f", "parameters": {"properties": {"units": units}}}
    document(_calling(tools=[tool], tool_calls=[{"name": "f", "arguments": {"units": ["km", "m"]}}]), "x")


def test_what_a_schema_requires_is_a_list_of_names_and_a_number_may_be_long():
    """A schema of another draft of JSON schema is the grammar's business."""
    for required in (True, "when", [["when"]]):
        odd = NEEDS | {"parameters": NEEDS["parameters"] | {"required": required}}
        document(_calling(tools=[odd], tool_calls=[{"name": "stop"}]), "x")
    long = _calling(tool_calls=[{"name": "weather", "arguments": f'{{"days": {"9" * 400}}}'}])
    assert document(long, "x").messages[1]["tool_calls"][0]["function"]["arguments"] == {"days": int("9" * 400)}


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            _calling(tool_calls=[{"function": {"name": "wether", "arguments": {}}}]),
            "calls wether, and the tools are weather",
        ),
        (_calling(tool_calls=[{"function": {"name": "weather", "arguments": "{"}}]), r"\.arguments is no JSON"),
        (
            _calling(tool_calls=[{"function": {"name": "weather", "arguments": [1]}}]),
            r"arguments is no object, or JSON",
        ),
        (_calling(tool_calls=[{"function": {"arguments": {}}}]), r"tool_calls\[0\] is no call with a `name`"),
        (_calling(tool_calls=["weather()"]), r"tool_calls\[0\] is no call with a `name`"),
        (_calling(tool_calls="weather()"), r"messages\[1\]\.tool_calls is no JSON"),
        (_calling(tool_calls=[]), r"messages\[1\]\.content is missing"),
        (_calling(content=" ", tool_calls=None), r"messages\[1\] is an answer that says nothing"),
        (
            _calling(role="user", content="x", function_call={"name": "weather"}),
            "its role is user; only an assistant does",
        ),
        (
            _calling(tool_calls=[{"name": "weather", "arguments": {"town": 1}}]),
            "calls weather with `town`, and its arguments are place, days",
        ),
        (
            _calling(tools=[{"name": "stop"}], tool_calls=[{"name": "stop", "arguments": {"now": 1}}]),
            "stop with `now`, and it has no arguments",
        ),
        (
            _calling(tools=[NEEDS], tool_calls=[{"name": "stop", "arguments": {}}]),
            "calls stop without `when`, which it requires",
        ),
        (OPENAI | {"tools": [{"name": "a b"}]}, "the tool's name 'a b' is none"),
        (OPENAI | {"tools": [FUNCTION, FUNCTION]}, "two tools are called weather"),
        (
            OPENAI | {"tools": [FUNCTION | {"parameters": {"type": "dict"}}]},
            "parameters of the tool weather describe no object",
        ),
        (OPENAI | {"tools": {"name": "x"}}, "`tools` is not a list of tools"),
        (OPENAI | {"tools": ["x"]}, r"tools\[0\] is no tool with a `name`"),
        (
            _calling(tools=[STRICT], tool_calls=[{"name": "stop", "arguments": {"when": "now", "at": 1}}]),
            "calls stop with `at`, and its arguments are when",
        ),
        (_calling(tools=[STRICT], tool_calls=[{"name": "stop"}]), "calls stop without `when`"),
        (
            _calling(tools=[NEEDS], tool_calls=[{"name": "stop", "arguments": {"when": None}}]),
            "calls stop without `when`",
        ),
        (
            _calling(content='<tool_call>{"name": "weather"}</tool_call> So.'),
            r"messages\[1\] goes on with words after a call",
        ),
        (_calling(content="<tool_call>{</tool_call>"), r"a call in messages\[1\] is no JSON"),
        (
            _calling(tool_calls=[{"name": "weather", "arguments": {"days": "two"}}]),
            r"tool_calls\[0\] calls weather with `days` as 'two', and its schema takes integer$",
        ),
        (
            _calling(tool_calls=[{"name": "weather", "arguments": {"place": {"city": 3}}}]),
            "with `place.city` as 3, and its schema takes string",
        ),
        (
            _calling(tools=[PICKS], tool_calls=[{"name": "pick", "arguments": {"size": "XL"}}]),
            'with `size` as \'XL\', and its schema takes "S", "L", null$',
        ),
        (
            _calling(tools=[PICKS], tool_calls=[{"name": "pick", "arguments": {"many": [{"a": 1}, {"a": 1, "b": 2}]}}]),
            r"with `many\[1\].b`, which its schema does not name",
        ),
        (
            _calling(tools=[PICKS], tool_calls=[{"name": "pick", "arguments": {"many": [{}]}}]),
            r"with `many\[0\]` without `a`, which it requires",
        ),
        (
            _calling(tools=[DOTTED], tool_calls=[{"name": "dot", "arguments": {"a": {"b": 1}, "a.b": "x"}}]),
            r"with `a\.b` as 'x', and its schema takes integer",
        ),
        (OPENAI | {"tools": [FUNCTION | {"description": "\ud83d"}]}, "`tools` holds half of a surrogate pair"),
        (
            _calling(tool_calls=[{"name": "weather", "arguments": '{"days": NaN}'}]),
            "a number that is none, which is no JSON",
        ),
    ],
)
def test_what_is_wrong_in_a_call_is_one_sentence(record, sentence):
    with pytest.raises(UnreadableError, match=sentence):
        document(record, "x#1")


def test_no_tools_and_no_calls_may_be_written_as_json():
    asked = {"role": "user", "content": "Hi."}
    for nothing in ("[]", "null", None, []):
        said = {"role": "assistant", "content": "Hello.", "tool_calls": nothing}
        assert document({"tools": nothing, "messages": [asked, said]}, "x").messages[1:] == (
            {"role": "assistant", "content": "Hello."},
        )
    for nothing in ("null", "", "{}", None):
        [call] = document(_calling(tool_calls=[{"name": "weather", "arguments": nothing}]), "x").messages[1][
            "tool_calls"
        ]
        assert call["function"]["arguments"] == {}


def test_what_a_table_fills_in_is_no_argument_and_no_schema(tmp_path: Path):
    """The rows of a table have the fields of all tools: with None a schema is none that the grammar follows."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    nothing = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    calls = [{"function": {"name": "now", "arguments": {}}}, {"function": {"name": "weather", "arguments": GIVEN}}]
    record = OPENAI | {"tools": [*TOOLS, nothing, {"function": NEEDS}]}
    record["messages"] = [OPENAI["messages"][0], {"role": "assistant", "tool_calls": calls}]
    parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    filled, plain = read(tmp_path).documents
    assert filled.messages == plain.messages
    for one, other in zip(filled.tools, plain.tools, strict=True):
        assert Tool.of(one) == Tool.of(other)


def test_null_stays_where_the_schema_lets_it_and_a_default_may_be_null():
    either = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    properties = {"a": either, "b": {"type": ["integer", "null"]}, "c": {"type": "string"}, "d": {}}
    tool = {"name": "f", "parameters": {"type": "object", "properties": properties}}
    given = {"d": None, "c": None, "b": None, "a": None}
    found = document(_calling(tools=[tool], tool_calls=[{"name": "f", "arguments": given}]), "x")
    [call] = found.messages[1]["tool_calls"]
    assert json.dumps(call["function"]["arguments"]) == '{"a": null, "b": null, "d": null}'
    assert found.tools[0]["function"] == tool


def test_null_is_what_a_table_fills_in_where_values_are_listed_or_described_by_parts():
    """As pydantic writes an argument with a default, whose type stands in a definition."""
    unit = {"allOf": [{"$ref": "#/$defs/Unit"}], "default": "C"}
    properties = {"unit": unit, "of": {"enum": ["a", "b"]}, "is": {"const": 1}, "or": {"enum": ["a", None]}}
    properties["by"] = {"type": "object", "additionalProperties": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "$defs": {"Unit": {"type": "string", "enum": ["C", "F"]}}}
    given = dict.fromkeys(("unit", "of", "is", "or")) | {"by": {"x": 1, "y": None}}
    record = _calling(tools=[{"name": "f", "parameters": schema}], tool_calls=[{"name": "f", "arguments": given}])
    [call] = document(record, "x").messages[1]["tool_calls"]
    assert call["function"]["arguments"] == {"or": None, "by": {"x": 1}}


def test_the_order_of_arguments_is_found_behind_references_and_alternatives():
    """As pydantic writes a model inside a model, and one that may be left out."""
    place = FUNCTION["parameters"]["properties"]["place"]
    properties = {
        "one": {"$ref": "#/$defs/Place"},
        "other": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        "itself": {"anyOf": [{"$ref": "#/properties/itself"}]},
        "days": {"type": "integer"},
    }
    tool = {"name": "f", "parameters": {"type": "object", "properties": properties, "$defs": {"Place": place}}}
    given = {"days": 2.0, "itself": {"b": 1}, "other": GIVEN["place"], "one": GIVEN["place"]}
    found = document(_calling(tools=[tool], tool_calls=[{"name": "f", "arguments": given}]), "x")
    [call] = found.messages[1]["tool_calls"]
    ordered = ORDERED["place"]
    expected = {"one": ordered, "other": ordered, "itself": {"b": 1}, "days": 2}
    assert json.dumps(call["function"]["arguments"]) == json.dumps(expected)


def test_calls_and_results_that_stand_in_words_are_calls_and_results():
    """As Hermes' conversations have them: learnt as words they would be asked for as answers that call nothing."""
    call = json.dumps({"arguments": GIVEN, "name": "weather"})
    turns = [
        {"from": "human", "value": ASKED},
        {"from": "gpt", "value": f"I look.\n<tool_call>\n{call}\n</tool_call>\n<tool_call>\n{call}\n</tool_call>"},
        {"from": "tool", "value": f"<tool_response>\n{RESULT}\n</tool_response>\n<tool_response>2</tool_response>"},
        {"from": "gpt", "value": ANSWER},
    ]
    found = document({"tools": TOOLS, "conversations": turns}, "x").messages
    assert found[1] == {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CALL]}
    assert found[2:] == (TURNS[2], TURNS[2] | {"content": "2"}, TURNS[3])
    assert "tool_calls" not in document({"conversations": turns}, "x").messages[1]  # of no tool that a model is shown


def test_a_result_may_be_an_object_and_white_space_beside_a_call_says_nothing():
    turns = [ASKED, {"content": " \n", "tool_calls": [{"name": "weather", "arguments": {}}]}, {"content": {"t": "ä"}}]
    record = {"tools": TOOLS, "messages": [OPENAI["messages"][0], {"role": "assistant"} | turns[1], {"role": "tool"}]}
    record["messages"][2] |= turns[2]
    found = document(record, "x").messages
    assert found[1]["content"] == "" and found[2] == {"role": "tool", "content": '{"t": "ä"}'}


def test_arguments_that_lie_deep_in_one_another_are_told():
    deep: dict = {}
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(UnreadableError, match="lists more than 32 deep"):
        document(_calling(tool_calls=[{"name": "weather", "arguments": {"place": deep}}]), "x#1")


def test_a_developers_words_are_read_as_the_server_reads_them():
    turns = [{"role": "developer", "content": "Be short."}, *OPENAI["messages"]]
    assert document({"messages": turns, "tools": TOOLS}, "x").messages[0] == {"role": "system", "content": "Be short."}

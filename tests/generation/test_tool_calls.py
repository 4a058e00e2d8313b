"""Answers that call functions: whatever a network would write, the calls have the form and the schema's arguments."""

from __future__ import annotations

import json

import pytest
import tiny

from lmworks.basics.errors import ConfigError
from lmworks.generation.engine import Engine
from lmworks.generation.strategies import Sample
from lmworks.generation.tool_calls import Called, CallReader, Tools
from lmworks.language_model import LanguageModel
from lmworks.text.plain import UnreadableError
from lmworks.text.records import document
from lmworks.text.tool import Tool
from lmworks.tokens.chat.tools import call_text, read_tools

pytest.importorskip("llguidance", reason="pip install 'lmworks[serve]'")
jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")

BOOK = Tool(
    "book.room",
    'A room in "a house".',
    {
        "type": "object",
        "properties": {
            "nights": {"type": "integer", "minimum": 1, "maximum": 9},
            "view": {"enum": ["sea", '{["}']},
            "for": {"$ref": "#/$defs/guest"},
        },
        "required": ["nights", "view"],
        "$defs": {"guest": {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}}},
    },
)
STOP = Tool("stop", "Ends it.")
ASKED = [{"role": "user", "content": "A room?"}]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(seed=4, context=2048)


@pytest.mark.parametrize(("choice", "parallel"), [("required", True), ("required", False), ("book.room", True)])
def test_a_random_network_writes_calls_of_the_schema(model, choice, parallel):
    tools = Tools([BOOK, STOP], choice, parallel)
    for seed in range(4):
        answer = model.generate(ASKED, Sample(temperature=2.0, seed=seed), tools=tools, max_new_tokens=1500)
        called = Called.of(answer.text)
        assert called.whole is (answer.finish == "stop") and called.content == "" and called.calls == answer.calls
        for call in called.calls[: None if called.whole else -1]:
            jsonschema.validate(call.value, {"book.room": BOOK, "stop": STOP}[call.name].schema)
        assert 1 <= len(called.calls) <= (16 if parallel and choice == "required" else 1)
        assert choice == "required" or {call.name for call in called.calls} == {choice}


def test_words_may_come_before_calls_and_never_half_a_call(model):
    """What opens a call in an answer that may call leads to a whole one."""
    guide = Tools([BOOK, STOP]).start(model.tokenizer, model.config.vocab_size)
    ends = min(model.tokenizer.stop_ids)
    for token in model.tokenizer.encode("Well <tool_cal, <tool", special=False):
        guide.accept(token)
    assert guide.look()[ends]
    for token in model.tokenizer.encode("_call>", special=False):
        guide.accept(token)
    assert not guide.look()[ends]
    rest = '\n{"name": "stop", "arguments": {}}\n</tool_call>'
    for token in model.tokenizer.encode(rest, special=False):
        assert guide.look()[token]
        guide.accept(token)
    assert guide.look()[ends]


def test_arguments_are_an_object_where_the_schema_does_not_say_so(model):
    tools = Tools([Tool("f", "", {"properties": {"a": {"type": "string"}}})], "required")
    guide = tools.start(model.tokenizer, model.config.vocab_size)
    for token in model.tokenizer.encode('<tool_call>\n{"name": "f", "arguments": ', special=False):
        assert guide.look()[token]
        guide.accept(token)
    [three], [opened] = (model.tokenizer.encode(one, special=False) for one in "3{")
    assert guide.look()[opened] and not guide.look()[three]


TREE = {"type": "object", "properties": {"in": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}}
PAIR = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
SCHEMAS = [
    {"type": "integer"},
    {"type": "number"},
    {"type": "string"},
    {"type": "boolean"},
    {"type": ["integer", "string"]},
    {"enum": [1, "a", None]},
    {"const": True},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"anyOf": [{"type": "integer"}], "enum": [1, 2]},
    {"allOf": [{"type": "integer"}, {"enum": [1, 2]}]},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
    {"items": {"type": "string"}},
    {"properties": {"a": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
    {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
    {"$ref": "#/$defs/tree"},
    {"allOf": [{"$ref": "#/$defs/pair"}], "default": None},
    {"type": "object", "properties": {"b": {"type": "integer"}}, "allOf": [{"$ref": "#/$defs/pair"}]},
    {"type": "object", "allOf": [{"properties": {"a": {"type": "integer"}}}, {"anyOf": [{"$ref": "#/$defs/pair"}]}]},
    {"type": "array", "prefixItems": [{"$ref": "#/$defs/pair"}, {"type": "integer"}]},
    {"type": "object", "additionalProperties": {"$ref": "#/$defs/pair"}},
    {"enum": [1, 2, {"a": 1, "b": 2}]},
    {},
]
VALUES = [
    *(0, 1, 3, 2.5, 10**30, "a", "1", True, None, [], [1], ["a"], ["a", 1], {}, {"a": "x"}, {"a": 1}),
    *({"b": 1}, {"b": "x"}, {"a": "x", "b": 1}, {"in": {"in": None}}, {"in": {"in": 3}}),
    *(1.0, {"b": 2, "a": 1.0}, {"b": 2, "a": None}, [{"b": 2, "a": 1}, 1.0], {"c": {"b": 2, "a": 1}}),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_a_call_is_learnt_if_the_grammar_could_write_it(model, schema):
    tool = Tool("f", "", {"type": "object", "properties": {"x": schema}, "$defs": {"tree": TREE, "pair": PAIR}})
    start = Tools([tool], "f").start(model.tokenizer, model.config.vocab_size)
    for value in VALUES:
        call = {"name": "f", "arguments": {"x": value}}
        try:
            learnt = document(
                {"messages": [*ASKED, {"role": "assistant", "tool_calls": [call]}], "tools": [tool.facts]}, ""
            )
        except UnreadableError:
            learnt = None
        arguments = {"x": value} if learnt is None else learnt.messages[1]["tool_calls"][0]["function"]["arguments"]
        guide = start.copy()
        written = all(_accepts(guide, one) for one in model.tokenizer.encode(call_text("f", arguments), special=False))
        assert written is (learnt is not None), value


def _accepts(guide, token: int) -> bool:
    if allowed := bool(guide.look()[token]):
        guide.accept(token)
    return allowed


TEXTS = {
    "words": "No call < here.\n",
    "calls": 'Yes: \n\n<tool_call>\n{"name": "a", "arguments": {"x": "}\\"</tool_call>", "y": [{}]}}\n</tool_call>\n'
    '<tool_call>\n{"name": "b", "arguments": {}}\n</tool_call>',
    "cut": '<tool_call>\n{"name": "a", "arguments": {"x": "}',
    "cut before": '<tool_call>\n{"name": "a',
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_told_of_a_growing_answer_is_what_is_told_of_the_whole(text):
    whole = Called.of(TEXTS[text])
    for size in (1, 2, 3, 7, 20):
        reader = CallReader()
        pieces = [
            piece for at in range(0, len(TEXTS[text]), size) for piece in reader.read(TEXTS[text][at : at + size])
        ]
        pieces += reader.end()
        assert "".join(piece.content for piece in pieces) == whole.content
        for number, call in enumerate(whole.calls):
            mine = [piece for piece in pieces if piece.call == number]
            assert [piece.name for piece in mine if piece.name] == [call.name]
            assert "".join(piece.arguments for piece in mine) == call.arguments
        assert reader.cut is not whole.whole


def test_calls_are_read_with_their_arguments():
    called = Called.of(TEXTS["calls"])
    assert (called.content, called.whole) == ("Yes:", True)
    assert [(call.name, call.value) for call in called.calls] == [
        ("a", {"x": '}"</tool_call>', "y": [{}]}),
        ("b", {}),
    ]
    assert Called.of(TEXTS["words"]) == Called(TEXTS["words"])
    cut = Called.of(TEXTS["cut"])
    assert (cut.whole, cut.calls[0].arguments) == (False, '{"x": "}')
    with pytest.raises(ConfigError, match="the arguments of a were cut off with the answer"):
        _ = cut.calls[0].value


def test_no_choice_shows_no_tools_and_an_engine_takes_them(model):
    plain = model.generate(ASKED, max_new_tokens=8)
    none = model.generate(ASKED, max_new_tokens=8, tools=Tools([BOOK], "none"))
    assert (none, none.prompt, none.calls) == (plain, plain.prompt, [])
    with Engine(model, seats=2) as engine:
        answer = engine.submit(ASKED, tools=Tools([STOP], "required", parallel=False), max_new_tokens=80).answer()
    assert [(call.name, call.value) for call in answer.calls] == [("stop", {})]


def loop(depth: int) -> dict:
    inner: dict = {"type": "string"}
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": inner}}
    return inner


HOSTILE = {
    "no object": (lambda: Tool("f", "", {"type": "string"}), "the parameters of the tool f describe no object"),
    "a name": (lambda: Tool('f"}', ""), "the tool's name 'f\"}' is none"),
    "a long name": (lambda: Tool("f" * 65), "is none; a name has 1 to 64"),
    "nested": (lambda: Tool("f", "", loop(40)), "nested more than 32 deep"),
    "large": (lambda: Tool("f", "", {"description": "x" * 70_000}), "has 70,1.. characters as JSON; at most 65,536"),
    "not JSON": (lambda: Tool("f", "", {"default": object()}), "the parameters of the tool f are no JSON"),
    "no tool": (lambda: Tool.of({"type": "function"}), "describes no tool; give an object with `name`"),
    "a choice": (lambda: Tools([Tool("none")]), "a tool is called none, which is a choice of its own; rename it"),
    "twice": (lambda: Tools([STOP, STOP]), "two tools are called stop"),
    "none at all": (lambda: Tools([]), "there are 0 tools; give 1 to 128"),
    "too many": (lambda: read_tools(json.dumps([{"name": f"f{at}"} for at in range(129)])), "there are 129 tools"),
    "an unknown choice": (lambda: Tools([STOP], "go"), r"the tool choice is 'go'; give auto, none, required or .*stop"),
    "no file": (lambda: read_tools("no/tools.json"), "is neither a file that can be read nor JSON"),
    "half a file": (lambda: read_tools("[{"), "is no JSON"),
    "a deep file": (lambda: read_tools("[" * 100_000), "is no JSON|describes no tool"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_tool_is_one_sentence(name):
    make, sentence = HOSTILE[name]
    with pytest.raises(ConfigError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


ENDLESS = {
    "a loop": ({"$ref": "#"}, "the parameters of the tool f: the JSON schema (allows no text|cannot be followed)"),
    "a loop of two": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "the parameters of the tool f: the JSON schema (allows no text|cannot be followed)",
    ),
    "elsewhere": ({"properties": {"a": {"$ref": "http://a/b"}}}, "the tool f: the JSON schema cannot be followed: Res"),
    "a key that is not followed": (
        {"properties": {"a": {"type": "array", "uniqueItems": True}}},
        'cannot be followed: Unimplemented keys: ."uniqueItems"',
    ),
    "a string": ({"enum": ["a"]}, "the JSON schema (allows no text|cannot be followed)"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_hostile_schema_is_one_sentence_that_names_its_tool(model, name):
    schema, sentence = ENDLESS[name]
    with pytest.raises(ConfigError, match=sentence) as caught:
        model.generate(ASKED, tools=Tools([STOP, Tool("f", "", {"type": "object"} | schema)]), max_new_tokens=40)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_tools_go_with_a_conversation_and_no_other_form(model):
    with pytest.raises(ConfigError, match="give messages, not a text or tokens"):
        model.generate("A room?", tools=Tools([STOP]))
    with pytest.raises(ConfigError, match="tools and a constraint both say the form"):
        from lmworks.generation.constraints import Regex

        model.generate(ASKED, tools=Tools([STOP]), constraint=Regex("a"))

"""Tools in /v1/chat/completions, as OpenAI's client asks for them and reads their calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lmworks.serving.api.chat_requests import Message
from lmworks.serving.service import Service
from lmworks.text.tool import Tool
from lmworks.tokens.chat.template import PLAIN, ChatTemplate
from lmworks.tokens.chat.tools import with_tools
from serving.live import Live, running, small

CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "It.", "parameters": CITY}}
STOP = {"type": "function", "function": {"name": "stop"}}
NAMED = {"type": "function", "function": {"name": "weather"}}
ASKED = [{"role": "user", "content": "Rain?"}]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """It reads bytes, and the preamble has 700 of them."""
    with running(Service(small(context=2048), name="tiny")) as made:
        yield made


def ask(live: Live, **asked: Any) -> Any:
    settings = {"model": "tiny", "messages": ASKED, "tools": [WEATHER, STOP], "max_tokens": 200, "seed": 3}
    return live.openai.chat.completions.create(**(settings | asked))


def test_a_named_tool_is_called_once(live: Live):
    [choice] = ask(live, tool_choice=NAMED).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather") and call.id.startswith("call_")
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def test_required_calls_one_where_parallel_calls_are_off(live: Live):
    choices = ask(live, tool_choice="required", parallel_tool_calls=False, n=3).choices
    assert [len(choice.message.tool_calls) for choice in choices] == [1, 1, 1]
    assert len({choice.message.tool_calls[0].id for choice in choices}) == 3


def test_a_stream_of_calls_joined_is_the_whole(live: Live):
    """The official client's own accumulation, and ours by OpenAI's rules: a name once, arguments in parts."""
    asked = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 300}
    [whole] = ask(live, **asked).choices
    calls: dict[int, dict[str, str]] = {}
    chunks = list(ask(live, stream=True, **asked))
    deltas = [chunk.choices[0] for chunk in chunks]
    assert deltas[0].delta.role == "assistant" and deltas[0].delta.content is None
    for delta in deltas:
        for part in delta.delta.tool_calls or ():
            if part.id is not None:
                assert part.index == len(calls) and part.type == "function"
                calls[part.index] = {"name": part.function.name, "arguments": ""}
            calls[part.index]["arguments"] += part.function.arguments
    told = [{"name": one.function.name, "arguments": one.function.arguments} for one in whole.message.tool_calls]
    assert list(calls.values()) == told
    assert [one.finish_reason for one in deltas] == [None] * (len(deltas) - 1) + [whole.finish_reason]
    assert len(deltas) > 4  # arguments came in parts


def test_words_stream_as_words_where_tools_may_be_called(live: Live):
    for tool_choice in ("auto", "none"):
        [whole] = ask(live, tool_choice=tool_choice, max_tokens=30).choices
        assert whole.message.tool_calls is None and whole.finish_reason in ("stop", "length")
        deltas = [one.choices[0].delta for one in ask(live, tool_choice=tool_choice, max_tokens=30, stream=True)]
        assert deltas[0].role == "assistant"
        assert "".join(one.content or "" for one in deltas) == whole.message.content


def test_a_cut_call_says_so(live: Live):
    [choice] = ask(live, tool_choice=NAMED, max_tokens=56).choices
    assert choice.finish_reason == "length"
    assert not choice.message.tool_calls or not choice.message.tool_calls[0].function.arguments.endswith("}")


BY_ID = """{% for message in messages %}{% for call in message.tool_calls or () %}
{%- if call.id | length != 9 %}{{ raise_exception("Ids have 9 letters.") }}{% endif -%}
[{{ call.function.name }} {{ call.id }}]{% endfor %}
{%- if message.role == "tool" %}[{{ message.tool_call_id }} {{ message.content }}]{% else %}
{{- message.content }}{% endif %}{% endfor %}"""
"""A template that writes which call a result answers, as Mistral's do."""


def test_a_template_is_told_which_call_a_result_answers():
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    said = [
        *ASKED,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "No."},
    ]
    turns = [Message.model_validate(one).turn for one in said]
    chat, shown = with_tools(ChatTemplate(BY_ID), turns, [])
    assert chat.render(shown) == chat.render_marked(shown) == "Rain?[weather abcdefghi][abcdefghi No.]"
    ours, shown = with_tools(ChatTemplate(PLAIN), turns, [Tool("weather")])
    assert "abcdefghi" not in ours.render(shown)


def test_results_are_messages_and_are_read(live: Live):
    [choice] = ask(live, tool_choice=NAMED).choices
    [call] = choice.message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "It rains."}
    after = [*ASKED, choice.message.model_dump(exclude_none=True), result]
    told = live.post("/tokenize", messages=after, tools=[WEATHER])
    read = live.post("/detokenize", tokens=told.json()["tokens"]).json()["prompt"]
    assert "<tools>" in read and '"description": "It."' in read
    assert f'<tool_call>\n{{"name": "weather", "arguments": {call.function.arguments}}}\n</tool_call>' in read
    assert read.index('<tool_call>\n{"name": "weather"') < read.index("<tool_response>\nIt rains.\n</tool_response>")
    assert ask(live, messages=after, max_tokens=8, tool_choice="none").usage.prompt_tokens > 0


CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"tools": [{"type": "function"}]}, "tools.0.function is missing"),
    "another kind": ({"tools": [{"type": "web_search"}]}, "tools.0.type is 'web_search'; give 'function'"),
    "many": ({"tools": [STOP] * 129}, "tools has 129 items; give at most 128 items"),
    "a name in brackets": (
        {"tools": [{"type": "function", "function": {"name": "<a>"}}]},
        "the tool's name '<a>' is none; a name has 1 to 64 letters",
    ),
    "a schema of a text": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]},
        "the parameters of the tool f describe no object",
    ),
    "a loop": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#"}}}]},
        "the parameters of the tool f: the JSON schema allows no text",
    ),
    "an unknown choice": (
        {"tool_choice": {"type": "function", "function": {"name": "fly"}}},
        "the tool choice is 'fly'; give auto, none, required or a tool's name (weather, stop)",
    ),
    "a choice that is a word": ({"tool_choice": "fly"}, "'auto' or 'required', or an object that names one"),
    "a choice without tools": ({"tools": [], "tool_choice": "required"}, "asks for a call and there are no tools"),
    "another form": ({"response_format": {"type": "json_object"}}, "tools and response_format both say the form"),
    "a result of nothing": (
        {"messages": [*ASKED, {"role": "tool", "tool_call_id": "c", "content": "a"}]},
        "messages.1 is the result of a call that no message before it makes",
    ),
    "a result without its call": (
        {"messages": [*ASKED, {"role": "tool", "content": "a"}]},
        "messages.1: tool_call_id goes with the role tool",
    ),
    "a user's call": (
        {"messages": [{"role": "user", "content": "a", "tool_calls": [CALL]}]},
        "messages.0: tool_calls are an assistant's, and the role is user",
    ),
    "arguments that are no JSON": (
        {"messages": [{"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": "{"}}]}]},
        "messages.0.tool_calls.0.function.arguments: this text is no JSON object",
    ),
    "nothing said": ({"messages": [{"role": "assistant"}]}, "messages.0: content is missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_sentence(live: Live, name: str):
    body, words = WRONG[name]
    said = live.error("/v1/chat/completions", **({"messages": ASKED, "tools": [WEATHER, STOP], "max_tokens": 9} | body))
    assert words in said["message"] and "\n" not in said["message"]

"""/v1/responses, as OpenAI's client asks for it: it answers what the chat route answers, and keeps it to go on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from lmworks.serving.api.response_events import ResponseWriter
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import ENDLESS, Live, running, small

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "name": "weather", "description": "It.", "parameters": CITY, "strict": True}
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SHORT: Any = {"model": "tiny", "max_output_tokens": 12, "extra_body": {"seed": 3}}
PART = "response.output_text", "response.content_part", "response.output_item"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """It reads bytes, and what it is told of tools has 700 of them."""
    with running(Service(small(context=2048), name="tiny")) as made:
        yield made


def events_of(live: Live, **asked: Any) -> list[dict[str, Any]]:
    """What is sent, each of it as the client's own types have it, under its name."""
    told = []
    with live.http.stream("POST", "/v1/responses", json=asked | {"stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for block in "".join(response.iter_text()).removesuffix("\n\n").split("\n\n"):
            name, data = block.split("\n")
            told.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {told[-1]['type']}"
            assert EVENTS.validate_python(told[-1]).type == told[-1]["type"]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    return told


def forget(response: dict[str, Any]) -> dict[str, Any]:
    """Without what is new each time."""
    kept = {name: value for name, value in response.items() if name not in ("id", "created_at", "completed_at")}
    return kept | {"output": [one | {"id": "", "call_id": ""} for one in response["output"]]}


def test_an_answer_is_what_the_chat_route_writes(live: Live):
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "né 😀?"}]
    chat = live.post("/v1/chat/completions", messages=turns, max_tokens=12, seed=3, temperature=0.9).json()
    asked = {"input": "né 😀?", "instructions": "Be kind.", "temperature": 0.9, "metadata": {"a": "b"}, "user": "me"}
    answer = live.post("/v1/responses", **asked, max_output_tokens=12, seed=3).json()
    read = Response.model_validate(answer)
    assert read.output_text == chat["choices"][0]["message"]["content"]
    assert read.usage is not None and read.usage.input_tokens == chat["usage"]["prompt_tokens"]
    assert (read.usage.output_tokens, read.usage.total_tokens) == (12, chat["usage"]["total_tokens"])
    assert answer["status"] == "incomplete" and answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert {name: answer[name] for name in ("instructions", "temperature", "metadata", "user")} == {
        name: asked[name] for name in ("instructions", "temperature", "metadata", "user")
    }


def test_whatever_a_request_held_can_be_told(live: Live):
    """Half a surrogate pair, which JSON can write and UTF-8 cannot, as a name of fields that nothing here reads."""
    tool = WEATHER | {"parameters": CITY | {"\ud800": "é"}}
    asked = {"input": "é", "metadata": {"\ud800": "a"}, "tools": [tool], "tool_choice": "none"}
    asked |= {"max_output_tokens": 4}
    kind = {"content-type": "application/json"}
    answer = live.http.post("/v1/responses", content=json.dumps(asked), headers=kind).json()
    assert answer["metadata"] == asked["metadata"] and answer["tools"] == [tool]
    assert live.http.get(f"/v1/responses/{answer['id']}").json() == answer
    streamed = live.http.post("/v1/responses", content=json.dumps(asked | {"stream": True}), headers=kind).text
    assert '"response.incomplete"' in streamed and '{"\\ud800":"a"}' in streamed


def test_tokens_from_the_cache_are_told():
    writer = ResponseWriter({}, "tiny", lambda _: None)
    cached = {"prompt_tokens_details": {"cached_tokens": 3}}
    list(writer.end({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11} | cached))
    read = Response.model_validate(writer.facts | {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []})
    assert read.usage is not None and read.usage.input_tokens_details.cached_tokens == 3


def test_every_form_of_the_same_input_is_the_same_prompt(live: Live):
    parts = [{"type": "input_text", "text": "Hi"}]
    forms: list[Any] = [
        "Hi",
        [{"role": "user", "content": "Hi"}],
        [{"type": "message", "role": "user", "content": parts}],
        [{"id": "msg_1", "type": "message", "role": "user", "content": parts, "status": "completed"}],
    ]
    texts = {live.openai.responses.create(input=form, **SHORT).output_text for form in forms}
    assert len(texts) == 1
    read = live.openai.responses.create(input=[{"role": "developer", "content": "Be kind."}, *forms[1]], **SHORT)
    said = live.openai.responses.create(input="Hi", instructions="Be kind.", **SHORT)
    assert read.output_text == said.output_text not in texts


def test_events_come_in_their_order_and_tell_the_whole(live: Live):
    asked = {"input": "Hi", "max_output_tokens": 12, "seed": 3}
    whole, told = live.post("/v1/responses", **asked).json(), events_of(live, **asked)
    kinds = [one["type"] for one in told if one["type"] != "response.output_text.delta"]
    text, part, item = PART
    begin = ["response.created", "response.in_progress", f"{item}.added", f"{part}.added"]
    assert kinds == [*begin, f"{text}.done", f"{part}.done", f"{item}.done", "response.incomplete"]
    deltas = [one["delta"] for one in told if one["type"] == f"{text}.delta"]
    assert len(deltas) > 3 and "".join(deltas) == told[-4]["text"] == whole["output"][0]["content"][0]["text"]
    assert told[0]["response"]["status"] == "in_progress" and told[0]["response"]["output"] == []
    assert told[2]["item"]["content"] == [] and told[3]["part"]["text"] == ""
    assert forget(told[-1]["response"]) == forget(whole | {"usage": told[-1]["response"]["usage"]})
    assert {one["item_id"] for one in told if "item_id" in one} == {told[-1]["response"]["output"][0]["id"]}


class Weather(BaseModel):
    """What is asked for."""

    city: Literal["Paris", "Rome"]
    rain: bool


def test_the_client_parses_and_streams_a_form(live: Live):
    read = live.openai.responses.parse(model="tiny", input="Rain?", text_format=Weather, max_output_tokens=200)
    assert read.status == "completed" and isinstance(read.output_parsed, Weather)
    assert read.text is not None and read.text.format is not None and read.text.format.type == "json_schema"
    with live.openai.responses.stream(model="tiny", input="Rain?", text_format=Weather) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        last = stream.get_final_response()
    assert isinstance(last.output_parsed, Weather) and snapshots[-1] == last.output_text
    free: Any = {"format": {"type": "json_object"}}
    answer = live.openai.responses.create(input="Rain?", text=free, **SHORT | {"max_output_tokens": 60})
    assert answer.output_text.startswith("{")


def test_a_response_goes_on_with_the_one_before(live: Live):
    """As if the client had sent everything again; only the instructions are each response's own."""
    first = live.openai.responses.create(input="One", instructions="Be brief.", **SHORT)
    second = live.openai.responses.create(input="Two", previous_response_id=first.id, **SHORT)
    third = live.openai.responses.create(input="Three", previous_response_id=second.id, instructions="Go.", **SHORT)
    turns: Any = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Two"},
    ]
    assert live.openai.responses.create(input=turns, **SHORT).output_text == second.output_text
    turns += [{"role": "assistant", "content": second.output_text}, {"role": "user", "content": "Three"}]
    system = {"role": "system", "content": "Go."}
    chat = live.post("/v1/chat/completions", messages=[system, *turns], max_tokens=12, seed=3).json()
    assert chat["choices"][0]["message"]["content"] == third.output_text
    assert third.previous_response_id == second.id
    branch = live.openai.responses.create(input="Two", previous_response_id=first.id, **SHORT)
    assert branch.output_text == second.output_text
    live.openai.responses.delete(first.id)
    assert live.openai.responses.create(input="Three", previous_response_id=second.id, **SHORT).status == "incomplete"


def test_output_is_input_as_it_is(live: Live):
    """The other way to go on: the client keeps the items."""
    first = live.openai.responses.create(input="One", include=["message.output_text.logprobs"], **SHORT)
    items: Any = [{"role": "user", "content": "One"}, *first.output, {"role": "user", "content": "Two"}]
    again = live.openai.responses.create(input=items, **SHORT)
    other = live.openai.responses.create(input="Two", previous_response_id=first.id, **SHORT)
    assert again.output_text == other.output_text


def test_a_tool_is_called_and_what_it_gave_is_read(live: Live):
    asked: Any = {"model": "tiny", "tools": [WEATHER], "max_output_tokens": 200}
    chosen: Any = {"type": "function", "name": "weather"}
    called = live.openai.responses.create(input="Rain?", tool_choice=chosen, **asked)
    [call] = called.output
    assert called.status == "completed" and called.output_text == ""
    assert call.type == "function_call" and call.call_id.startswith("call_") and call.status == "completed"
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It rains."}
    settings: Any = {"temperature": 0, "tool_choice": "none", "extra_body": {"seed": 3}}
    kept = live.openai.responses.create(
        input=[result], previous_response_id=called.id, **asked | {"max_output_tokens": 9}, **settings
    )
    sent = live.openai.responses.create(
        input=[{"role": "user", "content": "Rain?"}, *called.output, result],  # type: ignore[list-item]
        **asked | {"max_output_tokens": 9},
        **settings,
    )
    function = {"name": "weather", "arguments": call.arguments}
    turns = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "tool_calls": [{"id": call.call_id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call.call_id, "content": "It rains."},
    ]
    chat = live.post("/v1/chat/completions", messages=turns, max_tokens=9, temperature=0).json()
    assert kept.output_text == sent.output_text == chat["choices"][0]["message"]["content"]


def test_calls_in_a_row_and_the_words_before_them_are_one_turn(live: Live):
    """`_turns`: a template writes them as the model did, in one turn of the assistant."""
    calls = [{"type": "function_call", "call_id": f"c{at}", "name": "weather", "arguments": "{}"} for at in (1, 2)]
    results = [{"type": "function_call_output", "call_id": f"c{at}", "output": "No."} for at in (1, 2)]
    results[1]["output"] = [{"type": "input_text", "text": "No."}]  # type: ignore[assignment]
    items = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": "I look."}, *calls, *results]
    said = live.post("/v1/responses", input=items, max_output_tokens=9, temperature=0).json()
    tool_calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "weather", "arguments": "{}"}} for at in (1, 2)
    ]
    turns = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "I look.", "tool_calls": tool_calls},
        *({"role": "tool", "tool_call_id": f"c{at}", "content": "No."} for at in (1, 2)),
    ]
    chat = live.post("/v1/chat/completions", messages=turns, max_tokens=9, temperature=0).json()
    assert said["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert said["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]


def test_calls_stream_in_parts(live: Live):
    asked = {"input": "Rain?", "tools": [WEATHER], "tool_choice": "required", "max_output_tokens": 300, "seed": 3}
    whole, told = live.post("/v1/responses", **asked).json(), events_of(live, **asked)
    assert forget(told[-1]["response"])["output"] == forget(whole)["output"] and len(whole["output"]) > 1
    for place, item in enumerate(told[-1]["response"]["output"]):
        mine = [one for one in told if one.get("output_index") == place]
        deltas = [one["delta"] for one in mine if one["type"] == "response.function_call_arguments.delta"]
        kinds = [one["type"] for one in mine if one["type"] != "response.function_call_arguments.delta"]
        assert kinds == [
            "response.output_item.added",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
        assert "".join(deltas) == item["arguments"] and mine[0]["item"]["arguments"] == ""
        assert mine[-1]["item"] == item
    with live.openai.responses.stream(
        model="tiny", input="Rain?", tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    ) as stream:
        [call] = stream.get_final_response().output
    assert call.type == "function_call" and call.parsed_arguments


def test_a_cut_call_is_incomplete_and_nothing_goes_on_from_it(live: Live):
    chosen = {"type": "function", "name": "weather"}
    cut = live.post("/v1/responses", input="Rain?", tools=[WEATHER], tool_choice=chosen, max_output_tokens=56).json()
    assert (cut["status"], cut["output"][-1]["status"]) == ("incomplete", "incomplete")
    error = live.error("/v1/responses", input="And?", previous_response_id=cut["id"])
    assert "ends in a call that was cut off" in error["message"] and error["param"] == "previous_response_id"


def test_log_probabilities_are_the_chat_route_s(live: Live):
    include: Any = ["message.output_text.logprobs"]
    said = live.openai.responses.create(input="Hi", include=include, top_logprobs=2, **SHORT)
    chat = live.post(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=12,
        seed=3,
        logprobs=True,
        top_logprobs=2,
    ).json()
    [message] = said.to_dict()["output"]  # type: ignore[misc]
    assert message["content"][0]["logprobs"] == chat["choices"][0]["logprobs"]["content"]
    told = events_of(live, input="Hi", include=include, top_logprobs=2, max_output_tokens=12, seed=3)
    logged = [one for event in told if event["type"].endswith("text.delta") for one in event["logprobs"]]
    assert logged == chat["choices"][0]["logprobs"]["content"]


def test_what_is_kept_is_found_listed_and_deleted(live: Live):
    first = live.openai.responses.create(input="One", **SHORT)
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Two"}]}]
    second = live.openai.responses.create(input=items, previous_response_id=first.id, stream=True, **SHORT)
    last = list(second)[-1].response  # type: ignore[union-attr]
    assert live.openai.responses.retrieve(last.id) == last and last.to_dict()["store"] is True
    listed = live.openai.responses.input_items.list(last.id, order="asc", limit=2)
    told = [one.to_dict() for one in listed]  # the client turns the pages
    assert [(one["role"], one["content"][0]["text"]) for one in told] == [  # type: ignore[index]
        ("user", "One"),
        ("assistant", first.output_text),
        ("user", "Two"),
    ]
    newest = live.http.get(f"/v1/responses/{last.id}/input_items", params={"limit": 1}).json()
    assert newest["data"][0]["content"][0]["text"] == "Two" and newest["has_more"] is True
    live.openai.responses.delete(last.id)
    for gone in (lambda: live.openai.responses.retrieve(last.id), lambda: live.openai.responses.delete(last.id)):
        with pytest.raises(openai.NotFoundError, match="there is no response 'resp_"):
            gone()
    with pytest.raises(openai.NotFoundError, match="send the conversation itself") as caught:
        live.openai.responses.create(input="x", previous_response_id=last.id, **SHORT)
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "response_not_found")
    unkept = live.openai.responses.create(input="One", store=False, **SHORT)
    with pytest.raises(openai.NotFoundError):
        live.openai.responses.retrieve(unkept.id)
    assert live.http.get(f"/v1/responses/{first.id}?stream=true").status_code == 400


def test_what_is_accepted_and_not_used_is_not_kept(live: Live):
    """It may be nested as deeply as can be read, which is more deeply than can be written."""
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"a": deep}
    part = {"type": "output_text", "text": "b", "annotations": [deep], "logprobs": [deep]}
    said = {"role": "assistant", "content": [part], "citations": [deep], "grounding": deep}
    kept = live.post("/v1/responses", input=[MESSAGE, said, MESSAGE], max_output_tokens=2).json()
    listed = live.http.get(f"/v1/responses/{kept['id']}/input_items").json()["data"]
    assert listed[1]["content"] == [{"type": "output_text", "text": "b"}]
    assert set(listed[1]) == {"id", "type", "role", "status", "content"}


def test_what_is_kept_is_the_key_s_that_asked():
    with running(Service(small(), name="tiny", keys=["mine", "yours"])) as live:
        mine, yours = (live.openai.with_options(api_key=key) for key in ("mine", "yours"))
        kept = mine.responses.create(input="Secret", **SHORT)
        for asked in (
            lambda: yours.responses.retrieve(kept.id),
            lambda: yours.responses.input_items.list(kept.id),
            lambda: yours.responses.delete(kept.id),
            lambda: yours.responses.create(input="What?", previous_response_id=kept.id, **SHORT),
        ):
            with pytest.raises(openai.NotFoundError, match="there is no response"):
                asked()
        assert mine.responses.retrieve(kept.id).output_text == kept.output_text


def test_what_is_kept_has_its_bounds():
    """In number: the one that was used longest ago goes; in bytes: of one, and of all."""

    def found(live: Live, *names: str) -> list[bool]:
        return [live.http.get(f"/v1/responses/{name}").status_code == 200 for name in names]

    asked = {"max_output_tokens": 2}
    with running(Service(small(), name="tiny", limits=ServerLimits(kept_responses=2))) as live:
        one, two = (live.post("/v1/responses", input="a", **asked).json()["id"] for _ in range(2))
        assert found(live, one)
        three = live.post("/v1/responses", input="a", **asked).json()["id"]
        assert found(live, one, two, three) == [True, False, True]
    limits = ServerLimits(kept_bytes=5000, body_bytes=4000)
    with running(Service(small(context=4096), name="tiny", limits=limits)) as live:
        one, two, three = (live.post("/v1/responses", input="a" * 700, **asked).json() for _ in range(3))
        assert found(live, one["id"], two["id"], three["id"]) == [False, True, True]
        long = live.post("/v1/responses", input="a" * 3500, **asked).json()
        assert long["store"] is False and found(live, long["id"], two["id"], three["id"]) == [False, True, True]


def test_a_stream_that_fails_says_so():
    with running(Service(small(), name="tiny", limits=ServerLimits(seconds=0.3))) as live:
        more = {name: ENDLESS[name] for name in ("min_tokens", "temperature")}
        told = events_of(live, input="a", max_output_tokens=400, **more)
        assert [one["type"] for one in told[-2:]] == ["error", "response.failed"]
        assert told[-2]["code"] == "timeout" and "took longer than 0.3 seconds" in told[-2]["message"]
        assert told[-1]["response"]["status"] == "failed" and told[-1]["response"]["error"]["code"] == "server_error"
        assert live.http.get(f"/v1/responses/{told[-1]['response']['id']}").status_code == 404
        whole = live.post("/v1/responses", input="a", max_output_tokens=400, **more)
        assert whole.status_code == 504


MESSAGE = {"type": "message", "role": "user", "content": "a"}
IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}
CALL = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
FORM = {"format": {"type": "json_object"}}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"input": []}, "input is empty; give at least 1 item"),
    "a number": ({"input": 5}, "input is 5; give a text or a list"),
    "no role": ({"input": [{"content": "a"}]}, "input.0: an item of type message has role and content; give role"),
    "no content": ({"input": [{"role": "user"}]}, "input.0: an item of type message has role and content; give cont"),
    "a field of another kind": ({"input": [MESSAGE | {"output": "a"}]}, "has role and content; leave out output"),
    "an unknown field": ({"input": [MESSAGE | {"mood": "a"}]}, "input.0.mood is not a setting of this request"),
    "a number in it": ({"input": [MESSAGE, MESSAGE | {"content": 5}]}, "input.1.content is 5; give a text or a list"),
    "an unknown kind": ({"input": [{"type": "reasoning", "id": "a"}]}, "input.0.type is 'reasoning'; give 'message'"),
    "an unknown part": (
        {"input": [MESSAGE | {"content": [{"type": "input_file", "file_id": "a"}]}]},
        "input.0.content.0.type is 'input_file'; give 'input_text', 'output_text' or 'input_image'",
    ),
    "a part without its text": (
        {"input": [MESSAGE | {"content": [{"type": "input_text"}]}]},
        "input.0.content.0: the part of type input_text needs text, and no image_url",
    ),
    "the assistant's image": (
        {"input": [MESSAGE | {"role": "assistant", "content": [IMAGE]}]},
        "input.0: images are a user's, and the role is assistant; leave them out",
    ),
    "an image from elsewhere": (
        {"input": [MESSAGE, MESSAGE | {"content": [IMAGE]}]},
        "input.1.content is no data URL; send the image itself",
    ),
    "many images": ({"input": [MESSAGE | {"content": [IMAGE] * 17}]}, "17 images; send at most 16"),
    "images and tools": (
        {"input": [MESSAGE | {"content": [IMAGE]}], "tools": [WEATHER]},
        "images are described here; leave tools out",
    ),
    "many items": ({"input": [MESSAGE] * 4097}, "input has 4,097 items; give at most 4,096"),
    "many messages": (
        {"input": [MESSAGE] * 4096, "instructions": "a"},
        "the conversation has 4,097 messages; it may have 4,096",
    ),
    "arguments that are no JSON": (
        {"input": [CALL | {"arguments": "{"}]},
        "input.0.arguments: this text is no JSON object",
    ),
    "the output of nothing": (
        {"input": [MESSAGE, {"type": "function_call_output", "call_id": "c", "output": "a"}]},
        "input.1 is the result of a call that no message before it makes; send its function_call item first",
    ),
    "a tool of another kind": ({"tools": [{"type": "web_search"}]}, "tools.0.type is 'web_search'; give 'function'"),
    "a tool of the chat route": (
        {"tools": [{"type": "function", "function": {"name": "a"}}]},
        "tools.0.name is missing",
    ),
    "an unknown choice": ({"tools": [WEATHER], "tool_choice": "fly"}, "tool_choice is 'fly'; give 'none', 'auto' or"),
    "a choice of none of them": (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "fly"}},
        "the tool choice is 'fly'; give auto, none, required or a tool's name (weather)",
    ),
    "a choice without tools": ({"tool_choice": "required"}, "asks for a call and there are no tools"),
    "tools and a form": ({"tools": [WEATHER], "text": FORM}, "tools and text.format both say the form of the answer"),
    "a form without a schema": (
        {"text": {"format": {"type": "json_schema", "name": "a"}}},
        "text.format: give name and schema with the type json_schema",
    ),
    "a schema that is none": (
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "nothing"}}}},
        "the JSON schema",
    ),
    "a tone": ({"text": {"verbosity": "loud"}}, "text.verbosity is 'loud'; give 'low', 'medium' or 'high'"),
    "thoughts": ({"reasoning": {"effort": "hard"}}, "reasoning.effort is 'hard'; give 'none', 'minimal', 'low', "),
    "the background": ({"background": True}, "background is true; give false"),
    "truncation": ({"truncation": "auto"}, "truncation is 'auto'; give 'disabled'"),
    "a conversation": ({"conversation": "conv_1"}, "conversation is not a setting of this request; leave it out"),
    "what is never there": (
        {"include": ["file_search_call.results"]},
        "include.0 is 'file_search_call.results'; give ",
    ),
    "alternatives of nothing": ({"top_logprobs": 2}, "top_logprobs goes with message.output_text.logprobs in include"),
    "log-probabilities of calls": (
        {"tools": [WEATHER], "include": ["message.output_text.logprobs"]},
        "an answer that may call tools has no log-probabilities here",
    ),
    "a stream's options without it": ({"stream_options": {}}, "stream_options goes with stream"),
    "messages": ({"messages": [MESSAGE]}, "messages is not a setting of this request; did you mean input?"),
    "the older length": ({"max_tokens": 5}, "max_tokens is not a setting of this request; did you mean max_output_t"),
    "a long prompt": ({"input": "x" * 3000}, "tokens and the model reads 2,048"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_sentence(live: Live, name: str):
    body, words = WRONG[name]
    said = live.error("/v1/responses", **({"input": "a", "max_output_tokens": 9} | body))
    assert words in said["message"] and "\n" not in said["message"]


def test_what_changes_no_answer_is_accepted(live: Live):
    extra: Any = {
        "store": True,
        "user": "me",
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "truncation": "disabled",
        "background": False,
        "reasoning": {"effort": "low", "summary": "auto", "generate_summary": "concise"},
        "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        "top_logprobs": 0,
    }
    told = live.post("/v1/responses", input="a", max_output_tokens=2, **extra)
    assert told.status_code == 200 and told.json()["reasoning"] == {"effort": None, "summary": None}
    nulls = dict.fromkeys((*extra, "conversation", "prompt", "max_tool_calls", "instructions", "metadata"))
    assert live.post("/v1/responses", input="a", max_output_tokens=2, **nulls).status_code == 200

"""A client that was written for OpenAI's server: what it sends beside what it wants, where it looks, and what an
operator's log says of it."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest

from lmworks.serving.api.chat_requests import ChatRequest
from lmworks.serving.log import Log
from lmworks.serving.service import Service
from serving.live import ENDLESS, Live, running, small

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


def test_what_is_null_is_not_given_whether_it_is_known_here_or_not(live: Live):
    nulls = dict.fromkeys(("function_call", "functions", "audio", "reasoning_effort", "verbosity"))
    message = {"role": "user", "content": "Hi", "name": None, "reasoning_content": None, "refusal": None}
    assert live.post("/v1/chat/completions", **CHAT | nulls | {"messages": [message]}).status_code == 200
    assert live.post("/v1/chat/completions", **CHAT, stop=None, tools=None, n=None, user=None).status_code == 200
    assert live.error("/v1/chat/completions", **CHAT | {"messages": None})["param"] == "messages"
    assert live.error("/v1/chat/completions", **CHAT, stop=None, temprature=1)["param"] == "temprature"
    known = ChatRequest.names()
    assert {"messages", "max_tokens", "top_p"} <= known and "function_call" not in known


def test_a_guess_of_the_answer_changes_nothing(live: Live):
    asked = CHAT | {"temperature": 0, "max_tokens": 8}
    guess = {"type": "content", "content": "anything"}
    first, second = (live.post("/v1/chat/completions", **asked, **more).json() for more in ({}, {"prediction": guess}))
    assert first["choices"] == second["choices"]


def test_how_long_to_think_and_to_write_is_accepted_and_not_used(live: Live):
    asked = CHAT | {"temperature": 0, "max_tokens": 8}
    hints = {"reasoning_effort": "low", "verbosity": "high"}
    first, second = (live.post("/v1/chat/completions", **asked, **more).json() for more in ({}, hints))
    assert first["choices"] == second["choices"]
    error = live.error("/v1/chat/completions", **asked, reasoning_effort="hard")
    assert error["message"].startswith("reasoning_effort is 'hard'; give 'none', 'minimal', 'low', 'medium', 'high', ")
    assert live.error("/v1/chat/completions", **asked, verbosity=3)["param"] == "verbosity"


@pytest.mark.parametrize(
    "given, words",
    [
        ({"web_search_options": {}}, "web_search_options is not a setting of this request; leave it out"),
        ({"temprature": 1}, "temprature is not a setting of this request; did you mean temperature?"),
        ({"functions": []}, "functions is not a setting of this request; did you mean tools?"),
        ({"function_call": "auto"}, "function_call is not a setting of this request; did you mean tool_choice?"),
        (
            {"messages": [{"role": "user", "content": "a", "mood": "x"}]},
            "messages.0.mood is not a setting of this requ",
        ),
    ],
)
def test_an_unknown_setting_is_told_with_what_to_do(live: Live, given: dict[str, Any], words: str):
    error = live.error("/v1/chat/completions", **CHAT | given)
    assert error["message"].startswith(words) and error["code"] == "unknown_parameter"


@pytest.mark.parametrize(
    "path, words",
    [
        ("/chat/completions", "did you mean /v1/chat/completions? the base URL of OpenAI's clients ends in /v1"),
        ("/v1/v1/chat/completions", "did you mean /v1/chat/completions?"),
        ("/models", "did you mean /v1/models?"),
        ("/v1/tokenize", "did you mean /tokenize?"),
        ("/v1/conversations/conv_1/items", "conversations are kept by POST /v1/responses; go on with previous_resp"),
        ("/v1/engines/davinci/completions", "this is GET /v1/models now"),
        ("/v1/files", "there is nothing at this path; GET /openapi.json lists what there is"),
    ],
)
def test_a_path_that_is_not_there_says_where_to_go(live: Live, path: str, words: str):
    response = live.http.post(path, json={})
    assert response.status_code == 404 and words in response.json()["error"]["message"]


def test_whoever_watches_may_ask_for_the_head_alone(live: Live):
    response = live.http.head("/health")
    assert (response.status_code, response.text) == (200, "")


def test_the_log_says_why_a_request_was_refused_and_not_in_its_words():
    lines = io.StringIO()
    with running(Service(small(), name="tiny"), log=Log(lines)) as live:
        live.post("/v1/chat/completions", **CHAT, secret_field=1)
        live.post("/v1/completions", prompt="secret " * 600)
        live.post("/v1/completions", prompt="x", model="secret")
        live.http.get("/v1/nowhere")
        with live.http.stream("POST", "/v1/completions", json={"prompt": "x", "stream": True} | ENDLESS) as stream:
            next(stream.iter_lines())
        deadline = time.monotonic() + 20
        while len(lines.getvalue().splitlines()) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    told = [one for one in told if one["event"] == "request"]
    assert [(one["status"], one.get("error"), one.get("param")) for one in told] == [
        (400, "unknown_parameter", "secret_field"),
        (400, "context_length_exceeded", "prompt"),
        (404, "model_not_found", "model"),
        (404, "not_found_error", None),
        (200, None, None),
    ]
    assert told[-1]["finish"] == ["cancelled"]
    assert "secret " not in lines.getvalue()

"""What is wrong with a request is told in OpenAI's form: a status of 4xx and a sentence that names the field."""

from __future__ import annotations

import json

import openai
import pytest

from serving.live import Live

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
TEXT = {"prompt": "Hi", "max_tokens": 2}
WRONG = {
    "an unknown setting": (TEXT | {"temprature": 1}, "temprature", "temprature is not a setting of this request"),
    "a negative temperature": (TEXT | {"temperature": -1}, "temperature", "greater than or equal to 0"),
    "a text for a number": (TEXT | {"max_tokens": "5"}, "max_tokens", "should be a valid integer"),
    "a truth for a number": (TEXT | {"n": True}, "n", "should be a valid integer"),
    "no prompt": ({"max_tokens": 2}, "prompt", "prompt is missing"),
    "no token": (TEXT | {"prompt": []}, "prompt", "prompt"),
    "a token beyond the vocabulary": (TEXT | {"prompt": [100_000]}, None, "the prompt names the token 100,000"),
    "nothing to write": (TEXT | {"max_tokens": 0}, None, "max_tokens is 0; give at least 1, or echo"),
    "an empty stop string": (TEXT | {"stop": ""}, "stop", "at least 1 character"),
    "many stop strings": (TEXT | {"stop": ["a"] * 17}, "stop", "at most 16 items"),
    "many answers": (TEXT | {"n": 1000}, None, "asks for 1,000 answers"),
    "the best of more": (TEXT | {"best_of": 3}, None, "best_of is not n"),
    "a bias of no token": (TEXT | {"logit_bias": {"x": 1}}, None, "logit_bias names 'x'"),
    "half a surrogate": (TEXT | {"prompt": "\ud800"}, "prompt", "prompt"),
    "a prompt over the window": (TEXT | {"prompt": "x" * 600}, None, "has 600 tokens and the model reads 512"),
    "a schema that is none": (TEXT | {"structured_outputs": {"json": {"type": "nothing"}}}, None, "the JSON schema"),
    "an expression that is none": (TEXT | {"structured_outputs": {"regex": "("}}, None, "the regular expression"),
    "two forms": (
        TEXT | {"structured_outputs": {"regex": "a"}, "response_format": {"type": "text"}},
        None,
        "both say the form",
    ),
    "a stream's options without it": (TEXT | {"stream_options": {}}, None, "stream_options goes with stream"),
    "no message": (CHAT | {"messages": []}, "messages", "at least 1 item"),
    "an unknown role": (CHAT | {"messages": [{"role": "cat", "content": "Hi"}]}, "messages", "'system'"),
    "a picture": (
        CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages",
        "messages",
    ),
    "a tool": (CHAT | {"tools": [{"type": "function"}]}, "tools", "tools"),
    "alternatives without log-probabilities": (CHAT | {"top_logprobs": 2}, None, "top_logprobs goes with logprobs"),
    "two lengths": (CHAT | {"max_completion_tokens": 3}, None, "differ; give one of them"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_with_its_field(live: Live, name: str):
    body, param, words = WRONG[name]
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    response = live.http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert words in error["message"] and "\n" not in error["message"]


def test_the_official_client_raises_its_own_errors(live: Live):
    with pytest.raises(openai.BadRequestError, match="has 600 tokens and the model reads 512") as caught:
        live.openai.completions.create(model="tiny", prompt="x" * 600)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'; there is tiny"):
        live.openai.completions.create(model="gpt-4", prompt="x")


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"", b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}"]
)
def test_a_body_that_is_no_request(live: Live, body: bytes):
    response = live.http.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and response.json()["error"]["message"]


def test_a_body_must_be_said_to_be_json(live: Live):
    """A page elsewhere can make a browser send a text to the loopback, and nothing else unasked."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {} if kind is None else {"content-type": kind}
        response = live.http.post("/v1/completions", content=json.dumps(TEXT), headers=headers)
        assert response.status_code == 400, kind


def test_a_path_that_is_not_there(live: Live):
    response = live.http.get("/v1/nothing")
    assert response.status_code == 404 and response.json()["error"]["type"] == "not_found_error"
    assert live.http.get("/v1/completions").status_code == 405


def test_what_changes_no_answer_is_accepted(live: Live):
    extra = {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "prompt_cache_key": "k"}
    response = live.post(
        "/v1/chat/completions", **CHAT, **extra, tools=[], parallel_tool_calls=True, modalities=["text"]
    )
    assert response.status_code == 200
    nulls = dict.fromkeys(("stop", "n", "seed", "top_p", "logit_bias", "logprobs", "response_format", "stream", "user"))
    assert live.post("/v1/completions", **TEXT, **nulls).status_code == 200

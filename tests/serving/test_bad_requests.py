"""What is wrong with a request is told in OpenAI's form: a status of 4xx and a sentence that names the field."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest

from lmworks.basics.meanings import meanings
from lmworks.generation.strategies import Sample
from lmworks.serving.api.chat_requests import ChatRequest
from lmworks.serving.api.embeddings import EmbeddingRequest
from lmworks.serving.api.inspection import InspectRequest
from lmworks.serving.api.requests import CompletionRequest, StrictModel
from lmworks.serving.api.response_requests import ResponseRequest
from lmworks.serving.api.tokenizing import DetokenizeRequest, TokenizeRequest
from serving.live import Live

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
TEXT = {"prompt": "Hi", "max_tokens": 2}
WRONG = {
    "an unknown setting": (TEXT | {"temprature": 1}, "temprature", "temprature is not a setting of this request"),
    "a negative temperature": (TEXT | {"temperature": -1}, "temperature", "temperature is -1; give at least 0"),
    "a text for a number": (TEXT | {"max_tokens": "5"}, "max_tokens", "max_tokens is a text; give a whole number"),
    "a truth for a number": (TEXT | {"n": True}, "n", "n is true; give a whole number"),
    "no prompt": ({"max_tokens": 2}, "prompt", "prompt is missing"),
    "no token": (TEXT | {"prompt": []}, "prompt", "prompt is empty; give at least 1 item"),
    "a token beyond the vocabulary": (TEXT | {"prompt": [100_000]}, None, "the prompt names the token 100,000"),
    "nothing to write": (TEXT | {"max_tokens": 0}, None, "max_tokens is 0; give at least 1, or echo"),
    "an empty stop string": (TEXT | {"stop": ""}, "stop", "stop is empty; give at least 1 character"),
    "many stop strings": (TEXT | {"stop": ["a"] * 17}, "stop", "stop has 17 items; give at most 16 items"),
    "many answers": (TEXT | {"n": 1000}, None, "asks for 1,000 answers"),
    "the best of more": (TEXT | {"best_of": 3}, None, "best_of is not n"),
    "a bias of no token": (TEXT | {"logit_bias": {"x": 1}}, None, "logit_bias names 'x'"),
    "half a surrogate": (
        TEXT | {"prompt": "\ud800"},
        "prompt",
        "prompt has half a surrogate pair; give whole characters",
    ),
    "a prompt over the window": (TEXT | {"prompt": "x" * 600}, "prompt", "has 600 tokens and the model reads 512"),
    "a schema that is none": (TEXT | {"structured_outputs": {"json": {"type": "nothing"}}}, None, "the JSON schema"),
    "a long schema": (
        TEXT | {"structured_outputs": {"json": {"const": "x" * 2**17}}},
        None,
        "the JSON schema is too long: its grammar has 131,260 characters of 131,072",
    ),
    "a form that explodes": (
        TEXT | {"structured_outputs": {"regex": "(a{1000}){1000}"}},
        None,
        "the regular expression is too complex: ",
    ),
    "an expression that is none": (TEXT | {"structured_outputs": {"regex": "("}}, None, "the regular expression"),
    "two forms": (
        TEXT | {"structured_outputs": {"regex": "a"}, "response_format": {"type": "text"}},
        None,
        "both say the form",
    ),
    "a least above the most": (
        TEXT | {"min_tokens": 9, "max_tokens": 3},
        None,
        "min_tokens is 9 and max_tokens is 3, which is less; change one of them",
    ),
    "a stream's options without it": (TEXT | {"stream_options": {}}, None, "stream_options goes with stream"),
    "no message": (CHAT | {"messages": []}, "messages", "messages is empty; give at least 1 item"),
    "an unknown role": (
        CHAT | {"messages": [{"role": "cat", "content": "Hi"}]},
        "messages",
        "messages.0.role is 'cat'; give 'system', 'dev",
    ),
    "a sound": (
        CHAT | {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "messages",
        "messages.0.content.0.type is 'input_audio'; give 'text' or 'image_url'",
    ),
    "a picture without one": (
        CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]},
        "messages",
        "messages.0.content.0: the part of type image_url needs image_url, and nothing else",
    ),
    "a picture of the system's": (
        CHAT | {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages",
        "messages.0: images are a user's, and the role is system; leave them out",
    ),
    "a number among texts": (TEXT | {"prompt": ["a", 5]}, "prompt", "prompt.1 is 5; give a text"),
    "a text among tokens": (TEXT | {"prompt": [[5], [6, "a"]]}, "prompt", "prompt.1.1 is a text; give a whole number"),
    "nothing that is one": (TEXT | {"prompt": [{}]}, "prompt", "is an object; give a whole number, a text or a list"),
    "a bound of a fraction": (TEXT | {"top_p": 2}, "top_p", "top_p is 2; give at most 1"),
    "a large bound": (TEXT | {"n": 10**6}, "n", "n is 1000000; give at most 1,024"),
    "no form": (TEXT | {"structured_outputs": {}}, "structured_outputs", "structured_outputs: give one of json, "),
    "padding": (
        TEXT | {"stream": True, "stream_options": {"include_obfuscation": True}},
        "stream_options",
        "stream_options.include_obfuscation is true; give false",
    ),
    "a tool": (CHAT | {"tools": [{"type": "function"}]}, "tools", "tools.0.function is missing"),
    "a tool of another kind": (
        CHAT | {"tools": [{"type": "custom", "custom": {"name": "a"}}]},
        "tools",
        "tools.0.type is 'custom'; give 'function'",
    ),
    "alternatives without log-probabilities": (CHAT | {"top_logprobs": 2}, None, "top_logprobs goes with logprobs"),
    "two lengths": (CHAT | {"max_completion_tokens": 3}, None, "differ; give one of them"),
}


def test_every_setting_of_sample_is_a_field_with_its_bounds():
    """Declared once: a new filter needs no line here."""
    described = CompletionRequest.model_json_schema()["properties"]
    for name in Sample.model_fields:
        told = described["min_tokens" if name == "min_new_tokens" else name]
        assert told["description"]
        bounds = Sample.model_json_schema()["properties"][name]
        if name not in ("seed", "top_k", "logit_bias"):  # OpenAI's API has these in its own way
            assert told["description"] == meanings(Sample)[name]
            numbers = next((one for one in bounds.get("anyOf", [bounds]) if one["type"] != "null"), {})
            assert {key: value for key, value in numbers.items() if "imum" in key or "inimum" in key}.items() <= (
                told["anyOf"][0].items()
            )


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_with_its_field(live: Live, name: str):
    body, param, words = WRONG[name]
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    response = live.http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert words in error["message"] and "\n" not in error["message"] and "another value" not in error["message"]


BODIES: dict[str, tuple[type[StrictModel], dict[str, object]]] = {
    "/v1/completions": (CompletionRequest, TEXT),
    "/v1/chat/completions": (ChatRequest, CHAT),
    "/v1/responses": (ResponseRequest, {"input": "a", "max_output_tokens": 2}),
    "/v1/embeddings": (EmbeddingRequest, {"input": "a"}),
    "/tokenize": (TokenizeRequest, {"prompt": "a"}),
    "/detokenize": (DetokenizeRequest, {"tokens": [1]}),
    "/v1/inspect": (InspectRequest, {"prompt": "a"}),
}


@pytest.mark.parametrize("path", BODIES)
def test_whatever_is_given_instead_is_told_in_words_of_the_api(live: Live, path: str):
    """Each field with values of every other kind: none of pydantic's own words, and none of Python's."""
    kind, good = BODIES[path]
    values = ["", "x" * 5000, -1, 1.5, 2**70, True, [], [[]], [None], {}, {"a": {}}, None]
    for name in (field.alias or name for name, field in kind.model_fields.items()):
        for value in values:
            response = live.post(path, **good | {name: value})
            if response.status_code == 200:
                continue
            said = response.json()["error"]["message"]
            assert response.status_code in (400, 404), said
            assert not re.search(r"Input|valid|should|String|List|Dict|dictionary|than or|True|False|None|=", said), (
                said
            )
            assert name in said or response.status_code == 404 or "tokens" in said, (name, said)


def test_the_official_client_raises_its_own_errors(live: Live):
    with pytest.raises(openai.BadRequestError, match="has 600 tokens and the model reads 512") as caught:
        live.openai.completions.create(model="tiny", prompt="x" * 600)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    long: Any = [{"role": "user", "content": "x" * 600}]
    with pytest.raises(openai.BadRequestError) as caught:
        live.openai.chat.completions.create(model="tiny", messages=long)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError) as caught:
        live.openai.responses.create(model="tiny", input="x" * 600)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'; there is tiny"):
        live.openai.completions.create(model="gpt-4", prompt="x")


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"", b'"\xff"', b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}"],
)
def test_a_body_that_is_no_request(live: Live, body: bytes):
    response = live.http.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    message = response.json()["error"]["message"]
    assert response.status_code == 400 and message.startswith("the body is not ")
    assert "nested too deeply" in message or len(body) < 100_000
    assert "too many digits" in message or b"9999" not in body


def test_a_body_must_be_said_to_be_json(live: Live):
    """A page elsewhere can make a browser send a text to the loopback, and nothing else unasked."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {} if kind is None else {"content-type": kind}
        response = live.http.post("/v1/completions", content=json.dumps(TEXT), headers=headers)
        assert response.status_code == 400, kind


def test_a_path_that_is_not_there(live: Live):
    response, other = live.http.get("/v1/nothing"), live.http.get("/v1/completions")
    assert response.status_code == 404 and response.json()["error"]["type"] == "not_found_error"
    assert other.status_code == 405
    for one in (response, other):  # and where to look is a place that there is
        assert "GET /openapi.json" in one.json()["error"]["message"]
    assert "post" in live.http.get("/openapi.json").json()["paths"]["/v1/completions"]


def test_what_changes_no_answer_is_accepted(live: Live):
    extra = {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "prompt_cache_key": "k"}
    response = live.post(
        "/v1/chat/completions", **CHAT, **extra, tools=[], parallel_tool_calls=True, modalities=["text"]
    )
    assert response.status_code == 200
    nulls = dict.fromkeys(("stop", "n", "seed", "top_p", "logit_bias", "logprobs", "response_format", "stream", "user"))
    assert live.post("/v1/completions", **TEXT, **nulls).status_code == 200

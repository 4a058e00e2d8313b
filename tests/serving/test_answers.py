"""What the server answers is what the model writes: whole and streamed, alone and beside others (pitfalls 28 to 33)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from lmworks.generation.guessing import Lookup
from lmworks.generation.strategies import Greedy, Sample
from lmworks.serving.api.work import AnswerJob, Work
from lmworks.serving.service import Service
from serving.live import Live, running, small

TURNS = [{"role": "user", "content": "né 😀?"}]


def chat(live: Live, **asked: object) -> ChatCompletion:
    return live.openai.chat.completions.create(model="tiny", messages=TURNS, **asked)  # type: ignore[call-overload]


def test_models_and_health(live: Live):
    (model,) = live.openai.models.list().data
    assert (model.id, model.model_dump()["max_model_len"]) == ("tiny", 512)
    assert live.http.get("/health").json() == {"status": "ok"}


def test_a_chat_is_what_generate_writes(live: Live):
    answer = chat(live, temperature=0, max_completion_tokens=20)
    alone = live.service.model.generate(TURNS, max_new_tokens=20)
    assert answer.choices[0].message.content == alone
    assert answer.choices[0].finish_reason == alone.finish
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(alone.prompt), len(alone.tokens))


def test_a_stream_joined_is_the_whole(live: Live):
    """Pitfalls 31 and 32: random bytes are characters cut everywhere, and a stop string is held back."""
    for asked in ({"seed": 1}, {"seed": 2, "stop": ["e", "\ufffd\ufffd"]}, {"temperature": 0, "logprobs": True}):
        whole = chat(live, max_tokens=40, **asked)
        chunks = list(chat(live, max_tokens=40, stream=True, stream_options={"include_usage": True}, **asked))  # type: ignore[arg-type]
        assert chunks[-1].usage == whole.usage and not chunks[-1].choices  # type: ignore[attr-defined]
        deltas = [chunk.choices[0] for chunk in chunks[:-1]]
        assert "".join(one.delta.content or "" for one in deltas) == whole.choices[0].message.content  # type: ignore[attr-defined]
        assert [one.finish_reason for one in deltas] == [None] * (len(deltas) - 1) + [whole.choices[0].finish_reason]
        assert deltas[0].delta.role == "assistant"  # type: ignore[attr-defined]
        if whole.choices[0].logprobs:
            content = [token for one in deltas for token in one.logprobs.content or ()]  # type: ignore[union-attr]
            assert content == whole.choices[0].logprobs.content


def test_a_seed_gives_the_same_answer_whatever_else_runs(live: Live):
    """Pitfalls 30 and 33, and `n`: the second answer has the next seed."""
    asked = {"temperature": 1.2, "top_p": 0.9, "top_k": 50, "min_p": 0.01, "max_tokens": 24}
    alone = [
        live.service.model.generate(
            "a", Sample(temperature=1.2, top_p=0.9, top_k=50, min_p=0.01, seed=seed), max_new_tokens=24
        )
        for seed in (7, 8, 9)
    ]

    async def together() -> list[openai.types.Completion]:
        client = openai.AsyncOpenAI(base_url=f"{live.address}/v1", api_key="none")
        requests = [
            client.completions.create(model="tiny", prompt=prompt, seed=7, n=3, **plain, extra_body=extra)
            for prompt in ("a", "b" * 60, "a", "c")
        ]
        return await asyncio.gather(*requests)

    extra = {name: asked[name] for name in ("top_k", "min_p")}
    plain = {name: value for name, value in asked.items() if name not in extra}
    answers = asyncio.run(together())
    for answer in (answers[0], answers[2]):
        assert [choice.text for choice in answer.choices] == alone
    assert answers[1].choices[0].text != alone[0]


def test_several_prompts_have_choices_in_their_order(live: Live):
    prompts = ["one", "two", "three"]
    answer = live.openai.completions.create(model="tiny", prompt=prompts, temperature=0, max_tokens=6, n=2, echo=True)
    expected = [prompt + live.service.model.generate(prompt, max_new_tokens=6) for prompt in prompts for _ in range(2)]
    assert [choice.text for choice in answer.choices] == expected
    assert [choice.index for choice in answer.choices] == list(range(6))
    written = 2 * sum(len(live.service.model.generate(prompt, max_new_tokens=6).tokens) for prompt in prompts)
    usage, read = answer.usage, len("onetwothree")
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (read, written)
    assert usage.total_tokens == read + written


def test_tokens_from_the_cache_are_counted_once_a_prompt(live: Live):
    async def usage() -> dict[str, Any]:
        jobs = [AnswerJob(prompt, Greedy(), 1) for prompt in ("one", "two") for _ in range(2)]
        work = await Work.begin(live.service, jobs, answers=2)
        async for _ in work.deltas():
            pass
        for handle, reused in zip(work.handles, (1, 64, 2, 64), strict=True):
            handle.sequence.reused = reused
        return work.usage

    assert asyncio.run(usage())["prompt_tokens_details"] == {"cached_tokens": 3}


def test_usage_is_in_every_chunk_of_a_stream_that_asks_for_it(live: Live):
    """null until the last one, as OpenAI has it; and in none of another stream."""
    for path, asked in (("/v1/completions", {"prompt": "a"}), ("/v1/chat/completions", {"messages": TURNS})):
        for options in ({"include_usage": True}, {"include_usage": False}, None):
            body = {"stream": True, "max_tokens": 4, "seed": 1, "stream_options": options} | asked
            lines = [line.removeprefix("data: ") for line in live.post(path, **body).text.split("\n\n") if line]
            *chunks, last = map(json.loads, lines[:-1])
            assert lines[-1] == "[DONE]" and chunks
            if options == {"include_usage": True}:
                assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
                assert last["choices"] == [] and last["usage"]["completion_tokens"] == 4
            else:
                assert not any("usage" in chunk for chunk in (*chunks, last))


def test_echo_scores_a_prompt(live: Live):
    """What lm-evaluation-harness asks for: every token of the prompt by the tokens before it, and one more."""
    model, text = live.service.model, "né 😀 and on"
    ids = model.tokenizer.encode(text)
    for prompt in (text, ids):
        for longest in (0, 1):
            answer = live.openai.completions.create(
                model="tiny", prompt=prompt, echo=True, logprobs=2, max_tokens=longest, temperature=0
            )
            (choice,) = answer.choices
            logged = choice.logprobs
            assert logged is not None and logged.token_logprobs is not None and logged.tokens is not None
            assert len(logged.tokens) == len(ids) + longest and logged.token_logprobs[0] is None
            scored = model.logits([ids]).log_softmax(-1)[0]
            expected = [float(scored[place, token]) for place, token in enumerate(ids[1:])]
            assert logged.token_logprobs[1 : len(ids)] == pytest.approx(expected, abs=1e-4)
            assert choice.text.startswith(text)
    places = logged.text_offset
    assert places is not None and places[: len(ids)] == [
        len(text.encode()[:size].decode(errors="ignore")) for size in range(len(ids))
    ]
    assert logged.tokens[1:3] == ["bytes:\\xc3", "bytes:\\xa9"]
    assert logged.top_logprobs is not None
    for token, top, value in list(zip(logged.tokens, logged.top_logprobs, logged.token_logprobs, strict=True))[1:]:
        assert top[token] == value and 2 <= len(top) <= 3 and max(top.values()) >= value


def test_logprobs_of_every_token_that_was_written(live: Live):
    answer = chat(live, temperature=0, max_tokens=9, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content  # type: ignore[union-attr]
    alone = live.service.model.generate(TURNS, max_new_tokens=9)
    assert content is not None and len(content) == len(alone.tokens)
    assert [token.logprob for token in content] == pytest.approx(alone.logprobs, abs=1e-4)
    for token in content:
        assert len(token.top_logprobs) == 3 and token.top_logprobs[0].token == token.token


def test_every_setting_reaches_the_strategy(live: Live):
    """Each changes the answer, and to what the library writes with it."""
    prompt = "the the the the"
    settings: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "frequency_penalty": ({"frequency_penalty": 2.0}, {"frequency_penalty": 2.0}),
        "presence_penalty": ({"presence_penalty": 2.0}, {"presence_penalty": 2.0}),
        "repetition_penalty": ({"repetition_penalty": 1.9}, {"repetition_penalty": 1.9}),
        "logit_bias": ({"logit_bias": {"65": 100}}, {"logit_bias": {65: 100.0}}),
        "no_repeat_ngram": ({"no_repeat_ngram": 1}, {"no_repeat_ngram": 1}),
    }
    plain = live.service.model.generate(prompt, max_new_tokens=30)
    for name, (sent, set_) in settings.items():
        text = live.post("/v1/completions", prompt=prompt, temperature=0, max_tokens=30, **sent).json()["choices"][0][
            "text"
        ]
        assert text == live.service.model.generate(prompt, Greedy(**set_), max_new_tokens=30), name
        assert text != plain, name
    for name, value in (("top_k", 2), ("top_p", 0.1), ("min_p", 0.9), ("typical_p", 0.1), ("temperature", 0.1)):
        sent = {"temperature": 1.7, "seed": 5, "prompt": prompt, "max_tokens": 30} | {name: value}
        text = live.post("/v1/completions", **sent).json()["choices"][0]["text"]
        made = Sample(**{"temperature": 1.7, "seed": 5, name: value})
        assert text == live.service.model.generate(prompt, made, max_new_tokens=30), name


def test_an_answer_keeps_to_its_form(live: Live):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 99}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    said = json.loads(chat(live, max_tokens=60, response_format=form).choices[0].message.content or "")
    assert set(said) == {"n"} and isinstance(said["n"], int)
    for forms, allowed in (({"choice": ["yes", "no"]}, {"yes", "no"}), ({"regex": "a{3}|b{2}"}, {"aaa", "bb"})):
        answer = live.post("/v1/completions", prompt="?", structured_outputs=forms).json()["choices"][0]
        assert answer["text"] in allowed and answer["finish_reason"] == "stop"
    text = chat(live, max_tokens=9, response_format={"type": "text"}, temperature=0).choices[0].message.content
    assert text == live.service.model.generate(TURNS, max_new_tokens=9)


def test_message_parts_and_roles(live: Live):
    parts = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "short."}]},
        *TURNS,
    ]
    answer = live.post("/v1/chat/completions", messages=parts, temperature=0, max_tokens=9).json()
    plain = [{"role": "system", "content": "Be short."}, *TURNS]
    assert answer["choices"][0]["message"]["content"] == live.service.model.generate(plain, max_new_tokens=9)


def test_guesses_change_no_answer():
    """`lmworks serve --lookup`."""
    prompt = "ab cd ef gh " * 8
    with running(Service(small(), name="tiny", lookup=Lookup())) as live:
        for sent, strategy in (
            ({"temperature": 0}, Greedy()),
            ({"seed": 3, "temperature": 0.7}, Sample(temperature=0.7, seed=3)),
        ):
            text = live.post("/v1/completions", prompt=prompt, max_tokens=40, **sent).json()["choices"][0]["text"]
            assert text == live.service.model.generate(prompt, strategy, max_new_tokens=40)
        form = {"structured_outputs": {"regex": "(ab cd ){3}"}}
        text = live.post("/v1/completions", prompt=prompt, max_tokens=60, **form).json()["choices"][0]["text"]
        assert text == "ab cd " * 3


def test_an_encoder_decoder_answers_a_source():
    both = {"family": "lmworks", "arrangement": "encoder-decoder", "positions": "relative"}
    with running(Service(small(**both), name="both")) as live:
        answer = live.post("/v1/completions", prompt="a dog", max_tokens=8, temperature=0).json()
        alone = live.service.model.generate("a dog", Greedy(), max_new_tokens=8)
        assert answer["choices"][0]["text"] == alone and answer["usage"]["prompt_tokens"] == len(alone.prompt)
        assert "nothing to echo" in live.error("/v1/completions", prompt="a", echo=True)["message"]
        assert "no conversations" in live.error("/v1/chat/completions", messages=TURNS)["message"]
        assert "no pooled states" in live.error("/v1/embeddings", input="a")["message"]
        assert "two stacks" in live.error("/v1/inspect", prompt="a")["message"]


def test_several_streams_of_one_request_are_told_apart(live: Live):
    asked = {"prompt": ["one", "two"], "n": 2, "seed": 4, "max_tokens": 12}
    whole = [choice["text"] for choice in live.post("/v1/completions", **asked).json()["choices"]]
    parts = ["", "", "", ""]
    for chunk in live.openai.completions.create(model="tiny", stream=True, **asked):  # type: ignore[call-overload]
        parts[chunk.choices[0].index] += chunk.choices[0].text
    assert parts == whole and len(set(whole)) == 4

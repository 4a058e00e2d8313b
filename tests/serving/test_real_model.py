"""The official client, the real small model, and what a small model is used for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import openai
import pytest
from adaptation.adapted import randomise_adapters

import lmworks as lm
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.adaptation.peft_format import write_adapter
from lmworks.generation.engine import Engine
from lmworks.serving.service import Service
from serving.live import Live, running, small

ASKED = [
    "Say hello to Zoë in three languages, with an emoji 😀 each.",
    "Write 日本語 and हिन्दी, then é as two characters: e\u0301.",
    "Count from one to ten.",
    "What is a list in Python?",
]


def test_answers_do_not_depend_on_their_neighbours(smollm2: Live):
    """Pitfalls 30 and 33 through the server: greedy and with a seed, alone and all at once, whole and streamed."""
    model = smollm2.service.model
    turns = [[{"role": "user", "content": text}] for text in ASKED]
    alone = [model.generate(one, max_new_tokens=24) for one in turns]
    drawn = [model.generate(one, lm.Sample(temperature=0.9, top_p=0.9, seed=5), max_new_tokens=24) for one in turns]

    async def all_() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{smollm2.address}/v1", api_key="none") as client:

            async def whole(messages: object) -> str:
                answer = await client.chat.completions.create(
                    model="smollm2",
                    messages=messages,
                    temperature=0,
                    max_tokens=24,  # type: ignore[arg-type]
                )
                return answer.choices[0].message.content or ""

            async def streamed(messages: object) -> str:
                stream = await client.chat.completions.create(
                    model="smollm2",
                    messages=messages,
                    temperature=0.9,
                    top_p=0.9,
                    seed=5,
                    max_tokens=24,
                    stream=True,  # type: ignore[arg-type]
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            found = await asyncio.gather(*map(whole, turns), *map(streamed, turns))
            return found[: len(turns)], found[len(turns) :]

    assert asyncio.run(all_()) == ([str(one) for one in alone], [str(one) for one in drawn])


def test_a_stop_string_neither_leaks_nor_eats(smollm2: Live):
    """Pitfall 31, at every place of a real answer."""
    asked = {"model": "smollm2", "prompt": "one two three", "temperature": 0, "max_tokens": 16}
    whole = smollm2.openai.completions.create(**asked).choices[0].text  # type: ignore[call-overload]
    for start in range(0, len(whole) - 6, 9):
        stop = whole[start : start + 6]
        chunks = smollm2.openai.completions.create(**asked, stop=[stop], stream=True)  # type: ignore[call-overload]
        text = "".join(chunk.choices[0].text for chunk in chunks)
        assert text == whole[: whole.index(stop)]


def test_json_of_a_real_model(smollm2: Live):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 10**8}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    answer = smollm2.openai.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Name a city and how many people live there."}],
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
        max_tokens=60,
        temperature=0,
    )
    said = json.loads(answer.choices[0].message.content or "")
    assert set(said) == {"city", "people"} and isinstance(said["people"], int)


def test_a_server_answers_as_the_engine_alone(smollm2: Live):
    """And reads a beginning that it has seen once only."""
    long = "The quick brown fox jumps over the lazy dog. " * 20
    with Engine(smollm2.service.model) as engine:
        alone = engine.submit(long, max_new_tokens=8).answer(60)
    for number in range(2):
        answer = smollm2.openai.completions.create(model="smollm2", prompt=long, temperature=0, max_tokens=8)
        assert answer.choices[0].text == alone
        cached = answer.usage.prompt_tokens_details.cached_tokens  # type: ignore[union-attr]
        assert cached is not None and (cached > 100) == bool(number)


def test_a_directory_with_an_adapter_is_served(tmp_path: Path):
    """As `lmworks serve DIR` loads it: the base that it names, and the adapter on it."""
    base = small()
    base.save(tmp_path / "base")
    add_lora(base.network, LoRAConfig(rank=2))
    randomise_adapters(base.network)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", base.network, str(tmp_path / "base"))
    texts = []
    for served in (lm.load(tmp_path / "adapter"), lm.load(tmp_path / "base")):
        with running(Service(served, name="mine")) as live:
            answer = live.openai.completions.create(model="mine", prompt="a", temperature=0, max_tokens=20)
            assert live.post("/v1/inspect", prompt="abc").status_code == 200
        texts.append(answer.choices[0].text)
    assert texts[0] == base.generate("a", max_new_tokens=20) != texts[1]


def test_lm_evaluation_harness_scores_as_we_do(smollm2: Live):
    """Its log-likelihoods over /v1/completions, with our tokenizer over HTTP, against our own."""
    models = pytest.importorskip("lm_eval.models.openai_completions", reason="pip install lm-eval")
    instances = pytest.importorskip("lm_eval.api.instance")
    pairs = [
        ("The capital of France is", " Paris"),
        ("The capital of France is", " a cat that sleeps"),
        ("né 😀", " and on"),
    ]
    harness = models.LocalCompletionsAPI(
        model="smollm2", base_url=f"{smollm2.address}/v1/completions", max_length=1024, batch_size=2
    )
    asked = [
        instances.Instance("loglikelihood", {}, pair, number, ("pairs", number, 1)) for number, pair in enumerate(pairs)
    ]
    for (context, text), (found, greedy) in zip(pairs, harness.loglikelihood(asked), strict=True):
        scored = smollm2.service.model.score(text, prompt=context)
        assert found == pytest.approx(sum(scored.logprobs), abs=1e-3)
        assert greedy == (smollm2.service.model.generate(context, max_new_tokens=len(scored.tokens)) == text)

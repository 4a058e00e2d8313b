"""A server that lets the text choose among its adapters: by the name auto, and who answered is told."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from adaptation.adapted import adapter_folder
from adaptation.routed import NUMBERS, SHAPE, SIGNS, WORDS, asked, routed_folder
from grounding.small_index import indexed

import lmworks as lm
from lmworks.basics.errors import ConfigError
from lmworks.kernels import unavailable
from lmworks.models.unread import peek, unread_of
from lmworks.serving.log import Log
from lmworks.serving.opening import Opening, one, several
from lmworks.serving.service import Service
from serving.live import Live, running


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return routed_folder(tmp_path_factory.mktemp("routed"))


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    opening = Opening(adapters={"words": root / "words", "numbers": root / "numbers"})
    with running(one(str(root / "base"), opening, name="base")) as made:
        yield made


def complete(live: Live, prompt: Any, name: str, **more: Any) -> Any:
    answer = live.post("/v1/completions", prompt=prompt, model=name, max_tokens=6, temperature=0, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_text_chooses_and_the_answer_says_who_wrote_it(live: Live):
    for prompt, name in ((WORDS[2], "words"), (NUMBERS[4], "numbers"), (SIGNS[2], "base")):
        routed, named = complete(live, prompt, "auto"), complete(live, prompt, name)
        assert routed["model"] == name and routed["choices"][0]["text"] == named["choices"][0]["text"]
        assert routed["choices"][0]["adapter"] == (None if name == "base" else name)
        assert "adapter" not in named["choices"][0]
        chats = [
            live.post("/v1/chat/completions", messages=asked(prompt), model=one, max_tokens=6, temperature=0).json()
            for one in ("auto", name)
        ]
        assert chats[0]["model"] == name
        assert chats[0]["choices"][0]["message"] == chats[1]["choices"][0]["message"]
        response = live.post("/v1/responses", input=prompt, model="auto", max_output_tokens=6, temperature=0).json()
        assert response["model"] == name
    streamed = live.openai.completions.create(model="auto", prompt=WORDS[2], max_tokens=6, temperature=0, stream=True)
    assert {one.model for one in streamed} == {"words"}


def test_prompts_of_one_request_go_to_different_ones(live: Live):
    routed = complete(live, [NUMBERS[1], SIGNS[3], WORDS[1]], "auto", n=2)
    assert routed["model"] == "auto"
    assert [one["adapter"] for one in routed["choices"]] == ["numbers", "numbers", None, None, "words", "words"]
    texts = [complete(live, prompt, name)["choices"][0]["text"]
             for prompt, name in ((NUMBERS[1], "numbers"), (SIGNS[3], "base"), (WORDS[1], "words"))]  # fmt: skip
    assert [one["text"] for one in routed["choices"]][::2] == texts


def test_auto_is_listed_and_is_for_what_writes(live: Live):
    assert [one["id"] for one in live.http.get("/v1/models").json()["data"]] == ["base", "words", "numbers", "auto"]
    for path, field in (("/v1/embeddings", "input"), ("/v1/inspect", "prompt"), ("/v1/next_token", "prompt")):
        refused = live.post(path, model="auto", **{field: "a"})
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == "the model auto does not do this; ask base"
    refused = live.post("/v1/completions", prompt=[4000], model="auto", max_tokens=1)
    assert refused.status_code == 400 and "the prompt names the token 4,000" in refused.json()["error"]["message"]


def test_the_log_says_which_adapter_answered(root: Path):
    lines = io.StringIO()
    opening = Opening(adapters={"words": root / "words"}, log=Log(lines))
    with running(one(str(root / "base"), opening, name="base"), log=opening.log) as live:
        complete(live, WORDS[2], "auto")
        complete(live, SIGNS[2], "auto")
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["adapter"] for line in told if line.get("path") == "/v1/completions"] == [["words"], [None]]


def test_without_what_tells_texts_apart_there_is_no_auto(root: Path, tmp_path: Path):
    base = str(root / "base")
    network = tiny.language_model(seed=4, **SHAPE).network
    plain = adapter_folder(tmp_path / "plain", network, base)
    adapters = {"words": root / "words", "plain": plain}
    assert "auto" not in one(base, Opening(adapters=adapters)).names
    assert "auto" not in several([base, f"{base}/."], Opening(adapters=adapters), memory=None, idle=1).names
    assert "auto" in several([base, f"{base}/."], Opening(adapters={"w": root / "words"}), memory=None, idle=1).names
    with pytest.raises(ConfigError, match="auto is how a request leaves the choice to its text"):
        one(base, Opening(adapters={"auto": root / "words"}))
    with pytest.raises(ConfigError, match="auto is how a request leaves the choice to its text"):
        several([base, f"{base}/."], Opening(adapters={"auto": root / "words"}), memory=None, idle=1)
    named = several([base, f"{base}/."], Opening(adapters={"auto": plain}), memory=None, idle=1)
    assert named.named("auto").adapters == ("auto",)  # a name like any other, where no text chooses
    assert lm.load(base).adapters == []


def test_a_text_is_read_by_what_runs_and_no_weights_are_read_for_it(root: Path):
    model = lm.load(root / "base", compress="int8")
    if model.runner.name == "PyTorch":
        pytest.skip(str(unavailable()))
    for name in ("words", "numbers"):
        lm.add_adapter(model, name, root / name)
    prompts = [WORDS[2], NUMBERS[4], SIGNS[2]]
    service = Service(model)
    try:
        assert asyncio.run(service.adapters_for(prompts)) == lm.route(model, prompts) == ["words", "numbers", None]
        assert unread_of(peek(model.network.blocks[1].attention.qkv.base, "weight")) is not None
        assert unread_of(peek(model.network.embedding, "weight")) is not None
        assert service.router_reads is model
    finally:
        service.close()


def test_where_pytorch_runs_the_model_one_copy_reads_all_texts(root: Path):
    model = lm.load(root / "base", compress="none")
    lm.add_adapter(model, "words", root / "words")
    service = Service(model)
    try:
        reads = service.router_reads
        assert asyncio.run(service.adapters_for([WORDS[2], SIGNS[2]])) == ["words", None]
        assert reads is service.router_reads and reads is not model
    finally:
        service.close()


def test_an_answer_from_documents_is_the_models_own(root: Path, tmp_path: Path, minilm: str):
    notes = {"rent.md": "The rent is due on the third day. It costs 700 euros.\n"}
    index = indexed(tmp_path, notes, minilm, longest=80, language="english")
    adapters = {"words": root / "words", "numbers": root / "numbers"}
    opening = Opening(adapters=adapters, index_of=lambda source: index)
    question = "When is the rent due?"
    with running(one(str(root / "base"), opening, name="base")) as live:
        told = live.post("/v1/chat/completions", messages=asked(question), model="auto").json()
        assert told["choices"][0]["message"]["citations"] and told["model"] == "base"
        assert live.post("/v1/responses", input=question, model="auto").json()["model"] == "base"

"""Vectors, tokens, counts, and the look inside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import openai
import pytest
import tiny
import torch

from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hook_points
from lmworks.serving.api import inspection
from lmworks.serving.metrics import Metrics
from lmworks.serving.models import ServedModels
from lmworks.serving.pytorch_worker import twin
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from lmworks.tokens.chat.conversation import encode_chat
from serving.live import Live, running, small


@pytest.fixture(scope="module")
def encoder() -> LanguageModel:
    made = tiny.language_model(seed=1, family="bert", arrangement="encoder", positions="learned", context=64)
    made.reference = "vectors"
    return made


@pytest.fixture(scope="module")
def both(encoder: LanguageModel):
    with running(Service(small(), name="tiny", embedder=encoder)) as live:
        yield live


def test_vectors_are_those_of_embed(both: Live, encoder: LanguageModel):
    texts = ["a cat", "né 😀", "x" * 40] * 20
    expected = encoder.embed(texts)
    for form in ("float", "base64"):
        answer = both.openai.embeddings.create(model="vectors", input=texts, encoding_format=form)
        found = both.post("/v1/embeddings", input=texts, encoding_format=form).json()
        assert [one.index for one in answer.data] == list(range(60))
        assert answer.usage.prompt_tokens == sum(map(len, encoder.tokenizer.encode_batch(texts)))
        assert isinstance(found["data"][0]["embedding"], list if form == "float" else str)
    vectors = both.openai.embeddings.create(model="vectors", input=texts)  # base64 by itself
    assert torch.allclose(torch.tensor([one.embedding for one in vectors.data]), expected, atol=1e-5)
    assert both.openai.embeddings.create(model="vectors", input="a cat").data[0].embedding == pytest.approx(
        expected[0].tolist(), abs=1e-5
    )


def test_vectors_of_tokens_are_those_of_their_text(both: Live, encoder: LanguageModel):
    """A list of ids is one text, a list of lists several; what /tokenize gave is read as it is."""
    texts = ["a cat", "né 😀", "x" * 40]
    ids = encoder.tokenizer.encode_batch(texts)
    expected = encoder.embed(texts)
    several = both.openai.embeddings.create(model="vectors", input=ids)
    assert torch.allclose(torch.tensor([one.embedding for one in several.data]), expected, atol=1e-5)
    assert several.usage.prompt_tokens == sum(map(len, ids))
    one = both.openai.embeddings.create(model="vectors", input=ids[1])
    assert len(one.data) == 1 and one.data[0].embedding == pytest.approx(expected[1].tolist(), abs=1e-5)
    assert "there is no token 100,000" in both.error("/v1/embeddings", input=[[5], [100_000]])["message"]
    assert "input.1 has 100 tokens" in both.error("/v1/embeddings", input=[[5], [5] * 100])["message"]
    assert "input.1 is empty" in both.error("/v1/embeddings", input=[[5], []])["message"]
    assert "input.1 is 5; give a text" in both.error("/v1/embeddings", input=["a", 5])["message"]
    cut = both.post("/v1/embeddings", input=[ids[0][0]] + [7] * 99, truncate_prompt_tokens=-1).json()
    assert cut["usage"]["prompt_tokens"] == 64


def test_a_text_too_long_for_a_vector(both: Live, encoder: LanguageModel):
    error = both.error("/v1/embeddings", input="x" * 100)
    size = len(encoder.tokenizer.encode("x" * 100))
    assert error["message"] == (
        f"input has {size} tokens and the model reads 64; split it, or give truncate_prompt_tokens -1"
    )
    assert (error["param"], error["code"]) == ("input", "context_length_exceeded")
    assert both.post("/v1/embeddings", input="x" * 100, truncate_prompt_tokens=-1).status_code == 200
    cut = both.post("/v1/embeddings", input=["x" * 100, "ab"], truncate_prompt_tokens=-1).json()
    assert cut["usage"]["prompt_tokens"] == 64 + len(encoder.tokenizer.encode("ab"))  # what was read
    assert "no vector" in both.error("/v1/embeddings", input=["a", ""])["message"]
    assert "makes 32" in both.error("/v1/embeddings", input="a", dimensions=8)["message"]
    assert "at most 256" in both.error("/v1/embeddings", input=["a"] * 300)["message"]


def test_vectors_have_a_bound_of_time(encoder: LanguageModel):
    with running(Service(encoder, limits=ServerLimits(seconds=1e-6))) as live:
        response = live.post("/v1/embeddings", input=["a"] * 40)
        assert response.status_code == 504 and response.json()["error"]["code"] == "timeout"


def test_a_model_is_told_by_its_name(both: Live):
    for model in both.openai.models.list().data:
        assert both.openai.models.retrieve(model.id) == model
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt/4'; there is tiny and vectors"):
        both.openai.models.retrieve("gpt/4")


def test_each_model_does_its_own_work(both: Live):
    assert [one.id for one in both.openai.models.list().data] == ["tiny", "vectors"]
    with pytest.raises(openai.BadRequestError, match="the model vectors does not do this; ask tiny"):
        both.openai.completions.create(model="vectors", prompt="a")


def test_an_encoder_alone_makes_vectors_and_writes_nothing(encoder: LanguageModel):
    with running(Service(encoder)) as live:
        assert live.post("/v1/embeddings", input="a", model="vectors").status_code == 200
        assert "is an encoder and does not write" in live.error("/v1/completions", prompt="a")["message"]
        assert live.http.get("/metrics").status_code == 200
        look = live.post("/v1/inspect", prompt="abc", attention=[0]).json()
        assert len(look["attention"][0]["heads"]) == encoder.config.heads and "layers" not in look


def test_a_decoder_makes_vectors_and_writes_on(live: Live):
    """The engine's network is not touched while vectors are made."""
    alone = live.service.model.generate("a", max_new_tokens=60)
    handle = live.service.engine.submit("a", max_new_tokens=60)
    vector = live.post("/v1/embeddings", input="some text").json()["data"][0]["embedding"]
    assert handle.answer(60).tokens == alone.tokens
    assert vector == pytest.approx(live.service.model.embed(["some text"])[0].tolist(), abs=1e-3)


def test_tokens_go_and_come_back(live: Live):
    text, tokenizer = "né 😀", live.service.model.tokenizer
    answer = live.post("/tokenize", prompt=text, return_token_strs=True).json()
    assert answer["tokens"] == tokenizer.encode(text) and answer["count"] == len(answer["tokens"])
    assert answer["token_strs"][0] == "n" and answer["max_model_len"] == 512
    assert live.post("/detokenize", tokens=answer["tokens"]).json() == {"prompt": text}
    turns = [{"role": "user", "content": text}]
    for opening in (True, False):
        answer = live.post("/tokenize", messages=turns, add_generation_prompt=opening).json()
        assert answer["tokens"] == encode_chat(tokenizer, turns, add_generation_prompt=opening)
        assert live.post("/detokenize", tokens=answer["tokens"]).json()["prompt"].startswith("<|im_start|>user\n")
    assert "no token" in live.error("/detokenize", tokens=[10_000])["message"]


def test_metrics_count_what_was_done():
    with running(Service(small(), name="tiny", limits=ServerLimits(seats=2, queue=1))) as live:
        for _ in range(3):
            live.post("/v1/completions", prompt="abcd", max_tokens=5, temperature=0)
        live.post("/v1/completions", prompt="x" * 600)
        text = live.http.get("/metrics").text
    for line in (
        'lmworks:prompt_tokens_total{model_name="tiny"} 12.0',
        'lmworks:generation_tokens_total{model_name="tiny"} 15.0',
        'lmworks:num_requests_running{model_name="tiny"} 0.0',
        'lmworks:num_requests_waiting{model_name="tiny"} 0.0',
        'lmworks:request_success_total{finished_reason="length",model_name="tiny"} 3.0',
        'lmworks:time_to_first_token_seconds_count{model_name="tiny"} 3.0',
        'lmworks:inter_token_latency_seconds_count{model_name="tiny"} 3.0',
        'lmworks:e2e_request_latency_seconds_count{model_name="tiny"} 3.0',
        'lmworks:request_generation_tokens_sum{model_name="tiny"} 15.0',
        'lmworks:http_requests_total{model_name="tiny",path="/v1/completions",status="400"} 1.0',
    ):
        assert line in text
    assert "lmworks:kv_cache_usage_perc{" in text


def test_the_time_between_tokens_is_the_mean_of_an_answer():
    """From the first token to the last, divided by the tokens after the first; an answer of one token has none."""

    def handle(tokens: int, first: float, ended: float) -> Any:
        asked = SimpleNamespace(counted=1)
        sequence = SimpleNamespace(finish="stop", request=asked, tokens=[1] * tokens)
        return SimpleNamespace(sequence=sequence, created=0.0, first=first, ended=ended)

    metrics = Metrics(ServedModels([]))
    handles = [handle(5, 1.0, 3.0), handle(2, 1.0, 1.25), handle(1, 1.0, 1.0)]
    metrics.worked(SimpleNamespace(handles=handles, service=SimpleNamespace(name="tiny")))  # type: ignore[arg-type]
    text = metrics.text().decode()
    for line in (
        'lmworks:inter_token_latency_seconds_sum{model_name="tiny"} 0.75',
        'lmworks:inter_token_latency_seconds_count{model_name="tiny"} 2.0',
        'lmworks:time_to_first_token_seconds_sum{model_name="tiny"} 3.0',
        'lmworks:e2e_request_latency_seconds_sum{model_name="tiny"} 5.25',
    ):
        assert line in text


def test_the_look_inside_is_the_network_s_own(live: Live):
    model, text = live.service.model, "né 😀 and"
    ids = model.tokenizer.encode(text)
    look = live.post("/v1/inspect", prompt=text, top=3, attention=[1], heads=[2, 0]).json()
    logprobs = model.logits([ids])[0].log_softmax(-1)
    assert [token["id"] for token in look["tokens"]] == ids and look["tokens"][0]["logprob"] is None
    for place, token in enumerate(look["tokens"][1:]):
        assert token["logprob"] == pytest.approx(float(logprobs[place, token["id"]]), abs=1e-4)
        assert token["top_logprobs"][0]["id"] == int(logprobs[place].argmax()) and len(token["top_logprobs"]) == 3
    assert look["next"][0]["id"] == int(logprobs[-1].argmax())
    assert [layer["layer"] for layer in look["layers"]] == [0, 1]
    last = [place[0]["id"] for place in look["layers"][-1]["top_logprobs"]]
    assert last == logprobs.argmax(-1).tolist()  # after the last layer the lens is the answer
    assert [place[0]["id"] for place in look["layers"][0]["top_logprobs"]] != last
    _, seen = model.network.run_with_cache(torch.tensor([ids]))
    (layer,) = look["attention"]
    assert [head["head"] for head in layer["heads"]] == [2, 0]
    pattern = torch.tensor(layer["heads"][0]["weights"])
    assert torch.allclose(pattern, seen["blocks.1.attention.pattern"][0, 2], atol=1e-4)


def test_a_look_is_bounded(live: Live, monkeypatch: pytest.MonkeyPatch):
    assert "at most 512" in live.error("/v1/inspect", prompt="x" * 600)["message"]
    assert "has 2, counted from 0" in live.error("/v1/inspect", prompt="x", layers=[2])["message"]
    assert "heads names 4" in live.error("/v1/inspect", prompt="x", attention=[0], heads=[4])["message"]
    assert "name fewer layers or heads" in live.error("/v1/inspect", prompt="x" * 500, attention=[0, 1])["message"]
    assert live.post("/v1/inspect", prompt="x" * 500, attention=[0], heads=[1], layers=[]).status_code == 200
    assert "give a prompt or messages" in live.error("/v1/inspect", top=3)["message"]
    monkeypatch.setattr(inspection, "MOST_PLACES", 20)
    assert "2 layers of 11 tokens are more than 20 places" in live.error("/v1/inspect", prompt="x" * 11)["message"]
    assert live.post("/v1/inspect", prompt="x" * 10).status_code == 200
    assert live.post("/v1/inspect", prompt="x" * 20, layers=[1]).status_code == 200


@pytest.mark.parametrize("path", ["/tokenize", "/v1/inspect"])
def test_an_image_is_not_left_out_of_a_conversation_in_silence(live: Live, path: str):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "a"}, image]}]
    assert "images are not read here" in live.error(path, messages=turns)["message"]


def test_a_twin_shares_the_weights_and_nothing_else(live: Live):
    """So that hooks of a look, and modes of an embedding, never reach what the engine runs."""
    model = live.service.model
    made = twin(model)
    for own, theirs in zip(made.network.parameters(), model.network.parameters(), strict=True):
        assert own.data_ptr() == theirs.data_ptr()
    points = hook_points(model.network)
    for path, point in hook_points(made.network).items():
        assert point is not points[path] and point.functions is not points[path].functions
    assert not set(map(id, made.network.modules())) & set(map(id, model.network.modules()))
    assert made.runner.name == "PyTorch"
    assert torch.equal(made.logits([[1, 2, 3]]), model.logits([[1, 2, 3]]))

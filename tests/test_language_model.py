"""LanguageModel as its users meet it: answers, scores, mistakes, and the real small model."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.generation.strategies import Greedy, Sample
from lmworks.language_model import LanguageModel

DARWIN = (
    "When on board H.M.S. Beagle, as naturalist, I was much struck with certain facts in the "
    "distribution of the inhabitants of South America, and in the geological relations of the present "
    "to the past inhabitants of that continent. These facts seemed to me to throw some light on the "
    "origin of species, that mystery of mysteries, as it has been called by one of our greatest "
    "philosophers."
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(seed=4, context=64)


def test_an_answer_knows_how_it_came_about(model: LanguageModel):
    answer = model.generate("Once", Sample(seed=3), max_new_tokens=9)
    assert isinstance(answer, str) and answer.text == answer
    assert answer.prompt == model.tokenizer.encode("Once")
    assert len(answer.tokens) == len(answer.logprobs) <= 9 and answer.seed == 3
    assert all(logprob <= 0 for logprob in answer.logprobs)
    assert model.generate("Once").seed is None


def test_why_an_answer_ended(model: LanguageModel):
    length = model.generate("Once", max_new_tokens=4)
    assert length.finish == "length" and len(length.tokens) == 4
    window = model.generate("x" * 60, max_new_tokens=1000)
    assert window.finish == "window" and len(window.prompt) == 60 and len(window.tokens) == 4
    first = model.tokenizer.decode(length.tokens)[:1]
    stop = model.generate("Once", max_new_tokens=4, stop=[first])
    assert stop.finish == "stop" and stop == ""
    assert model.generate("Once", max_new_tokens=4, stop=first) == stop  # one text is a list of one


def test_the_token_that_ends_a_turn_ends_the_answer():
    model = tiny.language_model(seed=4, tied=False)
    end = model.tokenizer.eos
    with torch.no_grad():  # the logit of the end is the largest or the smallest, by the state
        model.network.head.weight.zero_()[end] = 1
    prompt = next(text for text in "abcdefgh" if float(model.logits([model.tokenizer.encode(text)])[0, -1, end]) > 0)
    answer = model.generate(prompt, max_new_tokens=5)
    assert answer.finish == "stop" and answer.tokens == [end] and answer == ""


def test_a_conversation_is_read_through_the_chat_template(model: LanguageModel):
    ids = model.encode_prompt([{"role": "user", "content": "hi"}])
    start, end = (model.tokenizer.vocabulary.backend.token_to_id(word) for word in ("<|im_start|>", "<|im_end|>"))
    assert ids.count(start) == 2 and ids.count(end) == 1
    answer = model.generate([{"role": "user", "content": "hi"}], max_new_tokens=3)
    assert answer.prompt == ids


def test_an_empty_text_begins_a_document(model: LanguageModel):
    assert model.encode_prompt("") == [model.tokenizer.document_start]
    assert len(model.generate("", max_new_tokens=3).tokens) == 3


def test_no_prompts_give_no_answers(model: LanguageModel):
    assert model.generate_batch([]) == []


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"temperature": -1.0}, "temperature is -1.0; it should be greater than or equal to 0"),
        ({"temperature": float("inf")}, "finite"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0; it should be greater than 0"),
        ({"top_p": 2}, "top_p is 2; it should be less than or equal to 1"),
        ({"top_k": 0}, "top_k is 0; it should be greater than 0"),
        ({"top_k": 1.5}, "top_k is 1.5"),
        ({"min_p": -0.1}, "min_p is -0.1; it should be"),
        ({"min_p": 1.1}, "min_p is 1.1; it should be"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0; it should be greater than 0"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"temprature": 1}, "temprature is not a setting; did you mean temperature?"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(settings: dict[str, Any], words: str):
    with pytest.raises(ConfigError) as caught:
        Sample(**settings)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ask, words",
    [
        (
            lambda model: model.generate("x" * 64),
            "the prompt has 64 tokens and the model reads 64; shorten it",
        ),
        (lambda model: list(model.stream("x" * 200)), "the prompt has 200 tokens"),
        (lambda model: model.generate("a", max_new_tokens=0), "max_new_tokens is 0; give at least 1"),
        (lambda model: model.generate("a", stop=[""]), "none of them empty"),
        (
            lambda model: model.generate_batch(["a", "b"], [Greedy()]),
            "2 prompts and 1 strategies; give one for all",
        ),
        (lambda model: model.logits([1, 2]), "ids have the shape [2]"),
        (lambda model: model.logits([[]]), "ids have the shape [1, 0]"),
        (lambda model: model.logits([[0.5]]), "torch.float32; give whole numbers"),
        (lambda model: model.logits([[1], [1, 2]]), "rows of equally many numbers; pad the shorter ones"),
        (lambda model: model.logits([[0, 259]]), "ids lie between 0 and 259, and the vocabulary has 259"),
        (lambda model: model.logits([[-1, 3]]), "ids lie between -1 and 3"),
        (
            lambda model: model.logits([[1, 2]], mask=[[True]]),
            "the mask has the shape [1, 1] and the ids [1, 2]",
        ),
        (lambda model: model.score(""), "the text is empty; there is nothing to score"),
        (lambda model: model.score("text", window=1), "the window is 1 tokens; give at least 2"),
        (lambda model: model.score("text", window=0), "the window is 0 tokens; give at least 2"),
        (lambda model: model.score("text", window=-5), "the window is -5 tokens; give at least 2"),
        (
            lambda model: model.generate(None),
            "prompt is None; give a string, a list of dicts or a list of whole numbers",
        ),
        (lambda model: model.stream(None), "prompt is None; give a string"),  # and not when the first piece is taken
        (lambda model: model.generate(["a", "b"]), "this is a list of 2 texts; give one text, or take generate_batch"),
        (lambda model: model.generate({"role": "user"}), "prompt is a dict; give a string, a list of dicts"),
        (lambda model: model.generate("a", "greedy"), "strategy is 'greedy'; give a strategy: lm.Greedy(), lm.Sample("),
        (lambda model: model.generate("a", Greedy), "strategy is the class Greedy; give a strategy"),
        (lambda model: model.generate("a", temperature=0.5), "give strategy=Sample(temperature=0.5)"),
        (lambda model: model.generate("a", max_tokens=5), "no argument max_tokens; did you mean 'max_new_tokens'?"),
        (lambda model: model.generate("a", max_new_tokens=2.5), "max_new_tokens is 2.5; give a whole number"),
        (lambda model: model.generate("a", window="slides"), "window is 'slides'; give 'stop' or 'slide'"),
        (lambda model: model.generate("a", constraint="[a-z]"), "constraint is '[a-z]'; give a JsonSchema, a Regex"),
        (lambda model: model.generate("a", guess="lookup"), "guess is 'lookup'; give a Guess"),
        (lambda model: model.generate("a", tools=[{}]), "tools is a list; give Tools(functions) of lmworks.gen"),
        (lambda model: model.generate_batch("ab"), "prompts is 'ab'; give a list"),
        (lambda model: model.score(["a"]), "text is a list; give a string"),
        (lambda model: model.embed("ab"), "texts is 'ab'; give a list"),
        (lambda model: model.patch("a", "b", 3), "metric is 3; give an answer, ' Paris', two answers"),
        (lambda model: model.patch("a", "b", ""), "the answer is empty"),
        (lambda model: model.save(None), "folder is None; give a string or a path"),
        (pickle.dumps, "a model is not pickled or copied; load it once more (lm.load), in another process by its ref"),
        (copy.deepcopy, "a model is not pickled or copied"),
    ],
)
def test_a_mistake_in_a_call_is_one_sentence(model: LanguageModel, ask: Any, words: str):
    with pytest.raises(ConfigError) as caught:
        ask(model)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda model: model.embed([None]), "a NoneType is no text; give a list of texts, or of their tokens' ids"),
        (lambda model: model.embed([b"ab"]), "a bytes is no text"),
        (lambda model: model.embed([["a"]]), "a list is no text"),
        (
            lambda model: model.loglikelihood(("a", "b")),
            "give a list of pairs of texts: [(context, continuation), ...]",
        ),
        (lambda model: model.loglikelihood([("a", 3)]), "give a list of pairs of texts"),
        (lambda model: model.generate([{"role": "user", "content": "a"}, "b"]), "message 2 is a str"),
        (lambda model: model.tokenizer.encode(3), "an int is no text; give a text"),
    ],
)
def test_texts_that_are_none_are_one_sentence(model: LanguageModel, ask: Any, words: str):
    with pytest.raises(DataError) as caught:
        ask(model)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_ids_and_texts_come_in_arrays_and_generators_too(model: LanguageModel):
    ids = model.tokenizer.encode("Once")
    said = model.generate("Once", max_new_tokens=5)
    for given in (ids, tuple(ids), np.array(ids), torch.tensor(ids), [np.int64(one) for one in ids], iter(ids)):
        assert model.generate(given, max_new_tokens=5) == said
    assert model.generate_batch((text for text in ("Once", "Twice")), max_new_tokens=5)[0] == said
    vectors = model.embed(["one", "two"])
    for texts in (("one", "two"), np.array(["one", "two"]), (text for text in ("one", "two"))):
        assert torch.equal(model.embed(texts), vectors)
    assert model.loglikelihood(pair for pair in [("a", "b")]) == model.loglikelihood([("a", "b")])


def test_a_model_says_what_it_is(model: LanguageModel, tmp_path: Path):
    assert repr(model) == f"<LanguageModel in memory: llama, {model.parameters:,} parameters, in PyTorch>"
    loaded = LanguageModel.load(model.save(tmp_path / "mine"))
    assert repr(loaded).startswith(f"<LanguageModel {tmp_path / 'mine'}: llama, ")


def test_half_a_character_is_refused(model: LanguageModel):
    for ask in (model.generate, model.score):
        with pytest.raises(DataError, match="surrogate"):
            ask("half \ud83d")


def test_an_empty_prompt_of_ids_is_refused(model: LanguageModel):
    from lmworks.generation.request import Request

    with pytest.raises(ConfigError, match="the prompt is empty; give at least one token"):
        Request(model.tokenizer, [], Greedy(), 5, [], 64)


def test_a_tokenizer_of_another_model_is_refused():
    with pytest.raises(ConfigError, match="the tokenizer has ids up to 258 and the network's vocabulary has 96"):
        LanguageModel(tiny.network(), tiny.byte_tokenizer())


def test_logits_take_padding_on_either_side(model: LanguageModel):
    alone = model.logits([[5, 6, 7]])
    right = model.logits([[5, 6, 7, 0, 0]], mask=[[1, 1, 1, 0, 0]])
    left = model.logits([[0, 0, 5, 6, 7]], mask=[[0, 0, 1, 1, 1]])
    assert alone.shape == (1, 3, model.config.vocab_size) and alone.dtype is torch.float32
    torch.testing.assert_close(right[:, :3], alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(left[:, 2:], alone, rtol=1e-5, atol=1e-5)


def test_a_score_counts_bytes_of_the_text_and_a_logprob_for_each_token(model: LanguageModel):
    """Pitfall 6."""
    for text in ("plain", "Grüße 😀 e\u0301", "日本", " "):
        score = model.score(text)
        assert score.bytes == len(text.encode()) == len(b"".join(model.tokenizer.bytes_of(score.tokens)))
        assert len(score.logprobs) == len(score.tokens)
        assert score.bits == pytest.approx(score.bits_per_byte * score.bytes)


def test_save_and_load_give_the_same_model(model: LanguageModel, tmp_path: Path):
    model.save(tmp_path / "model", {"recipe": {"steps": 3}})
    back = LanguageModel.load(tmp_path / "model")
    assert back.config == model.config and back.source == tmp_path / "model"
    assert torch.equal(back.logits([[1, 2, 3]]), model.logits([[1, 2, 3]]))
    assert back.generate("Once", max_new_tokens=9) == model.generate("Once", max_new_tokens=9)
    assert back.generate([{"role": "user", "content": "hi"}], max_new_tokens=3).prompt == model.encode_prompt(
        [{"role": "user", "content": "hi"}]
    )
    assert '"steps": 3' in (tmp_path / "model" / "lmworks.json").read_text()


def test_smollm2_knows_english_and_the_capital_of_france(smollm2_path: Path):
    model = LanguageModel.load(smollm2_path, dtype="float32")
    score = model.score(DARWIN)
    perplexity = torch.tensor(score.logprobs).neg().mean().exp().item()
    assert 10 < perplexity < 40 and 0.5 < score.bits_per_byte < 1.3
    jumbled = model.score(" ".join(sorted(DARWIN.split())))
    assert jumbled.bits_per_byte > 1.5 * score.bits_per_byte
    assert "Paris" in model.generate("The capital of France is", max_new_tokens=8)
    assert "Paris" in model.generate([{"role": "user", "content": "What is the capital of France?"}], max_new_tokens=20)


def test_a_path_names_a_model_wherever_a_string_does(tmp_path: Path):
    missing, words = tmp_path / "nothere", "there is no directory .*nothere; to make it"
    (tmp_path / "text.txt").write_text("Some text.\n")
    for job in (
        lambda: lm.load(missing),
        lambda: lm.build(tmp_path / "text.txt", missing, tmp_path / "out"),
        lambda: lm.tune(missing, tmp_path / "text.txt", out=tmp_path / "out"),
        lambda: lm.prefer(missing, tmp_path / "text.txt", out=tmp_path / "out"),
        lambda: lm.distill(missing, tmp_path / "text.txt", tmp_path / "out", layers=1),
        lambda: lm.privacy(missing),
        lambda: lm.merge([missing], tmp_path / "out", base=missing),
        lambda: lm.compress(missing, tmp_path / "out"),
        lambda: lm.export(missing, tmp_path / "out.gguf"),
    ):
        with pytest.raises(ModelError, match=words):
            job()


def test_a_model_that_cannot_be_loaded_so_is_one_sentence(model: LanguageModel, tmp_path: Path):
    folder = model.save(tmp_path / "mine")
    for given, words in (
        ({"device": "gpu"}, "there is no device 'gpu' on this machine for PyTorch; there is cpu"),
        ({"compress": 4}, "compress is 4; give a string"),
        ({"rope_scaling": 2}, "rope_scaling is 2; give a RopeScaling"),
    ):
        with pytest.raises(ConfigError, match=words):
            lm.load(folder, **given)
    with pytest.raises(ModelError, match="the model's name is empty; give an alias, a path, or"):
        lm.load("")

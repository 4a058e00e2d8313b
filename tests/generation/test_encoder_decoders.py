"""An encoder-decoder as its users meet it: a source in, a target out, what its folder says, and mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import AddedToken

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.generation import scoring
from lmworks.generation.chooser import Chooser
from lmworks.generation.generation_config import GenerationConfig
from lmworks.generation.strategies import Beam, Greedy, Sample
from lmworks.language_model import LanguageModel
from lmworks.tokens.languages import languages
from lmworks.tokens.source import target_start
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import add_around

BOTH = {"family": "lmworks", "arrangement": "encoder-decoder", "positions": "learned"}
BART_LIKE = {
    "num_beams": 4,
    "length_penalty": 2.0,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "min_length": 6,
    "forced_bos_token_id": 65,
    "forced_eos_token_id": 66,
    "bad_words_ids": [[67]],
    "decoder_start_token_id": 68,
    "max_length": 142,
    "something_new": {"unknown": 1},
    "temperature": None,
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(seed=4, context=64, **BOTH)


def test_an_answer_to_a_source_knows_how_it_came_about(model: LanguageModel):
    answer = model.generate("Guten Tag", Beam(width=3), max_new_tokens=9)
    assert answer.prompt == [*model.tokenizer.encode("Guten Tag", special=False), model.tokenizer.document_end]
    assert len(answer.others) == 2 and answer.seed is None and answer.finish == "length"
    for one in (answer, *answer.others):
        assert one.score == pytest.approx(sum(one.logprobs) / len(one.tokens), abs=1e-5) and one.prompt == answer.prompt
    drawn = model.generate("Guten Tag", Sample(seed=2), max_new_tokens=9)
    assert drawn.score is None and drawn.others == [] and drawn.seed == 2
    assert model.generate(answer.prompt, Beam(width=3), max_new_tokens=9) == answer
    assert "".join(model.stream("Guten Tag", Beam(width=3), max_new_tokens=9)) == answer


def test_a_source_is_encoded_once_whatever_the_beams(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    encoded, projected = [], []
    encode = model.network.encode
    monkeypatch.setattr(model.network, "encode", lambda *args: encoded.append(args[0].shape) or encode(*args))
    for block in model.network.blocks:
        block.cross_attention.kv.register_forward_hook(lambda _, args, out: projected.append(out.shape[:2]))
    model.generate_batch(["one", "three", "a"], Beam(width=4), max_new_tokens=12)
    assert encoded == [(3, 6)] and projected == [(3, 6)] * len(model.network.blocks)


def test_a_target_is_scored_with_its_end_given_its_source(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    score = model.score("xyz", prompt="abc")
    assert score.tokens == [*model.tokenizer.encode("xyz"), model.tokenizer.document_end] and score.bytes == 3
    memory = model.network.encode(torch.tensor([model.encode_prompt("abc")]))
    logits = model.network(torch.tensor([[target_start(model.tokenizer), *score.tokens[:-1]]]), memory=memory)[0]
    expected = logits.log_softmax(-1)[range(4), score.tokens].tolist()
    assert score.logprobs == pytest.approx(expected, abs=1e-5)
    assert score.logprobs != pytest.approx(model.score("xyz", prompt="abd").logprobs, abs=1e-5)
    assert model.score("", prompt="abc").tokens == [model.tokenizer.document_end]
    monkeypatch.setattr(scoring, "ROWS", 2)  # in parts, through a cache
    assert model.score("xyz", prompt="abc").logprobs == pytest.approx(expected, abs=1e-5)


def test_a_decoder_scores_a_text_behind_a_prompt():
    decoder = tiny.language_model(seed=4, context=64)
    whole, end = decoder.score("one two three"), decoder.score(" three", prompt="one two")
    assert end.tokens == whole.tokens[-6:] and end.bytes == 6
    first = decoder.tokenizer.document_start
    behind = decoder.score(" three", prompt=[first, *decoder.tokenizer.encode("one two")])
    assert behind.logprobs == pytest.approx(whole.logprobs[-6:], abs=1e-4)
    assert end.logprobs != pytest.approx(behind.logprobs, abs=1e-4)
    written = decoder.generate("one two", max_new_tokens=6)
    scored = decoder.score_tokens(written.tokens, 1, prompt=written.prompt)
    assert scored.logprobs == pytest.approx(written.logprobs, abs=1e-4)


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_the_folder_says_how_its_answers_are_made_and_saving_keeps_it(model: LanguageModel, file: str, tmp_path: Path):
    folder = model.save(tmp_path / "model")
    said = json.loads((folder / "generation_config.json").read_text())
    assert said["decoder_start_token_id"] == target_start(model.tokenizer)
    if file == "config.json":  # as older folders have it
        (folder / "generation_config.json").unlink()
        said = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(said | BART_LIKE))
    if file == "config.json":
        assert GenerationConfig.read(folder).strategy.width == 4
        return
    back = LanguageModel.load(LanguageModel.load(folder).save(tmp_path / "again"))
    wanted = Beam(width=4, length_penalty=2.0, early_stopping=True, no_repeat_ngram=3, min_new_tokens=5)
    assert back.generation_config.strategy == wanted
    answer = back.generate("abc", max_new_tokens=9)
    assert answer.tokens[0] == 65 and len(answer.others) == 3 and target_start(back.tokenizer) == 68
    assert any(one.tokens[-1] == 66 for one in (answer, *answer.others) if len(one.tokens) == 9)
    assert answer.tokens == back.generate("abc", wanted, max_new_tokens=9).tokens
    greedy = back.generate("abc", Greedy(), max_new_tokens=9)  # what is given counts; forced tokens are the model's own
    assert greedy.score is None and greedy.tokens[0] == 65 and greedy.tokens[-1] == 66
    assert back.score("x", prompt="abc").tokens[0] == 65


def test_a_decoder_answers_greedily_whatever_its_folder_says(tmp_path: Path):
    folder = tiny.language_model(seed=4, context=64).save(tmp_path / "model")
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(said | BART_LIKE | {"do_sample": True}))
    assert LanguageModel.load(folder).generate("a", max_new_tokens=5).score is None


@pytest.mark.parametrize(
    "said, words",
    [
        ({"num_beams": "many"}, "generation_config.json: width is 'many'"),
        ({"num_beams": 4, "length_penalty": "long"}, "generation_config.json: length_penalty is 'long'"),
        ({"forced_bos_token_id": 999}, "names the token 999 and the vocabulary has 259"),
        ({"forced_eos_token_id": -1}, "last is -1"),
        ({"bad_words_ids": [[1], [1000]]}, "names the token 1,000"),
        ({"bad_words_ids": [[]]}, "bad_words"),
        ({"bad_words_ids": 7}, "bad_words is 7"),
        ({"decoder_start_token_id": 259}, "names the token 259"),
        ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1.0}, "is not a multiple of groups"),
    ],
    ids=str,
)
def test_a_folder_that_says_nonsense_is_one_sentence(model: LanguageModel, said: dict, words: str, tmp_path: Path):
    folder = model.save(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError) as caught:
        LanguageModel.load(folder).generate("abc")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda model: model.generate([{"role": "user", "content": "hi"}]), "makes one target of one source text"),
        (lambda model: model.generate("x" * 64), "the source has 65 tokens and the model reads 64; shorten it"),
        (lambda model: model.generate([]), "the prompt is empty"),
        (lambda model: model.score("abc"), "give score(target, prompt=source)"),
        (lambda model: model.score("abc", prompt="x", window=5), "leave the window out"),
        (lambda model: model.score("x" * 64, prompt="x"), "the target has 65 tokens and the model reads 64"),
        (lambda model: model.score("x", prompt="x" * 64), "the source has 65 tokens and the model reads 64"),
        (lambda model: Beam(width=0), "width is 0; it should be greater than 0"),
        (lambda model: Beam(width=4, groups=3, diversity_penalty=1), "width (4) is not a multiple of groups (3)"),
        (lambda model: Beam(width=4, groups=2), "give both, or none"),
        (lambda model: Beam(diversity_penalty=0.5), "give both, or none"),
        (lambda model: Beam(early_stopping="often"), "early_stopping is 'often'"),
        (lambda model: Beam(length_penalty=float("nan")), "length_penalty is nan"),
        (lambda model: Beam(temperature=1), "temperature is not a setting"),
        (lambda model: Greedy(no_repeat_ngram=0), "no_repeat_ngram is 0"),
        (lambda model: Sample(min_new_tokens=-1), "min_new_tokens is -1"),
        (lambda model: Chooser(Beam()), "choose no next token; use Greedy or Sample"),
    ],
)
def test_a_mistake_is_one_sentence(model: LanguageModel, ask, words: str):
    with pytest.raises(ConfigError) as caught:
        ask(model)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_target_ends_where_the_context_does(model: LanguageModel):
    for strategy in (Greedy(), Beam(width=2)):
        answer = model.generate("abc", strategy, max_new_tokens=1000)
        assert answer.finish == "window" and len(answer.tokens) == 63
    assert model.generate("x" * 63, max_new_tokens=3).finish == "length"  # a source may fill it


def of_languages() -> LanguageModel:
    """A translator whose bytes stand between a language and an end, as NLLB's do."""
    backend = tiny.byte_tokenizer().vocabulary.backend
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("eng_Latn", "deu_Latn")])
    vocabulary = replace(tiny.byte_tokenizer().vocabulary, backend=backend, target_start=258)
    add_around(backend, backend.token_to_id("eng_Latn"), vocabulary.eos)
    network = tiny.network(seed=4, context=64, vocab_size=backend.get_vocab_size(), **BOTH)
    return LanguageModel(network, Tokenizer(vocabulary))


def test_a_translator_is_told_the_languages():
    model = of_languages()
    english, german = (languages(model.tokenizer)[name] for name in ("eng_Latn", "deu_Latn"))
    (into_german,) = model.translate(["abc"], "deu_Latn", max_new_tokens=6)
    (from_german,) = model.translate(["abc"], "eng_Latn", source="deu_Latn", max_new_tokens=6)
    assert (into_german.prompt[0], into_german.tokens[0]) == (english, german)
    assert (from_german.prompt[0], from_german.tokens[0]) == (german, english)
    assert into_german.prompt[1:] == from_german.prompt[1:] and into_german.tokens[1:] != from_german.tokens[1:]
    with pytest.raises(ConfigError, match=r"has no language 'fra_Latn'; there are deu_Latn, eng_Latn, \.\.\."):
        model.translate(["abc"], "fra_Latn")
    with pytest.raises(ConfigError, match="no tokens that name a language"):
        tiny.language_model(seed=4, context=64, **BOTH).translate(["abc"], "de")

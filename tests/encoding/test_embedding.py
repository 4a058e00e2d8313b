"""Texts as vectors: against the formula, against transformers on real weights, and what does not fit."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import tiny
import torch

import lmworks as lm
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.errors import ConfigError, DataError, LmworksError, ModelError
from lmworks.encoding.dense import Dense
from lmworks.encoding.embedding import AT_ONCE_CPU, Pooling, embed, pooled
from lmworks.evaluation.statistics import spearman
from lmworks.kernels import unavailable
from lmworks.language_model import LanguageModel
from lmworks.models.precision import fast_dtype

ENCODER = {"family": "lmworks", "arrangement": "encoder"}
TEXTS = ["a cat", "", "Zürich — 日本語", "the " * 20]


@pytest.fixture(scope="module")
def encoder() -> LanguageModel:
    return tiny.language_model(**ENCODER)


@pytest.fixture(scope="session")
def minilm() -> LanguageModel:
    """In float32: a `dtype` that is asked for is the one that is computed in."""
    try:
        return lm.load("minilm", dtype="float32")
    except LmworksError as error:
        pytest.skip(f"minilm is not here ({error}); fetch it with: lmworks check minilm")


@pytest.mark.parametrize("mode", ["mean", "first", "last"])
def test_a_vector_is_that_of_the_text_alone_whatever_is_beside_it(encoder: LanguageModel, mode: str):
    texts = [text for text in TEXTS if text]
    vectors = encoder.embed(texts, pooling=Pooling(mode=mode))
    for text, vector in zip(texts, vectors, strict=True):
        torch.testing.assert_close(encoder.embed([text], pooling=Pooling(mode=mode))[0], vector)
        with torch.inference_mode():
            hidden = encoder.network.hidden(torch.tensor([encoder.tokenizer.encode(text)]))[0]
        wanted = {"mean": hidden.mean(dim=0), "first": hidden[0], "last": hidden[-1]}[mode]
        torch.testing.assert_close(vector, wanted / wanted.norm())


def test_vectors_come_in_the_order_of_the_texts_also_from_many_batches(encoder: LanguageModel, monkeypatch):
    texts = [letter * size for size in (3, 9, 1, 7) for letter in "abc"]
    whole = encoder.embed(texts)
    monkeypatch.setattr("lmworks.encoding.embedding.AT_ONCE_CPU", 10)
    torch.testing.assert_close(encoder.embed(texts), whole)
    assert AT_ONCE_CPU > 10 and not torch.allclose(whole[0], whole[1])


def test_padding_is_no_part_of_a_mean():
    hidden = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    assert pooled(hidden, mask, Pooling(normalise=False)).tolist() == [[2.0, 2.0]]
    assert pooled(hidden, mask, Pooling(mode="last", normalise=False)).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("mode", ["mean", "max", "first", "last"])
def test_arrays_are_pooled_as_tensors_are(mode: str, normalise: bool):
    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1)) - 1
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    said = Pooling(mode=mode, normalise=normalise)
    arrays = pooled(hidden.numpy(), mask.numpy(), said)
    torch.testing.assert_close(torch.from_numpy(arrays), pooled(hidden, mask, said))
    rows = [row[real] for row, real in zip(hidden, mask, strict=True)]
    pool = {"mean": lambda row: row.mean(0), "max": lambda row: row.amax(0), "first": lambda row: row[0]}
    expected = torch.stack([pool.get(mode, lambda row: row[-1])(row) for row in rows])
    expected = expected / expected.norm(dim=-1, keepdim=True) if normalise else expected
    torch.testing.assert_close(torch.from_numpy(arrays), expected)
    layer = Dense(torch.randn(4, 8), None, "torch.nn.modules.activation.Tanh")
    through = pooled(hidden.numpy(), mask.numpy(), said, [layer])
    assert through.shape == (3, 4)
    torch.testing.assert_close(torch.from_numpy(through), pooled(hidden, mask, said, [layer]))


def test_a_text_that_is_too_long_is_named_or_cut_before_what_stands_after(encoder: LanguageModel):
    long = Pooling(longest=5, normalise=False)
    with pytest.raises(DataError, match=r"'abcdefgh'\.\.\. has 8 tokens and the model reads 5; split it"):
        embed(encoder.runner, encoder.tokenizer, ["abcdefgh"], long)
    cut = embed(encoder.runner, encoder.tokenizer, ["abcdefgh"], long, cut=True)
    torch.testing.assert_close(torch.from_numpy(cut), encoder.embed(["abcde"], pooling=Pooling(normalise=False)))


def test_a_text_may_be_given_as_its_tokens(encoder: LanguageModel):
    """Read as they are; where they are cut, what the tokenizer puts after a text stays if it is there."""
    tokenizer = encoder.tokenizer
    torch.testing.assert_close(encoder.embed([tokenizer.encode("a cat"), "a dog"]), encoder.embed(["a cat", "a dog"]))
    for wrong in (-1, 10**6):
        with pytest.raises(DataError, match=f"there is no token {wrong:,}"):
            encoder.embed([[5, wrong]])
    tokenizer.__dict__["suffix"] = (3,)
    try:
        for end, kept in (([3], [5, 6, 3]), ([8], [5, 6, 7])):
            cut = encoder.embed([[5, 6, 7, *end]], pooling=Pooling(longest=3), cut=True)
            torch.testing.assert_close(cut, encoder.embed([kept]))
    finally:
        tokenizer.__dict__["suffix"] = ()


def test_what_has_no_vector_is_a_sentence(encoder: LanguageModel):
    with pytest.raises(DataError, match="an empty text has no token"):
        encoder.embed(TEXTS)
    with pytest.raises(ConfigError, match=r"texts is 'a cat'; give a list, such as \['a cat'\]"):
        encoder.embed("a cat")
    with pytest.raises(ConfigError, match="an encoder-decoder has no pooled states"):
        tiny.language_model(family="lmworks", arrangement="encoder-decoder").embed(["a"])
    for act in (lambda: encoder.generate("a"), lambda: encoder.score("a"), lambda: next(encoder.stream("a"))):
        with pytest.raises(ConfigError, match="is an encoder and does not write or score text"):
            act()


def test_the_folder_says_how_its_texts_are_pooled(tmp_path: Path):
    assert Pooling.read(tmp_path) is None
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 17}')
    (tmp_path / "1_Pooling").mkdir()
    said = tmp_path / "1_Pooling" / "config.json"
    said.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    assert Pooling.read(tmp_path) == Pooling(mode="first", normalise=False, longest=17)
    said.write_text('{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true}')
    with pytest.raises(ModelError, match="pooling by mean and max is not supported; known are cls, mean"):
        Pooling.read(tmp_path)
    said.write_text('{"pooling_mode": "lasttoken"}')  # as sentence-transformers 6 writes it
    assert Pooling.read(tmp_path) == Pooling(mode="last", normalise=False, longest=17)
    for more, why in (("CNN", "type CNN is not supported"), ("Transformer", "in this order are not supported")):
        (tmp_path / "modules.json").write_text(json.dumps([*modules, {"path": "2", "type": f"models.{more}"}]))
        with pytest.raises(ModelError, match=why):
            Pooling.read(tmp_path)
    (tmp_path / "modules.json").write_bytes(b"\xff")
    with pytest.raises(ModelError, match="is no list of modules"):
        Pooling.read(tmp_path)


def test_how_texts_are_pooled_survives_saving(tmp_path: Path):
    first = tiny.language_model(**ENCODER)
    first.save(tmp_path / "one")
    own = tmp_path / "one" / "lmworks.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"pooling": {"mode": "first", "longest": 9}}))
    lm.load(tmp_path / "one").save(tmp_path / "two")
    again = lm.load(tmp_path / "two", dtype="float32")
    assert again.pooling == Pooling(mode="first", longest=9) and again.longest == 9 < first.longest
    torch.testing.assert_close(again.embed(["a cat"]), first.embed(["a cat"], pooling=Pooling(mode="first")))
    own.write_text('{"pooling": {"mode": "loudest"}}')
    with pytest.raises(ModelError, match="pooling: mode is 'loudest'"):
        lm.load(tmp_path / "one").embed(["a cat"])


def test_an_adapter_pools_as_its_base_does(tmp_path: Path):
    base = tiny.language_model(**ENCODER)
    base.save(tmp_path / "base", {"pooling": {"mode": "first", "longest": 9}})
    add_lora(base.network, LoRAConfig(rank=2))  # its update is zero
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", base.network, str(tmp_path / "base"))
    adapted = lm.load(tmp_path / "adapter", dtype="float32")
    assert adapted.longest == 9
    assert torch.equal(adapted.embed(["a cat"]), lm.load(tmp_path / "base", dtype="float32").embed(["a cat"]))


def test_real_sentences_have_the_vectors_that_transformers_gives(minilm: LanguageModel):
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    texts = [text for text in TEXTS if text]
    model = transformers.BertModel.from_pretrained(minilm.source).eval()
    encoded = transformers.AutoTokenizer.from_pretrained(minilm.source)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden, mask = model(**encoded).last_hidden_state, encoded["attention_mask"][..., None]
    means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    torch.testing.assert_close(minilm.embed(texts), means / means.norm(dim=-1, keepdim=True), rtol=1e-5, atol=1e-5)


def test_real_sentences_that_mean_the_same_are_nearer(minilm: LanguageModel):
    guitar, music, stocks = minilm.embed(["A man plays a guitar.", "Someone makes music.", "The stock market fell."])
    assert guitar @ music > 0.4 > 0.1 > guitar @ stocks


def test_real_weights_that_were_saved_embed_alike(minilm: LanguageModel, tmp_path: Path):
    minilm.save(tmp_path / "again")
    again = lm.load(tmp_path / "again", dtype="float32")
    torch.testing.assert_close(again.embed(["A man plays a guitar."]), minilm.embed(["A man plays a guitar."]))


SENTENCES = [
    *("A man plays a guitar.", "Someone makes music.", "The stock market fell.", "Zürich — 日本語", "a"),
    *(f"{number} people looked at the painting of a horse {'in the museum ' * number}." for number in range(25)),
]


def nearness(first: torch.Tensor, second: torch.Tensor) -> float:
    """The smallest cosine of a text's two vectors."""
    return float(torch.cosine_similarity(first, second).min())


def test_the_processors_fast_format_in_pytorch_is_as_near_as_promised(minilm: LanguageModel):
    quick = lm.load("minilm", compress="none")
    exact, fast = minilm.embed(SENTENCES), quick.embed(SENTENCES)
    assert nearness(exact, fast) > 0.9995
    assert torch.equal(exact, fast) == (fast_dtype() == torch.float32)  # where there is a fast format, it was used
    assert quick.network.dtype == torch.float32  # what is saved, trained or looked at is what the file holds
    torch.testing.assert_close(minilm.embed(SENTENCES), exact, rtol=0, atol=0)


def test_the_compiled_path_is_the_default_and_as_near_as_promised(minilm: LanguageModel):
    pytest.importorskip("numba")
    if unavailable() is not None:
        pytest.skip(str(unavailable()))
    model = lm.load("minilm")
    together = model.embed(SENTENCES)
    assert 0.999 < nearness(minilm.embed(SENTENCES), together) < 0.9999
    assert model.runner.name == "PyTorch"  # it embeds; what is filled in or looked at is what the file holds
    assert model.batch_invariant and not minilm.batch_invariant
    texts = [*SENTENCES, "The rent is due on the third day. " * 20, "The boat lies at the pier. " * 7]
    together = model.embed(texts)
    assert torch.equal(together, model.embed(texts[::-1]).flip(0))
    assert torch.equal(together, torch.cat([model.embed([text]) for text in texts]))


def test_an_encoder_whose_weights_changed_is_compiled_anew():
    pytest.importorskip("numba")
    if unavailable() is not None:
        pytest.skip(str(unavailable()))
    model = tiny.language_model(**(ENCODER | {"dim": 64, "head_dim": 16, "hidden_dim": 96, "ngrams": ()}))
    model.embeds_compiled = True
    exact = model.embed(TEXTS[2:])  # its weights can be trained: PyTorch
    model.network.requires_grad_(False)
    before = model.embed(TEXTS[2:])
    assert 0.99 < nearness(exact, before) < 1 - 1e-6
    with torch.no_grad():
        model.network.embedding.weight[:, :8] *= 3
    model.exact = True
    rough = model.embed(TEXTS[2:])  # the tape no longer stands: PyTorch once
    after = model.embed(TEXTS[2:])
    assert nearness(before, after) < 0.999 and 0.99 < nearness(rough, after) < 1 - 1e-6


@pytest.mark.parametrize("dtype", ["float32", None], ids=["float32", "fast"])
def test_neither_order_nor_neighbours_change_a_vector_beyond_rounding(minilm: LanguageModel, dtype: str | None):
    model, rounding = lm.load("minilm", dtype=dtype, compress="none"), 1e-6 if dtype else 1e-4
    together = model.embed(SENTENCES)
    backwards = model.embed(SENTENCES[::-1]).flip(0)
    alone = torch.cat([model.embed([text]) for text in SENTENCES])
    assert nearness(together, backwards) > 1 - rounding
    assert nearness(together, alone) > 1 - rounding


def test_weights_that_changed_since_the_last_vectors_count(encoder: LanguageModel):
    model = tiny.language_model(seed=1, **ENCODER)
    model.network.requires_grad_(False)
    before = model.embed(["a cat"])
    tiny.randomise(model.network, seed=2)
    after = model.embed(["a cat"])
    assert nearness(before, after) < 0.99
    torch.testing.assert_close(after, tiny.language_model(seed=2, **ENCODER).embed(["a cat"]))


@pytest.fixture(scope="session")
def sentence_transformer(minilm: LanguageModel):
    library = pytest.importorskip("sentence_transformers", reason="pip install 'lmworks[dev]'")
    return library.SentenceTransformer(str(minilm.source), device="cpu")


def test_vectors_are_those_of_sentence_transformers(minilm: LanguageModel, sentence_transformer):
    theirs = torch.tensor(sentence_transformer.encode(SENTENCES, show_progress_bar=False))
    assert nearness(minilm.embed(SENTENCES, cut=True), theirs) > 0.99999
    assert nearness(lm.load("minilm", compress="none").embed(SENTENCES, cut=True), theirs) > 0.9995
    assert nearness(lm.load("minilm").embed(SENTENCES, cut=True), theirs) > 0.999


@pytest.mark.slow
def test_similarities_of_sts_b_are_ranked_as_by_sentence_transformers(minilm: LanguageModel, sentence_transformer):
    path = Path(os.environ.get("LMWORKS_DATA", ""), "stsb", "stsb-en-test.csv")
    if not path.is_file():
        pytest.skip("STS-B is not here; put stsb/stsb-en-test.csv into a folder that LMWORKS_DATA names")
    with path.open(encoding="utf-8", newline="") as file:
        first, second, scores = zip(*csv.reader(file), strict=True)
    quick = lm.load("minilm")
    ranks = []
    for vectors in (
        lambda texts: torch.tensor(sentence_transformer.encode(texts, show_progress_bar=False)),
        lambda texts: minilm.embed(texts, cut=True),
        lambda texts: quick.embed(texts, cut=True),
    ):
        cosines = (vectors(list(first)) * vectors(list(second))).sum(dim=1)
        ranks.append(spearman(cosines.tolist(), list(map(float, scores))).value)
    print("Spearman on STS-B: sentence-transformers, float32, default:", ranks)
    assert ranks[0] > 0.8
    assert ranks[1:] == pytest.approx([ranks[0]] * 2, abs=0.002)

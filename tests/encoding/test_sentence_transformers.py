"""Folders of sentence-transformers, made by the library itself from random weights: equal vectors and equal scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import tokenizers
import torch
from later import Later
from tokenizers import models, pre_tokenizers, processors

import lmworks as lm
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.encoding.pooling import Pooling

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
library, parts = Later("sentence_transformers"), Later("sentence_transformers.models")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz?:,."]
TEXTS = ["who wrote faust?", "a", "Goethe wrote it, in weimar.", "x " * 40]
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
PROMPTS = {"query": "query: ", "passage": "passage: ", "sts": "s: "}
SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
KINDS: dict[str, dict[str, Any]] = {
    "bert": SIZES | {"max_position_embeddings": 40},
    "xlm-roberta": SIZES | {"max_position_embeddings": 42, "pad_token_id": 0, "type_vocab_size": 1},
    "mistral": SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": False},
    "qwen3": SIZES | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64},
}


def letters(pair: str = "[CLS] $A [SEP] $B:1 [SEP]:1") -> Any:
    """A tokenizer with a token for each letter, which lowers none."""
    backend = tokenizers.Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    around = [(word, WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, around)
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=INPUTS, **roles)


def body(kind: str, folder: Path, architecture: str | None = None) -> Path:
    """A folder of transformers, with its tokenizer."""
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **KINDS[kind]))
    tiny.randomise(model, seed=2)
    model.save_pretrained(folder)
    letters().save_pretrained(folder)
    if architecture is not None:
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(said | {"architectures": [architecture]}))
    return folder


def embedder(folder: Path, kind: str = "bert", mode: str = "mean", more: Sequence[Any] = (), **how: Any) -> Any:
    """What sentence-transformers makes of it, saved in `folder`."""
    first = parts.Transformer(str(body(kind, folder.parent / "body")), max_seq_length=how.pop("longest", 32))
    modules = [first, parts.Pooling(first.get_embedding_dimension(), pooling_mode=mode), *more]
    model = library.SentenceTransformer(modules=modules, device="cpu", **how)
    model.save(str(folder), create_model_card=False)
    return library.SentenceTransformer(str(folder), device="cpu")


def agree(theirs: Any, folder: Path, texts: list[str] = TEXTS, **named: Any) -> lm.LanguageModel:
    ours = lm.load(folder, dtype="float32")
    prompt = named.get("prompt")
    expected = torch.tensor(theirs.encode(texts, prompt_name=prompt, show_progress_bar=False))
    torch.testing.assert_close(ours.embed(texts, cut=True, **named), expected, **CLOSE)
    return ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken"])
def test_each_pooling_gives_their_vectors(kind: str, mode: str, tmp_path: Path):
    theirs = embedder(tmp_path / "model", kind, mode, [parts.Normalize()] if mode != "max" else [])
    ours = agree(theirs, tmp_path / "model")
    assert ours.pooling.mode == {"cls": "first", "lasttoken": "last"}.get(mode, mode)
    assert ours.pooling.normalise == (mode != "max") and ours.pooling.longest == 32


@pytest.mark.parametrize("activation", [torch.nn.Tanh(), torch.nn.Identity()], ids=["tanh", "identity"])
def test_dense_layers_are_put_on_what_is_pooled_and_saved(activation: Any, tmp_path: Path):
    layers = [parts.Dense(32, 20, activation_function=activation), parts.Dense(20, 24, bias=False), parts.Normalize()]
    theirs = embedder(tmp_path / "model", more=layers)
    ours = agree(theirs, tmp_path / "model")
    assert ours.vector_dim == 24 and ours.pooling.dense == ("2_Dense", "3_Dense")
    for _ in range(2):  # a folder that holds dense layers is a model's, and may be replaced
        ours.save(tmp_path / "again")
    agree(theirs, tmp_path / "again")


def test_prompts_are_named_or_the_default(tmp_path: Path):
    theirs = embedder(tmp_path / "model", prompts=PROMPTS, default_prompt_name="sts")
    ours = agree(theirs, tmp_path / "model")
    for name in PROMPTS:
        agree(theirs, tmp_path / "model", prompt=name)
    vectors = {name: ours.embed(TEXTS, cut=True, prompt=name) for name in ("", None, "query", "passage")}
    assert not any(torch.allclose(vectors[""], vectors[name]) for name in (None, "query", "passage"))
    torch.testing.assert_close(ours.embed([ours.tokenizer.encode("a")]), vectors[""][1:2])  # ids are read as they are
    with pytest.raises(ConfigError, match="there is no prompt 'question'; there are query, passage, document, sts"):
        ours.embed(TEXTS, prompt="question")
    ours.save(tmp_path / "again")
    agree(theirs, tmp_path / "again", prompt="query")


def test_a_role_without_a_prompt_stands_for_nothing(tmp_path: Path):
    embedder(tmp_path / "model", prompts={"query": "q: ", "document": "d: "})
    ours = lm.load(tmp_path / "model", dtype="float32")
    torch.testing.assert_close(ours.embed(["a"], prompt="passage"), ours.embed(["d: a"]))
    plain = tiny.language_model(family="lmworks", arrangement="encoder")
    torch.testing.assert_close(plain.embed(["a"], prompt="query"), plain.embed(["a"]))


def test_a_folder_whose_texts_are_lowered(tmp_path: Path):
    embedder(tmp_path / "model")
    path = tmp_path / "model" / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": True}))
    ours = agree(library.SentenceTransformer(str(tmp_path / "model"), device="cpu"), tmp_path / "model")
    torch.testing.assert_close(ours.embed(["ABC"]), ours.embed(["abc"]))


def test_the_body_is_read_whatever_class_its_config_was_copied_with(tmp_path: Path):
    """Many folders name the class of the masked language model that they were made from, whose head they lack."""
    theirs = embedder(tmp_path / "model", "xlm-roberta")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["XLMRobertaForMaskedLM"]}))
    agree(theirs, tmp_path / "model")


@pytest.mark.parametrize(
    ("file", "said", "why"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "pooling by weightedmean is not supported"),
        ("1_Pooling/config.json", {"include_prompt": False}, "include_prompt = false is not supported"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "gives no vectors"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "a dense layer with os.system"),
        ("2_Dense/config.json", {"use_residual": True}, "or with a residual, is not supported"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "anything but the pooled state"),
    ],
)
def test_what_is_not_known_is_refused(file: str, said: dict[str, Any], why: str, tmp_path: Path):
    embedder(tmp_path / "model", more=[parts.Dense(32, 20)], prompts=PROMPTS)
    path = tmp_path / "model" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    with pytest.raises(ModelError, match=why):
        lm.load(tmp_path / "model", dtype="float32").embed(["a"])


def test_earlier_folders_have_one_prompt():
    assert Pooling(**{"query": "q: "}) == Pooling(prompts={"query": "q: "}) and Pooling(**{"query": ""}) == Pooling()
    with pytest.raises(ConfigError, match="default_prompt is 'x'"):
        Pooling(default_prompt="x")


PAIRS = [("who wrote faust?", "goethe."), ("a", "b c d"), ("x y", "z " * 60)]
CROSS = {"bert": "[CLS] $A [SEP] $B:1 [SEP]:1", "xlm-roberta": "[CLS] $A [SEP] [SEP] $B [SEP]", "electra": None}


@pytest.mark.parametrize("activation", ["Sigmoid", "Identity"])
@pytest.mark.parametrize("kind", CROSS)
def test_cross_encoders_give_their_scores(kind: str, activation: str, tmp_path: Path):
    config = transformers.AutoConfig.for_model(kind, num_labels=1, **(KINDS.get(kind) or KINDS["bert"]))
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    tiny.randomise(model, seed=2)
    model.save_pretrained(tmp_path / "body")
    tokenizer = letters(CROSS[kind] or CROSS["bert"])
    tokenizer.save_pretrained(tmp_path / "body")
    how = {"activation_fn": getattr(torch.nn, activation)(), "max_length": 40, "device": "cpu"}
    library.CrossEncoder(str(tmp_path / "body"), **how).save(str(tmp_path / "model"))
    theirs, ours = (
        library.CrossEncoder(str(tmp_path / "model"), device="cpu"),
        lm.load(tmp_path / "model", dtype="float32"),
    )
    short = PAIRS[:2]  # they cut the longer text, we the second
    expected = torch.tensor(theirs.predict(short, show_progress_bar=False))
    torch.testing.assert_close(ours.compare(short), expected, **CLOSE)
    assert bool((expected.abs() < 1).all()) or activation == "Identity"
    again = lm.load(ours.save(tmp_path / "again"), dtype="float32")
    torch.testing.assert_close(again.compare(PAIRS, cut=True), ours.compare(PAIRS, cut=True))

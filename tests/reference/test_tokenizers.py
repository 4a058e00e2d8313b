"""Ids and chats equal transformers' on a multilingual fuzz corpus (pitfall 10)."""

from __future__ import annotations

import os
import struct
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers
from tokens.corpus import TEXTS

from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_vocabulary import PATTERNS, gguf_tokenizer, known_rules, splitter
from lmworks.tokens.chat.conversation import encode_chat
from lmworks.tokens.chat.harmony import HARMONY, MARKS
from lmworks.tokens.tokenizer import Tokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
WORDLIKE = st.lists(
    st.sampled_from(
        [
            " ",
            "  ",
            "\n",
            "\t",
            "\u00a0",
            "'s",
            "'LL",
            "don't",
            "12",
            "3",
            "½",
            "é",
            "e\u0301",
            "ǅ",
            "Ab",
            "ABc",
            "日本",
            "👩‍👩‍👧",
            "!",
            "...",
            "\r\n",
            "_",
            "/",
            "ك",
            "न्",
        ]
    ),
    max_size=25,
).map("".join)


@pytest.fixture(scope="session")
def smollm2(smollm2_path):
    """Ours, and transformers' with the pre-tokenizer of SmolLM2's published tokenizer.json.

    transformers' reader of GGUF files forgets that SmolLM2 splits every digit off; see shared/data/README.md.
    """
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(smollm2_path.parent, gguf_file=smollm2_path.name)
    theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return gguf_tokenizer(GGUFFile(smollm2_path)), theirs


def test_smollm2_from_gguf_equals_transformers_on_the_corpus(smollm2):
    ours, theirs = smollm2
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], repr(text)
        assert ours.decode(ours.encode(text)) == text
    assert all(len(ours.encode(digit)) == 1 for digit in "0123456789")
    assert len(ours.encode("2024")) == 4


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY_TEXT | WORDLIKE)
def test_smollm2_equals_transformers_on_any_text(text, smollm2):
    ours, theirs = smollm2
    ids = ours.encode(text)
    assert ids == theirs(text)["input_ids"]
    kept = bytes(byte for byte in text.encode() if byte not in ours.missing_bytes)
    assert b"".join(map(ours.token_bytes, ids)) == kept
    assert ours.decode(ids) == kept.decode("utf-8", "replace")


def test_smollm2s_own_chat_equals_transformers(smollm2):
    ours, theirs = smollm2
    messages = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4 \n"},
        {"role": "user", "content": TEXTS[7]},
    ]
    for conversation in (messages[:1], messages, [{"role": "system", "content": "Short."}, *messages]):
        for prompt in (False, True):
            assert (
                encode_chat(ours, conversation, prompt)
                == theirs.apply_chat_template(conversation, add_generation_prompt=prompt)["input_ids"]
            )


def test_gpt2_equals_transformers():
    from transformers import GPT2TokenizerFast

    folder = Path(os.environ.get("LMWORKS_DATA", "/nowhere")) / "gpt2_bpe"
    if not folder.exists():
        pytest.skip("GPT-2's vocabulary is not here; set LMWORKS_DATA to the folder that holds gpt2_bpe")
    theirs = GPT2TokenizerFast(vocab=str(folder / "gpt2_vocab.json"), merges=str(folder / "gpt2_merges.txt"))
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as copy:
        shutil.copy(folder / "gpt2_vocab.json", f"{copy}/vocab.json")
        shutil.copy(folder / "gpt2_merges.txt", f"{copy}/merges.txt")
        ours = Tokenizer.load(copy)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], repr(text)


def write_vocabulary(path: Path, **entries) -> Path:
    """A GGUF file with no more than a vocabulary."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    for key, value in entries.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_array(name, value)
    writer.add_tensor("x", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def byte_vocabulary() -> dict:
    """Tokens and merges trained without any split, so that every rule of splitting shows in the ids."""
    import json

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.train_from_iterator(
        [text * 3 for text in TEXTS],
        trainers.BpeTrainer(
            vocab_size=1500,
            special_tokens=["<s>", "</s>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    model = json.loads(backend.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {
        "model": "gpt2",
        "tokens": tokens,
        "merges": [" ".join(pair) for pair in model["merges"]],
        "token_type": [3, 3] + [1] * (len(tokens) - 2),
        "bos_token_id": 0,
        "eos_token_id": 1,
    }


@pytest.mark.parametrize("rule", ["gpt-2", "default", "llama-bpe", "llama3", "tekken", "gpt-4o"])
def test_the_rule_that_splits_words_equals_transformers(rule, byte_vocabulary, tmp_path):
    from transformers import AutoTokenizer

    path = write_vocabulary(tmp_path / "v.gguf", pre=rule, add_bos_token=False, **byte_vocabulary)
    ours, theirs = (
        gguf_tokenizer(GGUFFile(path)),
        AutoTokenizer.from_pretrained(tmp_path, gguf_file="v.gguf"),
    )
    theirs.backend_tokenizer.model.ignore_merges = rule in {
        "llama-bpe",
        "llama3",
        "tekken",
    }  # as the models' own
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], repr(text)


def test_qwen2_equals_transformers_own_class(byte_vocabulary, tmp_path):
    from transformers import Qwen2Tokenizer

    path = write_vocabulary(tmp_path / "v.gguf", pre="qwen2", **byte_vocabulary)
    ours = gguf_tokenizer(GGUFFile(path))
    theirs = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(byte_vocabulary["tokens"])},
        merges=[tuple(merge.split(" ")) for merge in byte_vocabulary["merges"]],
        unk_token="</s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], repr(text)


def test_single_digit_rules_split_every_digit_off(byte_vocabulary, tmp_path):
    for rule in ("smollm", "starcoder", "refact"):
        ours = gguf_tokenizer(GGUFFile(write_vocabulary(tmp_path / f"{rule}.gguf", pre=rule, **byte_vocabulary)))
        assert [ours.decode([number]) for number in ours.encode("1234")] == list("1234")


@pytest.mark.parametrize("rule", sorted(set(PATTERNS) - {"bloom", "gpt3-finnish", "poro-chat", "viking"}))
def test_each_pattern_of_a_rule_splits_what_those_before_it_left(rule: str):
    """As another library matches it; Bloom's class within a class means something else there."""
    regex = pytest.importorskip("regex")
    for text in TEXTS:
        parts: list[Any] = [text]
        for pattern in PATTERNS[rule]:
            parts = [piece for part in parts for piece in regex.split(f"({pattern})", part) if piece]
        ours = [text[begin:end] for _, (begin, end) in splitter(rule).pre_tokenize_str(text)]
        assert ours == parts, repr(text)


SPLITS = {
    "deepseek-v3": ("Hi 1234 x=y\n你好 (a)", ["Hi", " ", "123", "4", " x", "=y", "\n", "你好", " (", "a", ")"]),
    "deepseek-llm": (
        "Hi 12ա, 你好？ Թէ«ñ ա？ա“ա \n  ",
        ["Hi", " ", "12", "ա", ",", " ", "你好", "？", " Թ", "է«", "ñ", " ա", "？", "ա", "“", "ա", " ", "\n", "  "],
    ),
    "deepseek-coder": ("Hi 12, 你好\n\n", ["Hi", " ", "1", "2", ",", " ", "你好", "\n", "\n"]),
    "falcon": ("it's 12345 a.b", ["it", "'", "s", " ", "123", "45", " a", ".", "b"]),
    "bloom": ("it's 123, no?", ["it's", " 123", ",", " no", "?"]),
    "viking": ("no 123, 4  5", ["no", " ", "1", "2", "3", ",", " ", "4", " ", " ", "5"]),
    "seed-coder": ("a +\n12", ["a", " +", "\n", "1", "2"]),
    "hunyuan": ("a +\n12", ["a", " +\n", "1", "2"]),
    "qwen35": ("हिन्दी 12", ["हिन्दी", " ", "1", "2"]),
    "qwen2": ("हिन्दी 12", ["ह", "िन", "्द", "ी", " ", "1", "2"]),
    "tiny_aya": ("1234567 aB", ["1", "234", "567", " a", "B"]),
    "minicpm5": ("1234567 aB", ["123", "456", "7", " aB"]),
    "glm4": ("1234567 aB", ["123", "456", "7", " aB"]),
    "exaone4": ("1234567 aB", ["1234567", " aB"]),
}


@pytest.mark.parametrize("rule", SPLITS)
def test_rules_split_as_their_models_do(rule: str):
    text, parts = SPLITS[rule]
    found = [text[begin:end] for _, (begin, end) in splitter(rule).pre_tokenize_str(text)]
    assert found == parts


@pytest.mark.parametrize("rule", known_rules())
def test_every_rule_that_is_known_makes_a_tokenizer_that_loses_nothing(rule: str, byte_vocabulary, tmp_path):
    ours = gguf_tokenizer(GGUFFile(write_vocabulary(tmp_path / "v.gguf", pre=rule, **byte_vocabulary)))
    for text in TEXTS:
        composed = unicodedata.normalize("NFC", text) if rule in ("qwen2", "qwen35") else text
        assert ours.decode(ours.encode(text, special=False)) == composed


def test_whole_words_come_first_where_the_model_does_so(byte_vocabulary, tmp_path):
    """Llama 3 takes a word that is a token whole, also where no merges lead to it."""
    added = byte_vocabulary | {
        "tokens": [*byte_vocabulary["tokens"], "zqxj"],
        "token_type": [*byte_vocabulary["token_type"], 1],
    }
    for rule, tokens in (("llama-bpe", 1), ("tekken", 1), ("gpt-2", 4), ("qwen2", 4)):
        ours = gguf_tokenizer(GGUFFile(write_vocabulary(tmp_path / f"{rule}.gguf", pre=rule, **added)))
        assert len(ours.encode("zqxj", special=False)) == tokens, rule


def test_a_file_of_gpt_oss_without_a_template_chats_in_harmony(byte_vocabulary, tmp_path):
    marks = [*MARKS, "<|endoftext|>"]
    tokens = [*byte_vocabulary["tokens"], *marks]
    said = byte_vocabulary | {
        "tokens": tokens,
        "token_type": [*byte_vocabulary["token_type"], *[3] * len(marks)],
        "eos_token_id": tokens.index("<|return|>"),
    }
    ours = gguf_tokenizer(GGUFFile(write_vocabulary(tmp_path / "v.gguf", pre="gpt-4o", **said)))
    assert ours.chat_template == HARMONY and not ours.chat.is_plain
    ids = encode_chat(ours, [{"role": "user", "content": "Hi <|return|>"}], add_generation_prompt=True)
    assert ours.decode(ids, skip_special=False).endswith("<|start|>assistant<|channel|>final<|message|>")
    assert ids[-1] == tokens.index("<|message|>")
    assert tokens.index("<|return|>") not in ids and tokens.index("<|return|>") in ours.stop_ids
    assert gguf_tokenizer(
        GGUFFile(write_vocabulary(tmp_path / "w.gguf", pre="gpt-4o", **byte_vocabulary))
    ).chat.is_plain


def test_sentencepiece_never_merges_characters_into_a_control_token(tmp_path):
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "<",
        "/",
        "s",
        ">",
        "</",
        "s>",
    ]
    path = write_vocabulary(
        tmp_path / "c.gguf",
        model="llama",
        tokens=tokens,
        scores=[0.0] * len(tokens),
        token_type=[2, 3, 3] + [6] * 256 + [1] * 7,
        bos_token_id=1,
        eos_token_id=2,
    )
    ours = gguf_tokenizer(GGUFFile(path))
    assert [tokens[number] for number in ours.encode("</s>", special=False)] == ["▁", "</", "s>"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pre": "nobody-knows"}, "by the rule 'nobody-knows'"),
        ({"model": "rwkv"}, "of the kind 'rwkv'"),
        ({"tokens": []}, "no tokens"),
        ({"tokens": ["a", "a"]}, "the same token twice"),
        ({"merges": ["ab"]}, "'ab', which is not a pair"),
        ({"merges": ["a zzzz"]}, "merges that do not fit"),
        ({"token_type": [1]}, "1 token types for"),
        ({"bos_token_id": 10**6}, "names 1000000 as its bos token"),
        ({"tokens": "abc"}, "not a list of str"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_one_sentence(change, sentence, byte_vocabulary, tmp_path):
    with pytest.raises(ModelError, match=sentence):
        gguf_tokenizer(GGUFFile(write_vocabulary(tmp_path / "v.gguf", **byte_vocabulary | change)))


def pieces_of_stories() -> tuple[list[str], list[float]]:
    """The SentencePiece vocabulary of llama2.c's stories260K, in llama2.c's format: pieces and scores."""
    path = Path(os.environ.get("LMWORKS_DATA", "/nowhere")) / "stories260k" / "tok512.bin"
    if not path.exists():
        pytest.skip("stories260k is not here; set LMWORKS_DATA to the folder that holds it")
    data, place, tokens, scores = path.read_bytes(), 4, [], []
    while place < len(data):
        score, size = struct.unpack_from("<fi", data, place)
        tokens.append(data[place + 8 : place + 8 + size].decode())
        scores.append(score)
        place += 8 + size
    tokens[:3] = ["<unk>", "<s>", "</s>"]
    tokens[3:259] = [f"<0x{byte:02X}>" for byte in range(256)]
    return [token.replace(" ", "▁") for token in tokens], scores


def by_the_book(text: str, tokens: list[str], scores: list[float]) -> list[int]:
    """SentencePiece's BPE, written out: join the neighbours that make the best piece, leftmost first."""
    ids = {token: number for number, token in enumerate(tokens)}
    parts = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        joined = [
            (scores[ids[left + right]], -place)
            for place, (left, right) in enumerate(pairwise(parts))
            if ids.get(left + right, 0) >= 259
        ]
        if not joined:
            break
        place = -max(joined)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [
        number for part in parts for number in ([ids[part]] if part in ids else [3 + byte for byte in part.encode()])
    ]


def test_sentencepiece_from_gguf_equals_its_algorithm_written_out(tmp_path):
    tokens, scores = pieces_of_stories()
    path = write_vocabulary(
        tmp_path / "s.gguf",
        model="llama",
        tokens=tokens,
        scores=scores,
        bos_token_id=1,
        eos_token_id=2,
        unknown_token_id=0,
        token_type=[2, 3, 3] + [6] * 256 + [1] * 253,
    )
    ours = gguf_tokenizer(GGUFFile(path))
    stories = [
        'Once upon a time, there was a little girl named Lily. She said, "Hi!"',
        "</s> is text",
        *TEXTS,
    ]
    for text in stories:
        assert ours.encode(text, special=False) == by_the_book(text, tokens, scores), repr(text)
        assert ours.encode(text)[:1] == [1]
        if "▁" not in text:
            assert ours.decode(ours.encode(text)) == text


def test_sentencepiece_from_gguf_equals_transformers(tmp_path):
    from transformers import AutoTokenizer

    tokens, scores = pieces_of_stories()
    write_vocabulary(
        tmp_path / "s.gguf",
        model="llama",
        tokens=tokens,
        scores=scores,
        bos_token_id=1,
        eos_token_id=2,
        unknown_token_id=0,
        token_type=[2, 3, 3] + [6] * 256 + [1] * 253,
    )
    ours = gguf_tokenizer(GGUFFile(tmp_path / "s.gguf"))
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="s.gguf")
    for text in TEXTS:
        if not text.startswith(" "):  # there transformers follows Metaspace, and not SentencePiece
            assert ours.encode(text) == theirs(text)["input_ids"], repr(text)

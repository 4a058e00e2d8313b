"""SentencePiece's BPE in a GGUF file: it reads back with the same ids, by the rule that llama.cpp joins pieces by."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
from jobs.small_files import TEXTS, pieces
from tokenizers import AddedToken, models, normalizers, pre_tokenizers

from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_facts import LONGEST_TOKEN
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_pieces_writing import HARD, _doubts, file_name
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.models.files.gguf_vocabulary_writing import vocabulary_entries
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.tokens.vocabulary import Vocabulary, add_around

SIZE = 480


def stored(path: Path, entries: dict[str, Any], name: str = "any") -> GGUFFile:
    """A GGUF file of these entries and one tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    kinds = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
    for key, value in entries.items():
        kinds[type(value)](key, value)
    writer.add_tensor("x", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUFFile(path)


def changed(change: Callable[[dict[str, Any]], None], **settings: Any) -> Tokenizer:
    """The tokenizer with its tokenizer.json changed."""
    state = json.loads(pieces().vocabulary.backend.to_str())
    change(state)
    backend = tokenizers.Tokenizer.from_str(json.dumps(state))
    return Tokenizer(Vocabulary(backend, "changed", **{"bos": 1, "eos": 2, "unknown": 0} | settings))


def by_the_book(text: str, entries: dict[str, Any]) -> list[int]:
    """SentencePiece's BPE, written out: join the neighbours that make the best piece, leftmost first."""
    tokens, scores = entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.scores"]
    ids = {token: number for number, token in enumerate(tokens)}
    parts = list(("▁" if entries["tokenizer.ggml.add_space_prefix"] else "") + text.replace(" ", "▁")) if text else []
    while found := [
        (scores[ids[left + right]], -place)
        for place, (left, right) in enumerate(itertools.pairwise(parts))
        if ids.get(left + right, 0) >= 259
    ]:
        place = -max(found)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [one for part in parts for one in ([ids[part]] if part in ids else [3 + byte for byte in part.encode()])]


@pytest.mark.parametrize("in_front", [True, False], ids=["Llama 2", "Gemma"])
def test_a_tokenizer_reads_back_with_the_same_ids(in_front: bool, tmp_path: Path):
    ours = pieces(in_front)
    entries = vocabulary_entries(ours, SIZE)
    back = gguf_tokenizer(stored(tmp_path / "v.gguf", entries))
    for text in (*HARD, *TEXTS[:9], "x <b> y<b>", "order  and\n\n\n order   "):
        ids = ours.encode(text)
        assert back.encode(text) == ids, repr(text)
        if "<b>" not in text:
            assert ids == [1, *by_the_book(text, entries)], repr(text)
        assert back.decode(ids) == ours.decode(ids), repr(text)
    for text in ("a</s>b <s> c", "</s>"):
        assert back.encode(text, markup=True) == ours.encode(text, markup=True)
        assert back.encode(text) == ours.encode(text)
    assert (back.bos, back.eos, back.unknown, back.adds_space) == (1, 2, 0, in_front)
    assert back.stop_ids == ours.stop_ids and back.chat_template == ours.chat_template


def test_each_token_has_its_type_and_minus_the_place_of_its_first_pair():
    ours = pieces()
    entries = vocabulary_entries(ours, SIZE)
    tokens, kinds = entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.token_type"]
    assert entries["tokenizer.ggml.model"] == "llama" and entries["tokenizer.ggml.add_bos_token"] is True
    assert len(tokens) == len(kinds) == len(entries["tokenizer.ggml.scores"]) == SIZE
    assert kinds[:4] == [2, 3, 3, 6] and set(kinds[3:259]) == {6} and kinds[259] == 1
    of = dict(zip(tokens, kinds, strict=True))
    assert of["<|endoftext|>"] == 3 and of["<b>"] == 4 and of[f"[PAD{SIZE - 1}]"] == 5
    merges = [tuple(pair) for pair in json.loads(ours.vocabulary.backend.to_str())["model"]["merges"]]
    scores = dict(zip(tokens, entries["tokenizer.ggml.scores"], strict=True))
    assert len({left + right for left, right in merges}) < len(merges)  # several pairs make one piece
    for left, right in merges:
        first = next(rank for rank, pair in enumerate(merges) if "".join(pair) == left + right)
        assert scores[left + right] == -first
    assert scores["q"] == scores["</s>"] == -len(merges)


def test_the_scores_and_types_of_a_gguf_file_come_out_unchanged(tmp_path: Path):
    entries = vocabulary_entries(pieces(), SIZE)
    scores = [score / 3 - 0.125 if place > 259 else 0.0 for place, score in enumerate(entries["tokenizer.ggml.scores"])]
    source = stored(tmp_path / "v.gguf", entries | {"tokenizer.ggml.scores": scores})
    again = vocabulary_entries(gguf_tokenizer(source), SIZE)
    for key in ("tokens", "scores", "token_type"):
        assert again[f"tokenizer.ggml.{key}"] == source.metadata[f"tokenizer.ggml.{key}"]
    assert {key: value for key, value in again.items() if not isinstance(value, list)} == {
        key: value for key, value in entries.items() if not isinstance(value, list)
    }
    assert (
        vocabulary_entries(gguf_tokenizer(source), SIZE + 2)["tokenizer.ggml.scores"][-2:]
        == [np.float32(min(scores))] * 2
    )


def test_phi_3s_tokens_take_white_space_away_by_the_files_name(tmp_path: Path):
    ours = pieces(strips=True)
    entries = vocabulary_entries(ours, SIZE)
    assert file_name(ours, entries, "mine") == "mine (phi-3)"
    assert file_name(ours, entries, "Phi-3-mini") == "Phi-3-mini"
    assert file_name(pieces(), entries, "Phi3-mini") == "phi 3-mini"  # its tokens take nothing away
    named = gguf_tokenizer(stored(tmp_path / "v.gguf", entries, "mine (phi-3)"))
    other = gguf_tokenizer(stored(tmp_path / "w.gguf", entries, "mine"))
    for text in ("<|user|>\nHi<|end|>\n<|user|> a <b>  b", "<s>\n a<|endoftext|> b"):
        assert named.encode(text, markup=True) == ours.encode(text, markup=True), text
    text = "<|user|>\nHi"
    assert other.encode(text, markup=True) != ours.encode(text, markup=True)


def test_a_users_own_token_grows_from_pieces_as_in_llama_cpp(tmp_path: Path):
    """A text with spaces does not hold "▁▁▁" until they were replaced."""

    def change(state: dict[str, Any]) -> None:
        added = state["added_tokens"][-1] | {"content": "▁▁", "id": state["model"]["vocab"]["▁▁"]}
        state["added_tokens"].append(added)

    ours = changed(change)
    entries = vocabulary_entries(ours, SIZE)
    number = ours.vocabulary.backend.token_to_id("▁▁")
    assert number is not None and entries["tokenizer.ggml.token_type"][number] == 4
    back = gguf_tokenizer(stored(tmp_path / "v.gguf", entries))
    for text in ("a  b", "a   b", "a▁▁b", " " * 9):
        assert back.encode(text) == ours.encode(text), text
    assert number in back.encode("a  b")


def steps(*found: Any) -> dict[str, Any]:
    return json.loads(normalizers.Sequence(list(found)).__getstate__())


def without_a_byte(state: dict[str, Any]) -> None:
    state["model"]["vocab"]["<0xzz>"] = state["model"]["vocab"].pop("<0x0B>")


def without_a_pair(state: dict[str, Any]) -> None:
    """A piece that only one of the orders comes to."""
    vocabulary = state["model"]["vocab"]
    vocabulary["qz"] = max(vocabulary.values()) + 9


def overtaken(state: dict[str, Any]) -> None:
    """ "qzx" is made early from "q" and "zx", which is late, and late from "qz" and "x", after "xw"."""
    vocabulary = state["model"]["vocab"]
    for token in ("qz", "zx", "qzx", "xw"):
        vocabulary[token] = max(vocabulary.values()) + 9
    state["model"]["merges"] += [["q", "z"], ["q", "zx"], ["x", "w"], ["qz", "x"], ["z", "x"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state["model"].update(ignore_merges=True), "takes whole words first"),
        (without_a_byte, "has no token <0x0B>, which"),
        (lambda state: state.update(normalizer=None), "prepares or splits a text by a rule of its own"),
        (lambda state: state.update(normalizer=steps(normalizers.NFKC(), normalizers.Replace(" ", "▁"))), "of its own"),
        (
            lambda state: state.update(
                normalizer=None, pre_tokenizer=json.loads(pre_tokenizers.Metaspace(split=False).__getstate__())
            ),
            "puts no further space before a text that begins with one",
        ),
        (without_a_pair, "would give other ids of 'qz' than the tokenizer of changed; use"),
        (overtaken, "would give other ids of 'qzxw' than"),
    ],
)
def test_what_llama_cpp_would_read_otherwise_is_refused_in_a_sentence(
    change: Callable[[dict[str, Any]], None], words: str
):
    with pytest.raises(ModelError, match=words) as caught:
        vocabulary_entries(changed(change), 700)
    assert "\n" not in str(caught.value)


def test_tokens_that_take_space_away_otherwise_than_phi_3s_are_refused():
    ours = changed(lambda state: None).vocabulary
    ours.backend.add_special_tokens([AddedToken("<x>", lstrip=True, normalized=False)])
    with pytest.raises(ModelError, match="would give other ids of 'a<x>"):
        vocabulary_entries(Tokenizer(ours), 700)


@pytest.mark.parametrize("split", [None, pre_tokenizers.Split(" ", "merged_with_previous")])
def test_a_split_at_spaces_after_they_are_replaced_is_none(split: Any):
    """Gemma 2's and 3's."""
    backend = tokenizers.Tokenizer.from_str(pieces(False).vocabulary.backend.to_str())
    backend.pre_tokenizer = split
    entries = vocabulary_entries(Tokenizer(Vocabulary(backend, "gemma", bos=1, eos=2, unknown=0)), SIZE)
    assert entries["tokenizer.ggml.add_space_prefix"] is False


def test_marks_for_spaces_without_one_in_front_are_gemmas_rule():
    backend = tokenizers.Tokenizer.from_str(pieces(False).vocabulary.backend.to_str())
    backend.normalizer = normalizers.Sequence([])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    add_around(backend, 1, None)
    entries = vocabulary_entries(Tokenizer(Vocabulary(backend, "marks", bos=1, eos=2, unknown=0)), SIZE)
    assert entries["tokenizer.ggml.add_space_prefix"] is False


def test_other_kinds_are_refused_by_what_they_are():
    words = train_tokenizer(TEXTS, TokenizerConfig(kind="unigram", vocab_size=310))
    plain = Tokenizer(Vocabulary(tokenizers.Tokenizer(models.BPE({"a": 0}, [])), "plain"))
    for one, kind in ((words, "Unigram"), (plain, "BPE")):
        with pytest.raises(ModelError, match=rf"neither byte-level BPE nor SentencePiece's BPE \(its model is {kind}"):
            vocabulary_entries(one, 310)


def test_pieces_that_no_text_is_joined_to_are_no_doubts():
    """Else a file of a megabyte would make gigabytes of texts."""
    half = "a" * LONGEST_TOKEN
    merges = [(half, half), *((half[-1], f"{number:x}") for number in range(100)), (half + "a", half[1:])]
    assert not list(_doubts(merges))
    assert list(_doubts([("a", "bc"), ("c", "d"), ("ab", "c")])) == ["abcd"]

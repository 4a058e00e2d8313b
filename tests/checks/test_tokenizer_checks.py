"""`lmworks check` on a tokenizer and on shards: sound ones, and for each check one that is broken on purpose."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers
from tokens.small import byte_level, sentencepiece

from lmworks.basics.errors import DataError
from lmworks.checks import shards, tokenizers
from lmworks.checks.result import CheckResult
from lmworks.checks.run import check_anything, check_shards, check_tokenizer
from lmworks.text.document import Document
from lmworks.text.sources import Reading
from lmworks.tokens.shards import Shards, write_shards
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.tokens.vocabulary import Vocabulary

DOCUMENTS = [Document(f"{' '.join(tiny.WORDS)} and {number} again", f"{number}.txt") for number in range(30)]
TEXTS = [one.text for one in DOCUMENTS]
KINDS = ("byte", "character", "word", "bpe", "wordpiece", "unigram")


def trained(kind: str = "bpe") -> Tokenizer:
    size = {"bpe": 300, "word": 30, "wordpiece": 70, "unigram": 312}.get(kind)
    return train_tokenizer(TEXTS, TokenizerConfig(kind=kind, vocab_size=size))


def failed(result: CheckResult, words: str = "") -> None:
    assert result.status == "FAILED" and words in result.detail, result


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_tokenizer_its_text_and_its_shards_pass(kind: str, tmp_path: Path):
    tokenizer = trained(kind)
    results = check_tokenizer(tokenizer, Reading(DOCUMENTS, [], "mine"))
    results += check_shards(write_shards(DOCUMENTS, tokenizer, tmp_path / "shards"), tokenizer)
    found = {one.name for one in results if one.status == "FAILED"}
    if kind == "word":  # it keeps the most frequent words alone: documents that differ in a number become equal
        found -= {"the vocabulary can write the text", "no document is packed twice"}
    assert found == set()
    assert all(one.detail for one in results if one.status == "not applicable") and len(results) == 15


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_level(adds_bos=True), sentencepiece()])
def test_sound_special_tokens_pass(tokenizer: Tokenizer):
    assert tokenizers.special_tokens(tokenizers.Alone(tokenizer)).status == "ok"


def test_8_a_split_pattern_that_is_lost_on_saving(monkeypatch: pytest.MonkeyPatch):
    load = Tokenizer.load

    def other(folder: str | Path) -> Tokenizer:
        backend = load(folder).vocabulary.backend
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return Tokenizer(dataclasses.replace(load(folder).vocabulary, backend=backend))

    tokenizer = trained("byte")  # its ids are the same under any split, so that only the pattern shows
    monkeypatch.setattr(Tokenizer, "load", other)
    assert tokenizers.saved_tokenizer(tokenizers.Alone(tokenizer)).status == "ok"
    tokenizer.vocabulary.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    failed(tokenizers.saved_tokenizer(tokenizers.Alone(tokenizer)), "pre_tokenizer")


def test_8_a_role_of_a_plain_word():
    vocabulary = trained("word").vocabulary
    plain = Tokenizer(dataclasses.replace(vocabulary, eos=vocabulary.backend.token_to_id("Ġmodel")))
    failed(tokenizers.special_tokens(tokenizers.Alone(plain)), "differ at eos")


def test_8_a_special_token_that_text_can_write(monkeypatch: pytest.MonkeyPatch):
    tokenizer = trained()
    tokenizer._data = tokenizer._markup
    monkeypatch.setattr(tokenizer, "_forbidden", frozenset())
    failed(tokenizers.special_tokens(tokenizers.Alone(tokenizer)), "differ at <|endoftext|>")


def test_a_byte_level_vocabulary_without_all_bytes():
    letters = sorted(letter for letter in pre_tokenizers.ByteLevel.alphabet() if ord(letter) < 127)
    backend = Backend(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    failed(tokenizers.unknown_rate(tokenizers.Alone(Tokenizer(Vocabulary(backend, "ascii")))), "bytes can write")


def test_a_byte_fallback_without_bytes():
    backend = Backend(models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>", byte_fallback=True))
    backend.add_special_tokens(["<unk>"])
    failed(tokenizers.unknown_rate(tokenizers.Alone(Tokenizer(Vocabulary(backend, "a", unknown=0)))), "known tokens")


def test_words_that_a_vocabulary_of_words_does_not_know_are_told():
    result = tokenizers.unknown_rate(tokenizers.Alone(trained("word")))
    assert result.status == "ok" and result.detail.startswith("what it does not know becomes unknown: ")


def packed(folder: Path, tokenizer: Tokenizer | None = None, documents: list[Document] = DOCUMENTS) -> Shards:
    return write_shards(documents, tokenizer or trained(), folder)


@pytest.mark.parametrize("name", ["00000.bin", "documents.bin"])
def test_a_byte_that_was_changed_is_found_without_the_tokenizer(name: str, tmp_path: Path):
    path = packed(tmp_path / "a").folder / name
    values = bytearray(path.read_bytes())
    values[0 if name == "00000.bin" else 8] ^= 1  # an id that the vocabulary has; a text that is a byte longer
    path.write_bytes(values)
    failed(shards.unchanged(Shards(tmp_path / "a", verify=False)), name)
    found = [one.compared for one in check_anything(str(tmp_path / "a"))[1] if one.status == "FAILED"]
    assert "the SHA-256 of 2 files" in found


def test_8_shards_of_another_tokenizer(tmp_path: Path):
    failed(
        shards.same_tokenizer(shards.TokenizedShards(packed(tmp_path / "a"), trained("byte"))),
        "did not pack these shards",
    )


def test_8_ids_that_the_tokenizer_would_not_write(tmp_path: Path):
    """The same letters as other tokens: decoding shows nothing."""
    tokenizer, opened = trained(), packed(tmp_path / "a")
    first = opened.document(0)
    place = next(at for at, one in enumerate(first) if len(tokenizer.token_bytes(int(one))) > 1)
    spelt = tokenizer.token_bytes(int(first[place])).decode()
    ids = [tokenizer.encode(letter, special=False)[0] for letter in spelt]
    changed = [*first[:place].tolist(), *ids, *first[place + 1 :].tolist()]

    class Spelt:
        info, text_bytes = opened.info, opened.text_bytes

        def __len__(self) -> int:
            return 1

        def document(self, number: int) -> np.ndarray:
            return np.array(changed)

    spelt = shards.TokenizedShards(Spelt(), tokenizer)  # type: ignore[arg-type]
    failed(shards.same_tokenizer(spelt), "the ids of document 0")


def test_6_ids_that_were_overwritten_are_not_passed_over(tmp_path: Path):
    """Their text is another one, of another length: nothing decodes and encodes to what was packed."""
    packed(tmp_path / "a")
    file = tmp_path / "a" / "00000.bin"
    ids = np.fromfile(file, np.uint16)
    np.full_like(ids, trained().encode("a", special=False)[0]).tofile(file)
    found = shards.same_tokenizer(shards.TokenizedShards(Shards(tmp_path / "a", verify=False), trained()))
    failed(found, "the bytes of the ids and those that were packed")


def rewritten(folder: Path, **facts: object) -> Shards:
    info = json.loads((folder / "shards.json").read_text())
    (folder / "shards.json").write_text(json.dumps(info | facts))
    return Shards(folder)


def test_ids_beyond_the_vocabulary(tmp_path: Path):
    packed(tmp_path / "a")
    failed(shards.in_vocabulary(rewritten(tmp_path / "a", vocab_size=100)), "a vocabulary of 100")


def test_6_bytes_that_do_not_add_up(tmp_path: Path):
    opened = packed(tmp_path / "a")
    failed(shards.bytes_counted(rewritten(tmp_path / "a", bytes=opened.info.bytes + 7)), "differ")
    index = np.fromfile(tmp_path / "a" / "documents.bin", "<u8").reshape(-1, 2)
    index[3, 1] += 5  # as if characters had been counted, or U+FFFD
    index.tofile(tmp_path / "a" / "documents.bin")
    failed(
        shards.bytes_of_tokens(shards.TokenizedShards(Shards(tmp_path / "a", verify=False), trained())), "document 3"
    )


def test_9_a_document_that_is_packed_twice(tmp_path: Path):
    failed(shards.packed_once(packed(tmp_path / "a", documents=[*DOCUMENTS, DOCUMENTS[4]])), "differ")


def test_a_truncated_shard_is_one_sentence(tmp_path: Path):
    packed(tmp_path / "a")
    path = tmp_path / "a" / "00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="cut off while copying"):
        check_anything(str(tmp_path / "a"))


def test_a_tokenizer_is_checked_beside_its_shards_and_beside_a_text(tmp_path: Path):
    trained().save(tmp_path / "tokenizer")
    packed(tmp_path / "shards")
    (tmp_path / "text").mkdir()
    for one in DOCUMENTS:
        (tmp_path / "text" / one.source).write_text(one.text)
    kind, results = check_anything(str(tmp_path / "tokenizer"), data=str(tmp_path / "shards"))
    assert kind == "tokenizer" and {"shards are this tokenizer's"} <= {one.name for one in results}
    assert {one.status for one in results} == {"ok"}
    _, results = check_anything(str(tmp_path / "tokenizer"), data=str(tmp_path / "text"))
    assert "the vocabulary can write the text" in {one.name for one in results}
    assert check_anything(str(tmp_path / "shards"))[0] == "shards"

"""Silent errors of tokens: pitfalls 4, 6, 7 and 8."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.corpus import TEXTS
from tokens.small import byte_level, sentencepiece

from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.tokens.batch import IGNORE, Example, pack, stack
from lmworks.tokens.tokenizer import Tokenizer

BYTE_LEVEL, ADDS_BOS, PIECES = byte_level(), byte_level(adds_bos=True), sentencepiece()
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("tokenizer", [ADDS_BOS, PIECES])
@pytest.mark.parametrize("text", ["Hello", "<s>Hello", "", "<s>"])
def test_bos_is_added_once(tokenizer, text):
    """Pitfall 4: also where the text brings it along."""
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos and ids.count(tokenizer.bos) == 1
    assert ids == tokenizer.encode(text, markup=True) == tokenizer.encode_batch([text])[0]
    assert tokenizer.encode(text.removeprefix("<s>")) == ids


def test_a_model_that_adds_no_bos_gets_none():
    """Pitfall 4."""
    assert BYTE_LEVEL.bos not in BYTE_LEVEL.encode("<s>Hello")


@settings(max_examples=300)
@given(text=ANY_TEXT)
def test_the_bytes_of_the_tokens_add_up_to_the_bytes_of_the_text(text):
    """Pitfall 6: half characters count as their bytes, special tokens as none."""
    for tokenizer in (BYTE_LEVEL, ADDS_BOS):
        text = text.removeprefix("<s>")
        assert sum(len(tokenizer.token_bytes(number)) for number in tokenizer.encode(text)) == len(text.encode())
    assert sum(map(len, PIECES.bytes_of(PIECES.encode(text, special=False)))) == len(text.replace("▁", " ").encode())


def test_smollm2s_tokens_have_exact_bytes(smollm2_path):
    """Pitfall 6, on the real vocabulary: every token, not only those of a text."""
    tokenizer = gguf_tokenizer(GGUFFile(smollm2_path))
    for text in TEXTS:
        assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()
    known = {tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size)}
    assert {byte for byte in range(256) if bytes([byte]) not in known} == tokenizer.missing_bytes
    assert all(
        tokenizer.decode(tokenizer.encode(chr(code))) == chr(code)
        for code in range(0x20, 0x30000, 7)
        if not 0xD800 <= code < 0xE000 and not set(chr(code).encode()) & tokenizer.missing_bytes
    )


def test_labels_are_shifted_once():
    """Pitfall 7: the label at t is the token at t + 1; a document's last position has none."""
    batch = stack(pack([Example([5, 6, 7, 8], [False, True, True, True], "a")], 8))
    assert batch.labels[batch.documents >= 0].tolist() == [6, 7, 8, IGNORE]
    assert (batch.labels[batch.documents == -1] == IGNORE).all()


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, ADDS_BOS, PIECES])
def test_a_reloaded_tokenizer_splits_and_stops_as_before(tokenizer, tmp_path):
    """Pitfall 8."""
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    texts = [*TEXTS, "a<|im_end|>b</s>"]
    for markup in (False, True):
        assert [again.encode(text, markup=markup) for text in texts] == [
            tokenizer.encode(text, markup=markup) for text in texts
        ]
    for fact in (
        "special",
        "prefix",
        "suffix",
        "stop_ids",
        "document_start",
        "document_end",
        "vocab_size",
        "chat_template",
        "bos",
        "eos",
        "pad",
        "unknown",
        "max_length",
    ):
        assert getattr(again, fact) == getattr(tokenizer, fact), fact


def test_smollm2_saved_as_a_folder_is_the_same_tokenizer(smollm2_path, tmp_path):
    """Pitfall 8, from one container into another."""
    tokenizer = gguf_tokenizer(GGUFFile(smollm2_path))
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert (again.stop_ids, again.chat_template, again.max_length) == (
        tokenizer.stop_ids,
        tokenizer.chat_template,
        8192,
    )

"""Cuts change no token: chunks, segments and the texts whole give equal ids, for every kind and script."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from lmworks.basics.errors import DataError
from lmworks.tokens.chunks import BulkEncoder, boundaries, segments
from lmworks.tokens.tokenizer import Tokenizer
from tokens.corpus import TEXTS
from tokens.small import byte_level, sentencepiece
from tokens.test_trainer import ALL, PROSE, WITHOUT_BYTES

DTYPE = np.dtype(np.uint32)
MIXED = st.lists(
    st.sampled_from(
        [
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "\x0b",
            "\x1c",
            "\x85",
            "\u00a0",
            "\u3000",
            "\u180e",
            "\u200b",
            "'s",
            "'S",
            "'ll",
            "don't",
            "the",
            " king",
            "12",
            "½",
            "é",
            "e\u0301",
            "“",
            "—",
            "日本",
            "ー",
            "!",
            "...",
            "_",
            "<|endoftext|>",
            "▁",
        ]
    ),
    max_size=20,
).map("".join)


def digits_apart() -> Tokenizer:
    """SmolLM2's arrangement."""
    tokenizer = byte_level()
    backend = tokenizer.vocabulary.backend
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return Tokenizer(tokenizer.vocabulary)


TOKENIZERS = {**ALL, **{f"{kind} without bytes": one for kind, one in WITHOUT_BYTES.items()}}
TOKENIZERS |= {"chat": byte_level(), "digits": digits_apart(), "sentencepiece": sentencepiece()}


def bulk(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    encoder = BulkEncoder(tokenizer, DTYPE)
    first = [np.frombuffer(ids, DTYPE).tolist() for ids in encoder.encode(texts)]
    again = [np.frombuffer(ids, DTYPE).tolist() for ids in encoder.encode(texts)]
    assert first == again  # from what it knows now
    return first


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_corpus_gives_equal_ids_in_chunks(name):
    texts = [*TEXTS, *PROSE[:5], " ".join(TEXTS), "\n".join(TEXTS)]
    assert bulk(TOKENIZERS[name], texts) == TOKENIZERS[name].encode_batch(texts, special=False)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_in_a_row_are_the_words_alone(name):
    words = [*TEXTS, *(f"w{number}" for number in range(150)), *TOKENIZERS[name].special.values(), ""]
    ids, sizes = TOKENIZERS[name].encode_words(words)
    alone = TOKENIZERS[name].encode_batch(words, special=False)
    assert [part.tolist() for part in np.split(ids, np.cumsum(sizes)[:-1])] == alone and len(sizes) == len(words)
    with pytest.raises(DataError, match="surrogate"):
        TOKENIZERS[name].encode_words(["a", "\ud83d"])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=200)
@given(text=MIXED)
def test_any_mixture_gives_equal_ids_in_chunks_and_segments(name, text):
    tokenizer = TOKENIZERS[name]
    whole = tokenizer.encode(text, special=False)
    assert bulk(tokenizer, [text]) == [whole]
    parts = list(segments(text, boundaries(tokenizer), longest=3))
    assert "".join(parts) == text
    assert [number for part in parts for number in tokenizer.encode(part, special=False)] == whole


def test_what_is_known_to_be_safe_is_cut_and_nothing_else():
    assert {name: boundaries(tokenizer) for name, tokenizer in TOKENIZERS.items()} == dict.fromkeys(
        TOKENIZERS, " \n"
    ) | {
        "unigram": " ",
        "unigram without bytes": " ",
        "sentencepiece": "",
    }
    for stage, value in (
        ("pre_tokenizer", pre_tokenizers.Split(Regex("x y"), "isolated")),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        ("pre_tokenizer", pre_tokenizers.Metaspace()),
        ("normalizer", normalizers.Replace("a b", "c")),
    ):
        tokenizer = byte_level()
        setattr(tokenizer.vocabulary.backend, stage, value)
        assert boundaries(tokenizer) == "", value
    tokenizer = byte_level()
    tokenizer.vocabulary.backend.add_tokens([tokenizers.AddedToken("a b")])
    assert boundaries(tokenizer) == ""


def test_a_long_text_is_cut_into_bounded_segments():
    parts = list(segments("word " * 100, longest=50))
    assert "".join(parts) == "word " * 100 and max(map(len, parts)) <= 55 and len(parts) > 8
    assert list(segments("word " * 100, "", longest=50)) == ["word " * 100]
    assert list(segments("x" * 100, longest=50)) == ["x" * 100]


def test_words_of_bert_come_again_whatever_mark_follows_them():
    encoder = BulkEncoder(ALL["wordpiece"], DTYPE)
    encoder.encode(["the king, (the king) and\tthe king's caf\u00e9!"])
    assert {*encoder.known} == {"the", "king", ",", "(", ")", "and", "'", "s", "caf\u00e9!"}


def test_what_was_learnt_is_bounded():
    encoder = BulkEncoder(ALL["bpe"], DTYPE, most_known=50)
    for start in range(0, 400, 20):
        texts = [f"word{number} " + "x" * 500 for number in range(start, start + 20)]
        assert [np.frombuffer(ids, DTYPE).tolist() for ids in encoder.encode(texts)] == ALL["bpe"].encode_batch(texts)
        assert len(encoder.known) <= 50 and all(len(chunk) < 100 for chunk in encoder.known)

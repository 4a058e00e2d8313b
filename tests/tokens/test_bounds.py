"""Texts that cannot fit are refused before they are tokenized; none that fits is."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from lmworks.basics.errors import ConfigError
from lmworks.tokens.tokenizer import Tokenizer
from tokens.small import byte_level

TEXTS = st.lists(
    st.sampled_from(["a", "hello world", " ", "\n", "é", "e\u0301", "<|im_end|>", "<s>", "🙂", "\x00", "of "])
)


def shortening() -> Tokenizer:
    """A tokenizer whose normalizer leaves letters out."""
    vocabulary = byte_level().vocabulary
    vocabulary.backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("a", "")])
    return Tokenizer(vocabulary)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece", "shortening"])
def test_no_text_has_fewer_tokens_than_its_bound(kind, tiny, pieces):
    tokenizer = {"bytes": tiny, "sentencepiece": pieces, "shortening": shortening()}[kind]

    @settings(max_examples=200)
    @given(TEXTS.map(lambda parts: "".join(parts) * 5))
    def law(text):
        assert tokenizer.at_least(text) <= len(tokenizer.encode(text))

    law()


@pytest.mark.parametrize("text", ["a" * 4_000_000, "the quick brown fox " * 200_000, "é" * 1_000_000])
def test_a_text_of_megabytes_is_refused(tiny, text):
    with pytest.raises(ConfigError, match=r"the prompt has at least [\d,]+ tokens and the model reads 8,192; shorten"):
        tiny.must_fit(text, 8192)
    tiny.must_fit(text, None)


def test_other_threads_go_on_while_a_long_text_is_tokenized(tiny):
    ticks, done = [0.0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    tiny.encode("ab" * 400_000)
    seconds = time.monotonic() - start
    done.set()
    thread.join()
    assert any(start + seconds / 4 < one < start + seconds / 2 for one in ticks)

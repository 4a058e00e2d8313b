"""Small tokenizers and difficult texts for the tests of this room."""

from __future__ import annotations

import pytest

from lmworks.tokens.tokenizer import Tokenizer
from tokens.corpus import TEXTS
from tokens.small import byte_level, sentencepiece


@pytest.fixture(scope="session")
def tiny() -> Tokenizer:
    return byte_level()


@pytest.fixture(scope="session")
def pieces() -> Tokenizer:
    return sentencepiece()


@pytest.fixture(scope="session")
def make_tokenizer():
    return byte_level


@pytest.fixture(scope="session")
def make_sentencepiece():
    return sentencepiece


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS

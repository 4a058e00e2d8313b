"""Source and target of an encoder-decoder: what its own files say, and what is done where they say nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from lmworks.basics.errors import ConfigError
from lmworks.tokens.source import source_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import add_around


def with_ends(before: int | None, after: int | None) -> Tokenizer:
    """A byte tokenizer that adds these tokens around a text."""
    tokenizer = tiny.byte_tokenizer()
    add_around(tokenizer.vocabulary.backend, before, after)
    return Tokenizer(tokenizer.vocabulary)


def test_a_source_ends_once_whoever_ends_it():
    plain, end = tiny.byte_tokenizer(), tiny.byte_tokenizer().document_end
    text = plain.encode("a b", special=False)
    assert source_ids(plain, "a b") == [*text, end]
    assert source_ids(with_ends(None, 258), "a b") == [*text, 258]  # T5, Marian
    assert source_ids(with_ends(257, 258), "a b") == [257, *text, 258]  # BART
    assert source_ids(plain, "") == [end]
    vocabulary = replace(plain.vocabulary, pad=end)  # the end of a document is padding, and EOS another
    assert source_ids(Tokenizer(vocabulary), "a b") == [*text, plain.eos]


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_the_models_files_say_what_opens_a_target_and_saving_keeps_it(file: str, tmp_path: Path):
    tiny.byte_tokenizer().save(tmp_path)
    assert target_start(Tokenizer.load(tmp_path)) == tiny.byte_tokenizer().document_start
    (tmp_path / file).write_text(json.dumps({"decoder_start_token_id": 65}))
    tokenizer = Tokenizer.load(tmp_path)
    assert target_start(tokenizer) == 65
    model = tiny.LanguageModel(
        tiny.network(vocab_size=tokenizer.vocab_size, arrangement="encoder-decoder", family="lmworks"), tokenizer
    )
    assert target_start(tiny.LanguageModel.load(model.save(tmp_path / "saved")).tokenizer) == 65
    (tmp_path / "generation_config.json").write_text(json.dumps({"decoder_start_token_id": 66}))
    assert target_start(Tokenizer.load(tmp_path)) == 66  # the file that is made for it counts


def test_a_tokenizer_without_any_special_token_cannot_open_a_target():
    vocabulary = tiny.byte_tokenizer().vocabulary
    bare = Tokenizer(replace(vocabulary, eos=None, pad=None))
    bare.special = {}
    with pytest.raises(ConfigError, match="no token that could open a target"):
        target_start(bare)

"""CLIP's tokenizer from the merges that OpenAI publishes, against transformers', from any of its files."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lmworks.basics.errors import ModelError
from lmworks.tokens.clip import clip_vocabulary
from lmworks.tokens.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")

TEXTS = [
    "a photo of a cat",
    "  A Photo,\tof two\n\ncats'  ears -- and the dog's 12 fleas!?",
    "Ünïcode straße, 日本語 and 🍎 (é)",
    "",
    "they'll we've I'M <|endoftext|> x",
    "...###%% a_b http://x.y/z?q=1",
]


@pytest.fixture(scope="module")
def merges() -> Path:
    path = Path(os.environ.get("LMWORKS_DATA", "/nowhere")) / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"
    if not path.exists():
        pytest.skip("CLIP's merges are not here; set LMWORKS_DATA to the folder that holds clip_bpe")
    return path


@pytest.fixture(scope="module")
def ours(merges: Path) -> Tokenizer:
    return Tokenizer(clip_vocabulary(merges))


@pytest.fixture(scope="module")
def theirs(merges: Path, ours: Tokenizer) -> Any:
    model = json.loads(ours.vocabulary.backend.to_str())["model"]
    return transformers.CLIPTokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]])


def test_ids_are_those_of_transformers(ours: Tokenizer, theirs: Any):
    assert ours.vocab_size == 49_408
    assert ours.encode("a photo of a cat") == [49406, 320, 1125, 539, 320, 2368, 49407]  # as OpenAI's README has it
    for text in TEXTS:
        plain = text.replace("<|endoftext|>", "end")  # ours reads a special token's text as data
        assert ours.encode(plain) == theirs(plain).input_ids, plain


def test_the_files_of_transformers_are_read(ours: Tokenizer, theirs: Any, tmp_path: Path):
    theirs.save_pretrained(tmp_path / "json")
    (tmp_path / "words").mkdir()
    model = json.loads(ours.vocabulary.backend.to_str())["model"]
    (tmp_path / "words" / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "words" / "merges.txt").write_text("\n".join(lines))
    ours.save(tmp_path / "ours")
    for folder in ("json", "words", "ours"):
        read = Tokenizer.load(tmp_path / folder)
        for text in TEXTS:
            assert read.encode(text) == ours.encode(text), (folder, text)
        assert (read.eos, read.prefix, read.suffix) == (49407, (49406,), (49407,)), folder
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert again("a photo of a cat").input_ids == ours.encode("a photo of a cat")


def test_another_file_is_refused(tmp_path: Path):
    for name, content in (("plain", b"a b"), ("short", gzip.compress(b"#\na b c\n")), ("cut", gzip.compress(b"x")[:9])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="not CLIP's file of merges"):
            clip_vocabulary(tmp_path / name)
    with pytest.raises(ModelError, match="not CLIP's file"):
        clip_vocabulary(tmp_path / "nothing")

"""A tokenizer's files: what is saved loads again and loads in transformers; what is damaged is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lmworks.basics.errors import ModelError
from lmworks.tokens.tokenizer import Tokenizer

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello 12"}]


@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_saved_tokenizer_loads_in_transformers_with_equal_ids_and_chats(tmp_path, make_tokenizer, texts, adds_bos):
    from transformers import AutoTokenizer

    tokenizer = make_tokenizer(adds_bos=adds_bos)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in texts:
        assert theirs(text)["input_ids"] == tokenizer.encode(text), repr(text)
        assert theirs.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert (theirs.bos_token_id, theirs.eos_token_id) == (tokenizer.bos, tokenizer.eos)
    assert theirs.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) == tokenizer.chat.render(
        MESSAGES, add_generation_prompt=True
    )


def test_sentencepiece_saves_and_loads_with_equal_ids(tmp_path, pieces, texts):
    pieces.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert [again.encode(text) for text in texts] == [pieces.encode(text) for text in texts]
    assert (again.prefix, again.adds_space, again.unknown) == (pieces.prefix, True, pieces.unknown)


def test_gpt2s_own_files_load_without_a_tokenizer_json(tmp_path):
    data = os.environ.get("LMWORKS_DATA")
    if not data or not (Path(data) / "gpt2_bpe").exists():
        pytest.skip("GPT-2's vocabulary is not here; set LMWORKS_DATA to the folder that holds gpt2_bpe")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((Path(data) / "gpt2_bpe" / f"gpt2_{name}").read_bytes())
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.bos == tokenizer.eos == tokenizer.document_start == 50256 and tokenizer.vocab_size == 50257


def test_the_models_own_setting_decides_about_bos(tmp_path, make_tokenizer):
    make_tokenizer(adds_bos=False).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"add_bos_token": True, "add_eos_token": True, "bos_token": {"content": "<s>", "lstrip": False}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.prefix, tokenizer.suffix) == ((tokenizer.bos,), (tokenizer.eos,))


def test_generation_configs_ends_are_stop_ids_and_templates_are_found_in_every_place(tmp_path, tiny):
    tiny.save(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 300]}')
    assert Tokenizer.load(tmp_path).stop_ids == {0, 2, 300}
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer.load(tmp_path).chat_template == tiny.chat_template  # the file counts first
    (tmp_path / "chat_template.jinja").unlink()
    assert Tokenizer.load(tmp_path).chat_template == "D"


def test_a_special_token_that_only_the_config_names_is_special(tmp_path, tiny):
    tiny.save(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] != "<|im_end|>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.special[tokenizer.eos] == "<|im_end|>"
    assert tokenizer.eos not in tokenizer.encode("<|im_end|>") and tokenizer.encode("<|im_end|>", markup=True) == [2]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("tokenizer.json", "{", "is not a tokenizer"),
        ("tokenizer.json", '{"model": {}}', "is not a tokenizer"),
        ("tokenizer.json", b"\xff\xfe", "cannot be read as text"),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "is a Git LFS pointer"),
        ("tokenizer_config.json", "[]", "holds no JSON object"),
        ("tokenizer_config.json", "[" * 100_000, "is not JSON"),
        ("tokenizer_config.json", '{"added_tokens_decoder": ["<s>"]}', "or special_tokens_map.json does not list"),
        ("tokenizer_config.json", '{"additional_special_tokens": 3}', "or special_tokens_map.json does not list"),
        ("tokenizer_config.json", '{"additional_special_tokens": "<s>"}', "or special_tokens_map.json does not list"),
        ("generation_config.json", "x", "is not JSON"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, tiny, name, content, sentence):
    tiny.save(tmp_path)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError, match=rf"{name} {sentence}"):
        Tokenizer.load(tmp_path)


def test_a_folder_without_a_tokenizer_says_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match=r"has no tokenizer.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("a b\n")
    with pytest.raises(ModelError, match=r"vocab.json and merges.txt do not fit together"):
        Tokenizer.load(tmp_path)

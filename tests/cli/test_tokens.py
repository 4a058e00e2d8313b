"""lmworks tokens: a tokenizer from a folder of text, looked at and compared."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lmworks.tokens.tokenizer import Tokenizer


@pytest.fixture
def trained(run, text_folder, tmp_path):
    done = run("tokens", "train", text_folder, "--vocab-size", "280", "--out", str(tmp_path / "mine"))
    assert done.code == 0, done.err
    return str(tmp_path / "mine"), done


def test_a_tokenizer_is_trained_saved_and_looked_at(run, trained):
    folder, done = trained
    assert f"saved   {folder}" in done.out and "bpe: 280 tokens" in done.out and "picture.png" in done.err
    tokenizer = Tokenizer.load(folder)
    facts = run("tokens", "inspect", folder, "Note 1 says\n", "--json").json
    assert [piece["id"] for piece in facts["pieces"]] == tokenizer.encode("Note 1 says\n") and facts["bytes"] == 12
    shown = run("tokens", "inspect", folder, "Note 1 says\n").out
    assert all(f"{piece['text']} {piece['id']} " in shown for piece in facts["pieces"])
    assert f"{len(facts['pieces'])} tokens for 12 bytes" in shown
    assert "\n1 token for 1 byte" in run("tokens", "inspect", folder, "e").out


def test_what_to_do_next_can_be_typed_as_it_stands(run, text_folder, tmp_path):
    said = run("tokens", "train", text_folder, "--vocab-size", "280", "--out", str(tmp_path / "my own")).out
    command = said.rpartition("next    lmworks ")[2].replace("TEXT", "water")
    assert run(*shlex.split(command)).code == 0, command


def test_every_kind_is_trained_by_name_and_chatml_comes_along(run, text_folder, tmp_path):
    for kind, size in (
        ("byte", ()),
        ("character", ("--no-byte-fallback",)),
        ("word", ("--vocab-size", "12")),
        ("wordpiece", ("--vocab-size", "50")),
        ("unigram", ("--vocab-size", "299")),
    ):
        out = str(tmp_path / kind)
        facts = run("tokens", "train", text_folder, "--kind", kind, *size, "--out", out, "--json").json
        assert facts["folder"] == out and facts["vocab_size"] == Tokenizer.load(out).vocab_size
        assert facts["config"]["kind"] == kind and facts["unknown_rate"] <= (0.5 if kind == "word" else 0)
    options = ("--chat-template", "chatml", "--special", "<pad>", "--kind", "byte", "--out", str(tmp_path / "chat"))
    assert run("tokens", "train", text_folder, *options).code == 0
    assert list(Tokenizer.load(tmp_path / "chat").special.values()) == ["<pad>", "<|im_start|>", "<|im_end|>"]


def test_a_tokenizer_that_is_there_is_replaced_aloud_and_a_models_is_not(run, trained, model_folder, text_folder):
    folder, first = trained
    assert "replaces" not in first.err
    again = run("tokens", "train", text_folder, "--kind", "byte", "--out", folder)
    assert again.code == 0 and f"replaces       {folder}," in again.err
    before = Tokenizer.load(model_folder).vocab_size
    refused = run("tokens", "train", text_folder, "--out", model_folder)
    assert refused.code == 1 and "is not a tokenizer's folder" in refused.err
    assert Tokenizer.load(model_folder).vocab_size == before


def test_tokenizers_and_models_are_compared_on_the_same_texts(run, trained, model_folder, text_folder):
    folder, _ = trained
    options = ("tokens", "compare", folder, model_folder, "--text", text_folder)
    facts = run(*options, "--json").json
    assert [one["tokenizer"] for one in facts] == [folder, model_folder] and facts[1]["bytes_per_token"] == 1
    assert facts[0]["bytes"] == facts[1]["bytes"] and facts[0]["tokens"] < facts[1]["tokens"]
    shown = run(*options).out
    for one in facts:
        assert f"{one['tokens_per_word']:.2f}" in shown and f"{one['bytes_per_token']:.2f}" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "TEXT", "--vocab-size", "90000"), "finds"),
        (("train", "TEXT", "--kind", "bpa"), "kind is 'bpa'"),
        (("train", "TEXT", "--chat-template", "nowhere.jinja"), "--chat-template nowhere.jinja cannot be read"),
        (("train", "nowhere"), "nowhere does not exist"),
        (("inspect", "nowhere", "text"), "nowhere is neither a known model nor a path"),
        (("compare", "nowhere", "--text", "TEXT"), "nowhere is neither"),
    ],
)
def test_mistakes_are_one_sentence(run, text_folder, arguments, sentence):
    done = run("tokens", *(text_folder if one == "TEXT" else one for one in arguments))
    assert done.code == 1 and sentence in done.err.splitlines()[-1]
    assert done.err.splitlines()[-1].startswith("lmworks: ")


def test_help_names_the_three_verbs(run):
    shown = run("tokens", "--help")
    assert shown.code == 0 and all(f"  {verb} " in shown.out for verb in ("train", "inspect", "compare"))


def test_links_that_leave_the_folder_are_named_and_followed_if_asked(run, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LMWORKS_FOLLOW_LINKS", "0")  # so that it is as before after the test
    (tmp_path / "secret").write_text("root:x:0:0")
    (Path(text_folder) / "\x1b[31mpw.txt").symlink_to(tmp_path / "secret")
    train = ("tokens", "train", text_folder, "--kind", "byte", "--out", str(tmp_path / "made"), "--json")
    without = run(*train)
    assert "\\x1b[31mpw.txt: a link that leaves the folder; --follow-links reads it" in without.err
    assert run(*train, "--follow-links").json["documents"] == without.json["documents"] + 1

"""Adapters by name on the command line: each prompt is read by the one of its kind, and who read it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from adaptation.adapted import adapter_folder
from adaptation.routed import NUMBERS, SHAPE, SIGNS, WORDS, asked, routed_folder

import lmworks as lm


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return routed_folder(tmp_path_factory.mktemp("routed"))


@pytest.fixture(scope="module")
def named(root: Path) -> list[str]:
    return ["--adapter", f"words={root / 'words'}", "--adapter", f"numbers={root / 'numbers'}"]


def test_generate_says_who_read_the_prompt(run, root: Path, named: list[str]):
    base = str(root / "base")
    for prompt, name in ((WORDS[2], "words"), (NUMBERS[4], "numbers"), (SIGNS[2], None)):
        told = run("generate", base, prompt, *named, "--max-new-tokens", "6")
        facts = run("generate", base, prompt, *named, "--max-new-tokens", "6", "--json").json
        alone = lm.load(base if name is None else root / name).generate(prompt, max_new_tokens=6)
        assert told.err.splitlines()[-1] == f"lmworks: read by {name or 'the model itself'}"
        assert facts["adapter"] == name and facts["text"] == alone.text == told.out[:-1]
    assert "adapter" not in run("generate", base, "a", "--max-new-tokens", "2", "--json").json


def test_lines_of_one_batch_go_to_different_ones(run, root: Path, named: list[str], monkeypatch: pytest.MonkeyPatch):
    lines = "\n".join([NUMBERS[1], "", WORDS[1], SIGNS[0]])
    how = (str(root / "base"), lines, *named, "--lines", "--max-new-tokens", "4")
    told = [json.loads(line) for line in run("generate", *how, "--json").out.splitlines()]
    assert [one and one["adapter"] for one in told] == ["numbers", None, "words", None]
    said = [line for line in run("generate", *how).err.splitlines() if "read by" in line]
    assert said == [
        "lmworks: line 1: read by numbers",
        "lmworks: line 3: read by words",
        "lmworks: line 4: read by the model itself",
    ]


def test_a_chat_says_it_for_each_answer(run, root: Path, named: list[str], monkeypatch: pytest.MonkeyPatch):
    typed: Iterator[str] = iter([WORDS[0], "/reset", NUMBERS[0], "/exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    told = run("chat", str(root / "base"), *named, "--max-new-tokens", "6")
    assert [line for line in told.err.splitlines() if "read by" in line] == [
        "lmworks: read by words",
        "lmworks: read by numbers",
    ]
    model = lm.load(root / "numbers")
    assert model.generate(asked(NUMBERS[0]), max_new_tokens=6).text.strip() in told.out


def test_what_a_text_cannot_choose_is_told_before_anything_is_written(run, root: Path, tmp_path: Path):
    network = tiny.language_model(seed=4, **SHAPE).network
    plain = adapter_folder(tmp_path / "plain", network, str(root / "base"))
    told = run("generate", str(tmp_path / "no model"), "a", "--adapter", f"plain={plain}")  # nothing is loaded first
    assert told.code == 1 and told.out == ""
    assert "the adapter plain does not say which texts are its own" in told.err and "--retain router" in told.err
    told = run("generate", str(root / "base"), "a", "--adapter", str(plain), "--adapter", f"words={root / 'words'}")
    assert "has no name, and there are others" in told.err
    told = run("generate", str(root / "base"), "a", "--adapter", f"gone={tmp_path / 'gone'}")
    assert told.code == 1 and f"{tmp_path / 'gone'} holds no adapter" in told.err


def test_a_text_is_measured_with_the_adapter_of_each_document(run, root: Path, named: list[str], tmp_path: Path):
    texts = [WORDS[0], WORDS[1], NUMBERS[0], SIGNS[0]]
    said = tmp_path / "said.jsonl"
    said.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    facts = run("evaluate", str(root / "base"), str(said), *named, "--json").json
    assert facts["readers"] == [
        {"adapter": "words", "texts": 2},
        {"adapter": "numbers", "texts": 1},
        {"adapter": None, "texts": 1},
    ]
    readers = [root / "words", root / "words", root / "numbers", root / "base"]
    alone = [lm.load(reader).score(text) for reader, text in zip(readers, texts, strict=True)]
    expected = sum(one.bits for one in alone) / sum(one.bytes for one in alone)
    assert facts["measurements"][0]["value"] == pytest.approx(expected, rel=1e-5)
    plain = run("evaluate", str(root / "base"), str(said), "--json").json["measurements"][0]["value"]
    assert expected != pytest.approx(plain, rel=1e-5)
    told = run("evaluate", str(root / "base"), str(said), *named)
    assert "lmworks: read by words: 2 texts, by numbers: 1 text, by the model itself: 1 text" in told.err


def test_a_conversation_is_measured_with_the_adapter_that_its_question_chooses(
    run, root: Path, named: list[str], tmp_path: Path
):
    """And not its answer, which is not there when the model is asked."""
    said = tmp_path / "said.jsonl"
    turns = [*asked(NUMBERS[0][:20]), {"role": "assistant", "content": WORDS[0]}]
    said.write_text(json.dumps({"messages": turns}) + "\n")
    facts = run("evaluate", str(root / "base"), str(said), *named, "--json").json
    assert facts["readers"] == [{"adapter": "numbers", "texts": 1}]


def test_an_adapter_without_a_name_is_measured_as_its_folder_is(run, root: Path, tmp_path: Path):
    (tmp_path / "said.txt").write_text(WORDS[0])
    said, folder = str(tmp_path / "said.txt"), str(root / "words")
    facts = run("evaluate", str(root / "base"), said, "--adapter", folder, "--json").json
    assert facts["measurements"] == run("evaluate", folder, said, "--json").json["measurements"]
    assert facts["measurements"] != run("evaluate", str(root / "base"), said, "--json").json["measurements"]
    assert "readers" not in facts and facts["model"] == folder
    items = [{"question": f"{number}?", "choices": ["abc", "bcd"], "label": number % 2} for number in range(4)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    task = str(tmp_path / "asked.jsonl")
    facts = run("evaluate", str(root / "base"), "--task", task, "--adapter", folder, "--json").json
    assert facts["measurements"] == run("evaluate", folder, "--task", task, "--json").json["measurements"]


def test_what_is_no_text_to_predict_chooses_no_adapter(run, root: Path, named: list[str], tmp_path: Path):
    told = run("evaluate", str(root / "base"), "--task", "arc-easy", *named)
    assert told.code == 1 and "--adapter NAME=DIR goes with a text that is predicted" in told.err
    (tmp_path / "prompt.json").write_text("{}")
    told = run("evaluate", str(root / "base"), "sst2-dev", "--prompt", str(tmp_path / "prompt.json"), *named)
    assert told.code == 1 and "--adapter NAME=DIR goes with a text that is predicted" in told.err

"""Verbs in an environment as `make run` makes it: with the extras fast and ground, and no package of another one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from mutations import ROOT

INSTALLED = {"fast", "ground"}
PROGRAM = """
import contextlib, io, json, sys

absent, words = json.loads(sys.argv[1])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from lmworks.cli import main
found = []
for one in words:
    sys.argv[1:], said, code = one, io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    found.append([code, said.getvalue()])
print(json.dumps(found))
"""


def optional() -> dict[str, set[str]]:
    """The top packages that the code asks each extra for, and those that only the server imports."""
    found: dict[str, set[str]] = {"serve": {"fastapi", "starlette", "uvicorn", "prometheus_client"}}
    for path in (ROOT / "lmworks").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for module, extra in re.findall(r'require\(\s*"([\w.]+)",\s*(?:extra=)?"(\w+)"', text):
            found.setdefault(extra, set()).add(module.partition(".")[0])
    return found


def ran(*commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """How each ended and what it said: one process for all, in their order."""
    absent = sorted(set().union(*(packages for extra, packages in optional().items() if extra not in INSTALLED)))
    command = [sys.executable, "-c", PROGRAM, json.dumps([absent, commands])]
    return [
        tuple(one) for one in json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "rent.md").write_text("# The flat\n\nThe rent is due on the third working day. It is 740 euros.\n")
    (folder / "boat.txt").write_text("The boat lies at pier 7.")
    return folder


@pytest.mark.usefixtures("minilm")
def test_documents_are_indexed_searched_and_asked(notes: Path, tmp_path: Path):
    index, asked = str(tmp_path / "index"), tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"question": "When is the rent due?", "answers": ["the third working day"]}))
    commands = (
        ("index", str(notes), "--out", index),
        ("search", index, "rent"),
        ("ask", index, "When is the rent due?"),
        ("ask", index, "--questions", str(asked)),
    )
    ended = ran(*commands)
    assert [code for code, _ in ended] == [0] * len(commands), ended
    assert "third working day" in ended[2][1]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("graph", ("graph", "load", "{}/rent.md", "--out", "{}/graph")),
        ("graph", ("graph", "extract", "{}", "--out", "{}/graph")),
        ("graph", ("graph", "ask", "{}/graph", "when?")),
        ("corpus", ("corpus", "{}", "--out", "{}/corpus")),
        ("serve", ("serve", "smollm2")),
        ("serve", ("bench", "serve", "http://127.0.0.1:9")),
        ("mcp", ("mcp", "{}")),
        ("lab", ("lab", "6")),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one[:2]).replace("{}", "folder"),
)
def test_a_verb_of_another_extra_names_it(notes: Path, extra: str, words: tuple[str, ...]):
    ((code, said),) = ran(tuple(one.format(notes) for one in words))
    assert code == 1 and f"pip install 'lmworks[{extra}]'" in said and said.count("\n") == 1, said


def test_the_settings_of_a_client_need_no_extra(tmp_path: Path):
    from lmworks.grounding.index import IndexSettings, build

    embedder = tiny.embedder(tmp_path / "encoder")
    (tmp_path / "boat.txt").write_text("The boat lies at pier 7.")
    build(tmp_path / "boat.txt", tmp_path / "index", IndexSettings(embedder=embedder))
    ((code, said),) = ran(("mcp", str(tmp_path / "index"), "--settings"))
    assert code == 0 and json.loads(said)["mcpServers"]


def test_what_measures_answers_is_missed_before_they_are_written_or_learnt(tmp_path: Path):
    tiny.language_model(context=64, family="lmworks", arrangement="encoder-decoder", positions="relative").save(
        tmp_path / "both"
    )
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"ask {one}", "response": "good"}) + "\n" for one in range(30)))
    chosen = {"data.text": pairs, "tokenizer.vocab_size": 280, "training.epochs": 1}
    small = (word for name, value in chosen.items() for word in ("--set", f"{name}={value}"))
    ended = ran(
        ("evaluate", str(tmp_path / "both"), str(pairs)),
        ("evaluate", str(tmp_path / "both"), str(pairs), "--figure", "rouge"),
        ("train", "summarize", *small, "--out", str(tmp_path / "model")),
    )
    for code, said in ended:
        assert code == 1 and "pip install 'lmworks[text]'" in said, said
        assert "answering" not in said and "training" not in said
    assert not (tmp_path / "model").exists()

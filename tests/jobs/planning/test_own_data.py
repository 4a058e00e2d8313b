"""A plan of a tune beside the tune: rows, steps, tokens, bytes of the checkpoint and of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from jobs import small_builds
from lmworks.basics.errors import DataError
from lmworks.jobs.planning.devices import find_device
from lmworks.jobs.planning.plan import make_plan
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.tune import tune
from lmworks.training import loop


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, a text, and a list of instructions."""
    monkeypatch.chdir(tmp_path)
    small_builds.prepare(tmp_path)
    records = [{"instruction": f"Say {word}.", "input": "", "output": f"{word}!"} for word in tiny.WORDS[:24]]
    Path("chats.json").write_text(json.dumps(records))
    return tmp_path


CHANGES = ("training.context=64", "training.rows=2", "training.accumulate=2", "training.epochs=2")


def tensor_bytes(file: Path) -> int:
    """Of a file of tensors, without their names."""
    with file.open("rb") as opened:
        return file.stat().st_size - 8 - int.from_bytes(opened.read(8), "little")


@pytest.mark.parametrize(
    ("method", "retain"),
    [("lora", "nothing"), ("prompt", "nothing"), ("last_layers", "nothing"), ("full", "rehearsal")],
)
def test_a_tune_does_what_its_plan_says(folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, retain: str):
    changes = [
        *CHANGES,
        "data.general=general",
        "evaluation.tokens=200",
        "model.dtype=float32",
        "training.checkpoint_every=1",
    ]
    changes += [f"method={method}", f"retain={retain}"]
    changes += ["last_layers.layers=1"] if method == "last_layers" else []
    changes += ["rehearsal.text=notes"] if retain == "rehearsal" else []
    written: list[int] = []
    save = loop.save_checkpoint

    def watched(where: Path, *more: Any) -> None:
        save(where, *more)
        written.append(sum(map(tensor_bytes, where.glob("*.safetensors"))))

    monkeypatch.setattr(loop, "save_checkpoint", watched)
    plan = make_plan(read_subject("base", changes, "chats.json"), find_device("H100"))
    own, way = plan.subject.own, plan.asked
    said: list[str] = []
    result = tune("base", "chats.json", method, retain, "out", changes=changes, say=said.append)
    assert f"text           {own.name}: {own.amounts}" in said and set(own.said) <= set(said)
    facts = json.loads((folder / "out" / "lmworks.json").read_text())
    lines = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    assert (own.steps, own.rows) == (lines[0]["steps"], lines[0]["rows"]) and own.steps == len(result.training.losses)
    assert facts["data"]["documents"] == [own.examples, own.held_out]
    assert result.training.tokens == pytest.approx(own.learnt * own.passes, rel=0.3 if retain == "rehearsal" else 0.02)
    assert way.result == sum(map(tensor_bytes, (folder / "out").glob("*.safetensors")))
    assert way.checkpoint == pytest.approx(written[-1], abs=6_000)  # and the state of the random numbers


def test_a_text_that_teaches_nothing_is_one_sentence(folder: Path):
    for name, content, words in (
        ("asked.jsonl", '{"conversations": [{"from": "human", "value": "Who?"}]}', "holds nothing to train on"),
        ("blank.txt", "  \n", "no text in it"),
    ):
        Path(name).write_text(content)
        with pytest.raises(DataError, match=words):
            read_subject("base", (), name)


def test_rows_are_planned_as_full_as_they_are(folder: Path):
    plan = make_plan(read_subject("base", ["training.context=512"], "chats.json"), find_device("H100"))
    wide = make_plan(read_subject("base", ["training.context=512"]), find_device("H100"))
    own = plan.subject.own
    assert own.longest <= 512 and own.documents >= 2 and own.learnt < own.tokens
    few = make_plan(read_subject("base", ["training.context=64"], "chats.json"), find_device("H100")).asked
    assert few.memory.peak < plan.asked.memory.peak <= wide.asked.memory.peak * 1.01

"""Distilling from a folder of text to a model directory: what it reports, resumes, reuses and refuses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file

import lmworks as lm
from jobs import small_builds
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.evaluation import beside_teacher
from lmworks.jobs import distill as job
from lmworks.jobs.distill import DistillResult, distill
from lmworks.jobs.train import pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.objectives.distillation import Distillation

CHANGES = [
    "training.context=64",
    "training.rows=2",
    "training.steps=4",
    "training.learning_rate=1e-2",
    "training.warmup=0",
    "data.general=general",
    "data.held_out=0.3",
    "teacher.dtype=float32",
    "evaluation.window=64",
    "teaching.samples=8",
    "teaching.tokens=600",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher of two layers, and texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(beside_teacher, "TIMES", 1)
    monkeypatch.setattr(beside_teacher, "WRITTEN", 4)
    small_builds.prepare(tmp_path)
    return tmp_path


def small(out: str = "small", *more: str, **named: Any) -> DistillResult:
    part = {} if "student" in named else {"layers": 1}
    return distill("base", "notes", out, changes=[*CHANGES, *more], **part | named)


def test_a_student_of_half_the_layers_is_saved_with_figures_of_both(here: Path):
    said: list[str] = []
    result = small(say=said.append)
    loaded = lm.load("small", compress="none")
    assert loaded.config.layers == 1
    torch.testing.assert_close(loaded.logits(small_builds.TOKENS), result.model.logits(small_builds.TOKENS))
    facts = json.loads(Path("small/lmworks.json").read_text())
    assert facts["teacher"]["reference"] == "base" and facts["recipe"]["student"]["layers"] == 1
    assert facts["measurements"] == [one.to_json() for one in result.measurements]
    names = [one["name"] for one in facts["measurements"]]
    for name in (
        "held-out text, student minus teacher",
        "general text, KL(teacher || student)",
        "student, parameters",
        "teacher, a written token (PyTorch)",
    ):
        assert name in names
    assert [len(one.bytes) for one in result.texts] == [int(facts["data"]["documents"][1]), 3]
    assert any(line.startswith("learnt ") for line in said)
    assert len([line for line in said if line.startswith("few steps      ") and "only a trial" in line]) == 1
    assert facts["remarks"] == result.remarks and "only a trial" in " ".join(result.remarks)
    assert not Path("small.run").exists()


def test_figures_are_those_of_the_two_models_alone(here: Path):
    from lmworks.evaluation.likelihood import measure
    from lmworks.text.sources import read

    result = small("small", "evaluation.tokens=100000")
    documents = read("general").documents
    for reference, figure in (("base", result.texts[1].teacher), ("small", result.texts[1].student)):
        alone = measure(lm.load(reference, dtype="float32"), documents, "general", window=64).bits_per_byte("general")
        assert figure.value == pytest.approx(alone.value, rel=1e-4)
    assert result.texts[1].divergence.value > 0


def test_another_student_of_the_same_rows_asks_nothing_again(here: Path):
    first = small()
    narrow = small("narrow", "student.hidden_dim=16")
    hard = small("hard", "teaching.share=0")
    other = small("other", "teaching.temperature=2")
    assert first.asked > 0 and narrow.asked == hard.asked == 0 and other.asked == first.asked
    assert narrow.model.config.hidden_dim == 16
    assert len({one.training.losses[0] for one in (first, narrow, hard, other)}) == 4


def stop_after_two(monkeypatch: pytest.MonkeyPatch, *more: str, **named: Any) -> None:
    """A run that Ctrl-C ends after two of its steps."""
    calls = []

    class Stopping(Distillation):
        def __call__(self, network: Any, batch: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(network, batch)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match="stopped after step 2 of 4"):
        patch.setattr(job, "Distillation", Stopping)
        small("out", *more, **named)


@pytest.mark.parametrize("samples", ["8", "0"])
def test_a_run_that_was_stopped_goes_on_to_the_same_student(samples: str, here: Path, monkeypatch: pytest.MonkeyPatch):
    more = [f"teaching.samples={samples}"]
    straight = small("straight", *more)
    stop_after_two(monkeypatch, *more)
    assert not Path("out").exists()
    resumed = small("out", *more, resume=True)
    assert straight.training.losses[2:] == resumed.training.losses and resumed.asked == 0
    assert torch.equal(straight.model.logits(small_builds.TOKENS), resumed.model.logits(small_builds.TOKENS))


def test_a_narrower_student_learns_of_wider_states_and_keeps_no_map(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped and resumed too: the map to the teacher's width is a part of the checkpoint, and of nothing else."""
    tiny.language_model(7, dim=16, heads=2, kv_heads=1, context=160).save(here / "thin")
    more = ["teaching.samples=0", "teaching.states=0.5"]
    straight = small("straight", *more, student="thin")
    stop_after_two(monkeypatch, *more, student="thin")
    resumed = small("out", *more, student="thin", resume=True)
    assert resumed.training.losses == straight.training.losses[2:]
    assert (
        small_builds.contents(Path("out"))["model.safetensors"]
        == small_builds.contents(Path("straight"))["model.safetensors"]
    )
    assert set(load_file("out/model.safetensors")) == set(load_file("thin/model.safetensors"))
    assert lm.load("out").config.dim == 16


def test_a_student_of_another_family_learns_with_states_and_written_rows(here: Path):
    tiny.language_model(7, family="lmworks", gated=False, tied=False, context=160).save(here / "own")
    more = ["teaching.samples=0", "teaching.states=0.5", "teaching.written=0.2"]
    result = small("small", *more, student="own")
    assert result.model.config.family == "lmworks" and len(result.training.losses) == 4
    assert not lm.load("small").config.gated


def test_the_teacher_stays_as_it_was(here: Path):
    before = small_builds.contents(Path("base"))
    small("small", "teaching.samples=0")
    assert small_builds.contents(Path("base")) == before


def refused(match: str, *more: str, kind: type[LmworksError] = ConfigError, **named: Any) -> None:
    with pytest.raises(kind, match=match) as caught:
        small("none", *more, **named)
    assert "\n" not in str(caught.value) and not Path("none").exists()


def test_what_makes_no_sense_is_one_sentence(here: Path):
    refused(r"student\.layers is 40, and the teacher has 2; a student of fewer layers keeps 1 of them", layers=40)
    refused(r"student\.hidden_dim is 48, and the teacher's is 48", "student.hidden_dim=48")
    refused(r"give student\.layers \(or student\.hidden_dim\), or student\.reference", layers=None)
    refused(r"teaching\.temprature is not a setting; did you mean teaching\.temperature", "teaching.temprature=2")
    refused(r"teaching\.states needs the teacher at each step", "teaching.states=1")
    refused(r"teaching\.cache_mb is 0, and what the teacher says", "teaching.cache_mb=0.001")


def test_a_student_with_another_vocabulary_is_refused(here: Path):
    """As many ids, of which two have changed places."""
    tiny.language_model(3, context=160).save(here / "other")
    path = here / "other/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer))
    refused(r"the student other has another vocabulary than its teacher base", student="other")


def test_a_text_with_nothing_to_learn_is_refused(here: Path):
    (here / "empty").mkdir()
    (here / "empty/blank.txt").write_text("\n \n")
    with pytest.raises(DataError) as caught:
        distill("base", "empty", "none", layers=1, changes=CHANGES)
    assert "\n" not in str(caught.value) and not Path("none").exists()


def test_an_encoder_teaches_nothing_here(here: Path):
    tiny.embedder(here / "encoder")
    with pytest.raises(ConfigError, match=r"^encoder is an encoder and does not write"):
        distill("encoder", "notes", "none", layers=1, changes=CHANGES)


def test_a_network_from_nothing_learns_from_a_teacher_by_its_objective(here: Path):
    settings = {
        "model": {"dim": 16, "layers": 1, "heads": 2, "context": 32},
        "data": {"text": "notes", "held_out": 0.3},
        "training": {"context": 32, "rows": 4, "steps": 3},
        "dtype": "float32",
    }
    losses = []
    for share in (0.0, 1.0):
        objective = {"kind": "distillation", "teacher": "base", "share": share}
        result = pretrain(TrainRecipe(**settings, tokenizer="base", objective=objective), f"share-{share}")
        losses.append(result.training.losses[0])
        assert result.bits_per_byte.value > 0
    assert losses[0] > losses[1] > 0  # a distance is less than the cross-entropy
    with pytest.raises(ConfigError, match=r"objective\.teacher is base, which has another vocabulary"):
        pretrain(TrainRecipe(**settings, tokenizer={"kind": "byte"}, objective=objective), "none")

"""What small builds are made of: a folder with a base model, a text and a general text; a recipe; a Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from training.runs import Interfering

from lmworks.basics.errors import Stopped
from lmworks.jobs.build import build
from lmworks.jobs.recipe import Recipe
from lmworks.language_model import LanguageModel

TOKENS = tiny.text(2, 40)
SMALL = {"lora": {"rank": 2}, "bottleneck": {"size": 8}}
"""Settings that fit the base."""


def prepare(folder: Path) -> None:
    """A base model, twelve notes, and a general text of three."""
    tiny.language_model(context=160).save(folder / "base")
    for name, count in (("notes", 12), ("general", 3)):
        (folder / name).mkdir()
        for number in range(count):
            words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(30 + 3 * number)]
            (folder / name / f"{number}.txt").write_text(f"{name} {number}: " + " ".join(words))


def recipe(method: str = "lora", **training: Any) -> Recipe:
    """Four steps on the notes."""
    settings = {"context": 64, "rows": 2, "steps": 4, "learning_rate": 1e-2, "warmup": 0.0, "seed": 5} | training
    return Recipe(
        method=method,
        model={"reference": "base", "dtype": "float32"},
        data={"text": "notes", "held_out": 0.25, "general": "general"},
        training=settings,
        evaluation={"tokens": 2000, "window": 128},
        grounding={"index": False},
        **{name: small for name, small in SMALL.items() if name == method},
    )


def logits(model: LanguageModel) -> torch.Tensor:
    """What a model says of a fixed text."""
    return model.logits(TOKENS)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stopped(chosen: Recipe, monkeypatch: pytest.MonkeyPatch, after: int = 3, out: str = "out", **named: Any) -> None:
    """A build that Ctrl-C ends after `after` steps."""
    with monkeypatch.context() as patch, pytest.raises(Stopped, match=f"stopped after step {after} of"):
        patch.setattr(
            "lmworks.jobs.learning.CausalLM",
            lambda: Interfering(after - 1, lambda model: os.kill(os.getpid(), signal.SIGINT)),
        )
        build(out=out, recipe=chosen, **named)

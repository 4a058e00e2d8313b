"""What is made of a model is a model of the same kind: it still draws, and pools as it did."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from serving.drawer import drawer

import lmworks as lm
from lmworks.drawing_model import DrawingModel
from lmworks.jobs.build import build
from lmworks.jobs.compress import compress
from lmworks.jobs.merge import merge


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that draws, and a text."""
    monkeypatch.chdir(tmp_path)
    drawer().save("drawer")
    Path("notes").mkdir()
    for number in range(8):
        Path(f"notes/{number}.txt").write_text(f"Note {number}: " + " ".join(tiny.WORDS[number:] * 4))
    return tmp_path


def test_what_is_made_of_a_model_that_draws_still_draws(here: Path):
    pytest.importorskip("PIL.Image", reason="pip install 'lmworks[vision]'")
    compress("drawer", "small", text="notes", bits=8)
    merge(["drawer"], "merged", base="drawer", keep=0.5)
    short = ["training.steps=1", "training.context=32", "evaluation.window=32", "grounding.index=false"]
    build("notes", "drawer", "whole", recipe="quick", changes=short, merge=True)
    for made in ("small", "merged", "whole"):
        model = lm.load(made)
        assert isinstance(model, DrawingModel) and model.draw("red", seed=1).size == (8, 8), made


def test_merged_encoders_pool_as_their_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    base = tiny.language_model(family="lmworks", arrangement="encoder", context=256)
    base.save("base", {"pooling": base.pooling.but(mode="first", normalise=False).model_dump()})
    merge(["base"], "merged", base="base", keep=0.5)
    vectors, wanted = (lm.load(name, compress="none").embed(["a few words"]) for name in ("merged", "base"))
    torch.testing.assert_close(vectors, wanted)

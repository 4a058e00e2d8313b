"""What is written never replaces what it is made of."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.jobs.build import build
from lmworks.jobs.compress import compress
from lmworks.jobs.distill import distill
from lmworks.jobs.merge import merge
from lmworks.jobs.reduce import reduce
from lmworks.jobs.train import pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.models.files.references import must_not_replace

SHORT = {"steps": 1, "context": 64}
JOBS: dict[str, Callable[[str, str], Any]] = {
    "build": lambda model, out: build("nowhere", model, out, recipe="quick"),
    "build, merged": lambda model, out: build("nowhere", model, out, recipe="quick", merge=True),
    "compress": lambda model, out: compress(model, out, text="nowhere"),
    "reduce": lambda model, out: reduce(model, 4, "nowhere", out),
    "merge": lambda model, out: merge(["other", model], out, base="other"),
    "merge onto the base": lambda model, out: merge(["other"], out, base=model),
    "distill": lambda model, out: distill(model, "nowhere", out, layers=1),
    "distill to a student": lambda model, out: distill("other", "nowhere", out, student=model),
    "train experts": lambda model, out: pretrain(
        TrainRecipe(data={"text": "nowhere"}, upcycle=model, model={"experts": {"count": 4}}, training=SHORT),
        out,
    ),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_model_is_not_replaced_by_what_is_made_of_it(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not by its own name, nor by another one of it; told before any text is read."""
    monkeypatch.chdir(tmp_path)
    tiny.embedder(Path("model")) if job == "reduce" else tiny.language_model().save("model")
    tiny.language_model(seed=1).save("other")
    Path("link").symlink_to("model")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for out in ("model", "./other/../model", "link"):
        with pytest.raises(ConfigError, match=f"{Path(out)} is the model itself; give another name with --out"):
            JOBS[job]("model", out)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("job", ["compress", "reduce", "merge"])
def test_a_finished_result_is_replaced_aloud(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As by what runs for long: told at the beginning."""
    monkeypatch.chdir(tmp_path)
    tiny.embedder(Path("model")) if job == "reduce" else tiny.language_model().save("model")
    tiny.language_model(seed=1).save("other")
    tiny.language_model(seed=2).save(f"out-{job}")
    said = f"replaces out-{job}, when the new one is complete; give another --out to keep it"
    with pytest.warns(UserWarning, match=said), contextlib.suppress(LmworksError):
        JOBS[job]("model", f"out-{job}")
    with warnings.catch_warnings(), contextlib.suppress(LmworksError):
        warnings.simplefilter("error")
        JOBS[job]("model", "new")


def test_a_model_that_holds_what_is_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    tiny.language_model().save("model")
    tiny.language_model().save("model/index")  # where nothing but an index lies usually
    must_not_replace(Path("elsewhere"), "model/index", None, "hf:org/name", "smollm2")
    must_not_replace(Path("model/index/new"), "model/index")
    with pytest.raises(ConfigError, match="model holds model/index, which is read; give another name"):
        must_not_replace(Path("model"), "model/index")

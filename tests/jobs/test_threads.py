"""A run learns the same with any number of threads: `make run` has several, tests have one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lmworks.jobs.build import BuildResult
from lmworks.jobs.tune import tune
from lmworks.training import rows_apart

CHANGES = [
    *("training.context=64", "training.rows=4", "training.steps=12", "training.learning_rate=1e-2"),
    *("training.warmup=0.0", "data.general=general", "model.dtype=float32", "evaluation.window=64"),
]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_threads_learn_what_one_learns(here: Path, threads: None, monkeypatch: pytest.MonkeyPatch, method: str):
    apart = []
    gradients = rows_apart.gradients
    monkeypatch.setattr(rows_apart, "gradients", lambda *given: apart.append(1) or gradients(*given))

    def tuned(count: int) -> BuildResult:
        torch.set_num_threads(count)
        return tune("base", "notes", method, out=f"by-{count}", changes=CHANGES)

    one, two = tuned(1), tuned(2)
    assert len(apart) > 8  # but for rows that are left over at the end of an epoch
    assert two.training.losses == pytest.approx(one.training.losses, rel=1e-3)
    assert one.training.losses[-1] < one.training.losses[0] - 0.3
    learnt = [run.comparisons[0].difference.value for run in (one, two)]
    assert learnt[0] < 0 and learnt[1] == pytest.approx(learnt[0], rel=0.02)
    assert two.moved.value == pytest.approx(one.moved.value, rel=0.02)

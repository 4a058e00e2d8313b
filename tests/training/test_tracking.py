"""A run's figures where TensorBoard and MLflow read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.runs import run

from lmworks.basics.errors import LmworksError
from lmworks.training import tracking
from lmworks.training.settings import TrainingConfig
from lmworks.training.tracking import tracker


def test_tensorboard_gets_each_step(tmp_path: Path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    result = run(tmp_path, tensorboard=True)
    held = events.EventAccumulator(str(tmp_path / "tensorboard"))
    held.Reload()
    losses = held.Scalars("loss")
    assert [one.step for one in losses] == [*range(1, 10)]
    assert [one.value for one in losses] == pytest.approx(result.losses)
    assert {"learning_rate", "gradient_norm"} <= set(held.Tags()["scalars"])


def test_without_being_asked_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run(tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def test_mlflow_gets_settings_and_figures_where_its_address_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow", reason="pip install 'lmworks[track]'")
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path / "first")
    found = mlflow.search_runs(search_all_experiments=True)
    assert float(found["metrics.loss"].iloc[0]) == pytest.approx(result.losses[-1])
    assert found["params.steps"].iloc[0] == "9"


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(module: str, extra: str) -> None:
        raise LmworksError(f"{module} {extra}")

    monkeypatch.setattr(tracking, "require", missing)
    with pytest.raises(LmworksError, match="tensorboard track"), tracker(TrainingConfig(tensorboard=True), tmp_path):
        pass

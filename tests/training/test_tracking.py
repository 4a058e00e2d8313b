"""A run's figures where TensorBoard and MLflow read them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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


class Kept(BaseHTTPRequestHandler):
    """MLflow's REST interface as a run needs it: keeps what it is sent, answers nothing after `most` figures."""

    most = 10**9

    def do_GET(self) -> None:
        self.answer({"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        figures: list[dict[str, Any]] = self.server.figures  # type: ignore[attr-defined]
        if "metrics" in sent and len(figures) >= self.most:
            self.send_error(403)
            return
        figures += sent.get("metrics", [])
        self.server.settings |= {one["key"]: one["value"] for one in sent.get("params", [])}  # type: ignore[attr-defined]
        info = {"run_id": "1", "run_uuid": "1", "experiment_id": "0", "status": "RUNNING", "artifact_uri": "/nowhere"}
        self.answer({"run": {"info": info, "data": {}}, "run_info": info})

    def answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("mlflow", reason="pip install 'lmworks[track]'")
    with ThreadingHTTPServer(("127.0.0.1", 0), Kept) as made:
        made.figures, made.settings = [], {}  # type: ignore[attr-defined]
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{made.server_port}")
        yield made
        made.shutdown()


def test_mlflow_gets_settings_and_figures_where_its_address_is_set(tmp_path: Path, server: Any):
    result = run(tmp_path / "first")
    assert [one["value"] for one in server.figures if one["key"] == "loss"] == pytest.approx(result.losses)
    assert {one["step"] for one in server.figures} == {*range(1, 10)}
    assert server.settings["steps"] == "9"


def test_a_server_that_fails_on_the_way_does_not_take_the_run_with_it(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Kept, "most", 12)
    with pytest.warns(UserWarning, match=r"MLflow.* takes no more figures of this run .*log\.jsonl has all"):
        result = run(tmp_path / "first")
    assert result.steps == 9 and 12 <= len(server.figures) < 20


def test_a_server_that_is_not_there_is_one_sentence_before_the_first_step(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        LmworksError, match=r"the MLflow server at http://127\.0\.0\.1:9 .*MLFLOW_TRACKING_URI"
    ) as error:
        run(tmp_path / "first")
    assert "\n" not in str(error.value)


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(module: str, extra: str) -> None:
        raise LmworksError(f"{module} {extra}")

    monkeypatch.setattr(tracking, "require", missing)
    with pytest.raises(LmworksError, match="tensorboard track"), tracker(TrainingConfig(tensorboard=True), tmp_path):
        pass

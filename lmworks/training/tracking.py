"""Where a run's figures go besides its log: TensorBoard events, an MLflow server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lmworks.basics.extras import require
from lmworks.training.settings import TrainingConfig

Tracker = Callable[[int, Mapping[str, Any]], None]
"""Takes the steps done and the figures of the log's line."""

NOT_FIGURES = ("step", "skipped", "expert_load")


@contextmanager
def tracker(config: TrainingConfig, run: Path | None) -> Iterator[Tracker]:
    """None for `run` where another process does it. TensorBoard events in `run`/tensorboard where `config.tensorboard` asks for them; an MLflow run where the
    environment names a server (MLFLOW_TRACKING_URI). LmworksError where the package for it is missing (extra `track`)."""
    sinks: list[Tracker] = []
    with ExitStack() as stack:
        if run is not None and config.tensorboard:
            require("tensorboard", "track")
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(run / "tensorboard"))
            stack.callback(writer.close)

            def to_events(step: int, facts: Mapping[str, Any]) -> None:
                for name, value in facts.items():
                    writer.add_scalar(name, value, step)

            sinks.append(to_events)
        if run is not None and os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow = require("mlflow", "track")
            stack.enter_context(mlflow.start_run(run_name=run.stem))
            mlflow.log_params(config.model_dump(mode="json"))
            sinks.append(lambda step, facts: mlflow.log_metrics(facts, step=step))

        def track(step: int, facts: Mapping[str, Any]) -> None:
            figures = {name: value for name, value in facts.items() if name not in NOT_FIGURES}
            for sink in sinks:
                sink(step, figures)

        yield track

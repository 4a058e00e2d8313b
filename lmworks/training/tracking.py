"""Where a run's figures go besides its log: TensorBoard events, an MLflow server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from lmworks.basics import progress
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.training.settings import TrainingConfig

Tracker = Callable[[int, Mapping[str, Any]], None]
"""Takes the steps done and the figures of the log's line."""

NOT_FIGURES = ("step", "skipped", "expert_load")


@contextmanager
def tracker(config: TrainingConfig, run: Path | None) -> Iterator[Tracker]:
    """What takes the figures of a run; `run` is None in a process that writes none.

    TensorBoard events go to `run`/tensorboard where `config.tensorboard` asks for them, and to an MLflow server where
    MLFLOW_TRACKING_URI names one. LmworksError where the package for it is missing (extra `track`).
    """
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
        if run is not None and (address := os.environ.get("MLFLOW_TRACKING_URI")):
            sinks.append(stack.enter_context(_to_mlflow(config, run, address)))

        def track(step: int, facts: Mapping[str, Any]) -> None:
            figures = {name: value for name, value in facts.items() if name not in NOT_FIGURES}
            for sink in sinks:
                sink(step, figures)

        yield track


@contextmanager
def _to_mlflow(config: TrainingConfig, run: Path, address: str) -> Iterator[Tracker]:
    """Figures to a server. One that is not there ends the run before its first step; one that fails later does not, as
    hours of training must not depend on a figure."""
    mlflow = require("mlflow", "track")
    failure: type[Exception] = mlflow.exceptions.MlflowException
    where, status, working = f"the MLflow server at {address.rpartition('@')[2]}", "FAILED", True  # no password

    def track(step: int, facts: Mapping[str, Any]) -> None:
        nonlocal working
        if working:
            try:
                mlflow.log_metrics(facts, step=step)
            except failure as error:
                working = False
                progress.note(
                    f"{where} takes no more figures of this run ({_first_line(error)}); its log.jsonl has all of them"
                )

    try:
        try:
            mlflow.start_run(run_name=run.stem)
            mlflow.log_params(config.model_dump(mode="json"))
        except failure as error:
            raise LmworksError(
                f"{where} takes no run ({_first_line(error)}); start it, or set MLFLOW_TRACKING_URI otherwise or not "
                "at all"
            ) from None
        yield track
        status = "FINISHED"
    finally:
        with suppress(failure):
            mlflow.end_run(status)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]

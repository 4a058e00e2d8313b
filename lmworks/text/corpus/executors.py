"""Run a stage with one of datatrove's executors, quietly, and say why where a task of it failed."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor
from datatrove.utils.logging import logger

from lmworks.basics.errors import DataError, LmworksError
from lmworks.basics.files import FULL, is_full
from lmworks.text.corpus.stages import Stage

_RAISED = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): (?P<text>.*)$", re.MULTILINE)


def be_quiet() -> None:
    """Let datatrove say nothing on standard error."""
    logger.remove()


class _Quiet:
    """Logs to the task's file only: datatrove's executors and progress bars write to standard error, too."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
            try:
                return super()._run_for_rank(rank, local_rank + 1, node_rank)  # type: ignore[misc]
            finally:
                be_quiet()  # the executor has just added standard error again


class QuietLocal(_Quiet, LocalPipelineExecutor):
    """datatrove's executor on this machine."""


class QuietRay(_Quiet, RayPipelineExecutor):
    """datatrove's executor on a Ray cluster."""


def execute(stage: Stage, work: Path, executor: str, workers: int) -> None:
    """Run the tasks of a stage that are not done yet; LmworksError with the first reason if one fails."""
    logs = work / "logs" / stage.name
    runner: Any
    if executor == "ray":
        runner = QuietRay(stage.steps, stage.tasks, logging_dir=str(logs), mem_per_cpu_gb=1)
    else:
        runner = QuietLocal(stage.steps, stage.tasks, min(workers, stage.tasks), logging_dir=str(logs))
    try:
        runner.run()
    except LmworksError:
        raise
    except Exception as error:  # anything that a step raised: the user is told which, and where its log is
        if is_full(error):
            raise LmworksError(f"{work}: {FULL}; free some space, and --resume does what is not done yet") from error
        raise LmworksError(_why(stage, logs, runner) or f"{stage.name}: {type(error).__name__}: {error}") from error
    if runner.get_incomplete_ranks(skip_completed=True):  # Ray does not raise what a task raised
        raise LmworksError(_why(stage, logs, runner) or f"{stage.name}: a task ended without a word; see {logs}")


def _why(stage: Stage, logs: Path, runner: Any) -> str:
    """What the first task that is not complete raised, by its log."""
    for rank in runner.get_incomplete_ranks(skip_completed=True):
        path = logs / "logs" / f"task_{rank:05d}.log"
        if path.exists() and (found := list(_RAISED.finditer(path.read_text(encoding="utf-8", errors="replace")))):
            kind, text = found[-1]["kind"], found[-1]["text"]
            if kind.startswith(DataError.__module__):
                return text
            return (
                f"task {rank} of the stage {stage.name} failed ({kind.rpartition('.')[2]}: {text}); its log is {path}, "
                "and --resume does what is not done yet"
            )
    return ""

"""Where the answers of the page are counted and logged: its requests are messages of one connection."""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.serving.api.work import Work
from lmworks.serving.log import Log
from lmworks.serving.metrics import Metrics
from lmworks.serving.record import Cited


@dataclass(frozen=True)
class Recorder:
    """The server's counts and its log."""

    metrics: Metrics
    log: Log

    def written(self, work: Work, asked: str) -> None:
        """The model's answer to what was asked is over."""
        self.metrics.worked(work)
        self.log.answer(work, asked)

    def cited(self, model: str, cited: Cited, seconds: float, asked: str) -> None:
        """The documents answered what was asked."""
        self.metrics.cited(model, cited.way, cited.answer.refused)
        self.log.cited(cited, seconds, asked)

"""The run log: one JSON line a step, and a first line that says what is trained and how."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from lmworks.basics.files import says_why, written_whole


class RunLog:
    """Appends to a file of JSON lines: a new one, or that of the run that goes on at step `resume_at`.

    The lines from that step on are dropped: those steps are made again. So is the validation after the step before
    them where that is done again (`revalidates`). Without a path nothing is written: another process writes the log of
    the same run.
    """

    def __init__(self, path: Path | None, resume_at: int | None = None, revalidates: bool = False) -> None:
        self.path = path
        if path is None:
            return
        earlier = [] if resume_at is None else _lines_before(path, resume_at, revalidates)
        with written_whole(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in earlier), encoding="utf-8")
        with says_why(path):
            self._file = path.open("a", encoding="utf-8")

    def write(self, **facts: Any) -> None:
        """Add one line."""
        if self.path is None:
            return
        with says_why(self.path):
            self._file.write(json.dumps(facts) + "\n")
            self._file.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is None:
            return
        # Closing writes again what a full disk did not take, and that has been told.
        with says_why(self.path) if kind is None else contextlib.suppress(OSError):
            self._file.close()


def _lines_before(path: Path, step: int, revalidates: bool) -> list[str]:
    """The whole lines about the run and about its steps below `step`, the last one's validation among them or not."""
    with says_why(path):
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines = [line for line in lines if _step(line) < step]
    return [line for line in lines if not (revalidates and _step(line) == step - 1 and '"validation_loss"' in line)]


def _step(line: str) -> int:
    """The step that a line reports; lines about the run as a whole count as before the first."""
    try:
        return int(json.loads(line).get("step", -1))
    except ValueError:  # cut off when the process was killed
        return 2**62

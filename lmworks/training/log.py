"""The run log: one JSON line a step, and a first line that says what is trained and how."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from lmworks.basics.files import says_why


class RunLog:
    """Appends to a file of JSON lines; resuming at a step drops the lines behind it first."""

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        self.path = path
        with says_why(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = [line for line in path.read_text().splitlines() if _step(line) < resume_at] if path.exists() and resume_at else []
            self._file = path.open("w", encoding="utf-8")
            self._file.writelines(f"{line}\n" for line in kept)

    def write(self, **facts: Any) -> None:
        """Add one line."""
        with says_why(self.path):
            self._file.write(json.dumps(facts) + "\n")
            self._file.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def _step(line: str) -> int:
    """The step that a line reports; lines about the run as a whole count as before the first."""
    try:
        return int(json.loads(line).get("step", -1))
    except ValueError:  # cut off when the process was killed
        return 2**62

"""Claims that visitors run again: one after another, each in a process of its own that can be cancelled.

runs = Runs()
run = runs.start(12, "quick", {"top_k": "5"})
async for event in run.events(): ...        # {"state": "waiting", "before": 1}, {"line": "after 4 seeds: ..."}, ...
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lmworks.basics.errors import ConfigError, LmworksError, QueueFull
from lmworks.lab import registry, store
from lmworks.lab.finding import Finding
from lmworks.lab.scale import Scale

WAITING, KEPT, LINES, LONGEST = 8, 20, 1000, 500
"""Runs that may wait; ended ones that are kept; lines of a run's progress, and the characters of each."""
SECONDS = 2 * 3600.0
"""The longest that a run may take."""
State = Literal["waiting", "running", "done", "cancelled", "failed"]


@dataclass(eq=False)
class ClaimRun:
    """One claim that somebody runs."""

    id: str
    question: int
    scale: Scale
    changes: tuple[str, ...]
    folder: Path
    state: State = "waiting"
    why: str = ""
    """What went wrong, in a sentence."""
    lines: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set and replaced whenever something changes."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in ("waiting", "running")

    def finding(self) -> Finding:
        """What was found; LmworksError where it is not there."""
        if self.state != "done":
            raise LmworksError(f"run {self.id} has no result ({self.state}{f': {self.why}' if self.why else ''})")
        return store.read(store.path_of(self.folder, self.question, self.scale))

    def tell(self, line: str = "") -> None:
        """Something has changed."""
        if line and len(self.lines) < LINES:
            self.lines.append(line[:LONGEST])
        self.told.set()
        self.told = asyncio.Event()


class ClaimRuns:
    """The queue of a server. `stopping` says when the server is about to end: what runs is stopped then."""

    def __init__(self, texts: bool = True, stopping: Callable[[], bool] = lambda: False) -> None:
        self.texts = texts
        """Whether texts may be changed, too: they name files and models of this machine."""
        self.all: dict[str, ClaimRun] = {}
        self._stopping = stopping
        self._queue: list[ClaimRun] = []
        self._worker: asyncio.Task[None] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="lmworks-lab-"))

    def close(self) -> None:
        """Remove what the runs left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, question: int, scale: Scale, changes: Mapping[str, str]) -> ClaimRun:
        """Put a run into the queue; ConfigError for parameters that its experiment does not take, QueueFull."""
        assignments = tuple(f"{name}={value}" for name, value in changes.items())
        chosen = registry.load(question)
        values, defaults = chosen.settings(scale, assignments), chosen.settings(scale)
        texts = [
            name for name in values if not self.texts and values[name] != defaults[name] and _holds_text(values[name])
        ]
        if texts:
            raise ConfigError(
                f"{texts[0]} names files of the server's machine, and is not changed from another machine"
            )
        if len(self._queue) >= WAITING:
            raise QueueFull(f"{WAITING} runs wait already; come again when one has ended", 60.0)
        one = ClaimRun(secrets.token_hex(6), question, scale, assignments, self._folder / secrets.token_hex(6))
        self._forget()
        self.all[one.id] = one
        self._queue.append(one)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return one

    def cancel(self, one: ClaimRun) -> None:
        """End a run, whether it waits or runs."""
        if not one.ended:
            self._end(one, "cancelled")

    def facts(self, one: ClaimRun) -> dict[str, Any]:
        """A run's state for programs and the page."""
        before = self._queue.index(one) + self._busy if one in self._queue else 0
        return {
            "id": one.id,
            "question": one.question,
            "scale": one.scale,
            "set": list(one.changes),
            "state": one.state,
            "before": before,
            "why": one.why,
        }

    @property
    def _busy(self) -> bool:
        return any(one.state == "running" for one in self.all.values())

    async def events(self, one: ClaimRun) -> AsyncIterator[dict[str, Any]]:
        """The run's state and its lines as they come, until it has ended or the server stops."""
        shown, last = 0, None
        while not self._stopping():
            told = one.told
            facts = self.facts(one)
            if facts != last:
                yield {"state": facts["state"], "before": facts["before"], "why": facts["why"]}
                last = facts
            while shown < len(one.lines):
                yield {"line": one.lines[shown]}
                shown += 1
            if one.ended and one.state == facts["state"]:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), 1.0)

    def _forget(self) -> None:
        ended = [one for one in self.all.values() if one.ended]
        for one in ended[: max(len(ended) - KEPT + 1, 0)]:
            del self.all[one.id]
            shutil.rmtree(one.folder, ignore_errors=True)

    def _end(self, one: ClaimRun, state: State, why: str = "") -> None:
        if one in self._queue:
            self._queue.remove(one)
        one.state, one.why = state, why
        for other in [one, *self._queue]:
            other.tell()

    async def _work(self) -> None:
        while self._queue and not self._stopping():
            one = self._queue.pop(0)
            one.state = "running"
            for other in [one, *self._queue]:
                other.tell()
            await self._measure(one)

    async def _measure(self, one: ClaimRun) -> None:
        options = [part for change in one.changes for part in ("--set", change)]
        command = ["lab", str(one.question), "--scale", one.scale, "--out", str(one.folder), "--json", *options]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lmworks",
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)  # answers of the server come first
        reading = asyncio.create_task(self._read(one, process))
        try:
            await self._wait(one, process)
        finally:
            if process.returncode is None:
                process.kill()
            with contextlib.suppress(ProcessLookupError):
                await process.wait()
            await asyncio.gather(reading, return_exceptions=True)
        if one.ended:
            return
        if process.returncode == 0:
            self._end(one, "done")
        else:
            said = one.lines[-1].removeprefix("lmworks: ") if one.lines else ""
            self._end(one, "failed", said or f"it ended with exit code {process.returncode}")

    async def _wait(self, one: ClaimRun, process: asyncio.subprocess.Process) -> None:
        """Until the process ends, or somebody ends the run."""
        end = asyncio.get_running_loop().time() + SECONDS
        ending = asyncio.create_task(process.wait())
        while not ending.done() and not one.ended:
            if self._stopping() or asyncio.get_running_loop().time() > end:
                why = "the server stops" if self._stopping() else f"it took longer than {SECONDS / 3600:g} hours"
                self._end(one, "cancelled", why)
            told = asyncio.create_task(one.told.wait())
            await asyncio.wait({ending, told}, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
        ending.cancel()

    async def _read(self, one: ClaimRun, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while raw := await process.stderr.readline():
            one.tell(raw.decode("utf-8", "replace").replace("\r", " ").strip())


def _holds_text(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_text, value.values()))
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and any(map(_holds_text, value)))

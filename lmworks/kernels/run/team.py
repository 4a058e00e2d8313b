"""The threads that run a tape together.

A thread beside the calling one spins for a moment after each run, since the next one mostly comes at once, and then
sleeps until it is woken. Compiled code never holds Python's lock.

Threads share each step and meet at a barrier after it. Where one whose core is busy with something else would hold up
all, one leads and the others help: when, leading.py says; how, work_stealing.py. A run that cannot be led has one
thread then. Results depend neither on the number of threads nor on who did what.
"""

from __future__ import annotations

import atexit
import os
import threading
import time

import numpy as np

from lmworks.basics.ahead import usable_cores
from lmworks.kernels.frame import LOOKS, Field, Job
from lmworks.kernels.run.leading import Leading, keep_waiting
from lmworks.kernels.run.library import Library, library

SPINS = 100_000
"""Looks before a thread goes to sleep: some milliseconds."""


class Team:
    """One for each process."""

    def __init__(self, threads: int, functions: Library) -> None:
        self.threads, self.functions, self.process = threads, functions, os.getpid()
        self.lock = threading.Lock()
        # A frame.Job for each thread, 64 bytes apart: two cores never fight for one cache line.
        self._jobs = np.zeros((threads, 8), np.int64)
        self._first = int(self._jobs.ctypes.data)
        self.leading = Leading(threads, self._seconds_a_look())
        self._jobs[0, Job.CORES] = self.leading.cores.ctypes.data
        self._job = 0
        self._led = False
        """The last run had a leader: helpers may still be at it."""
        self._kept: list[object] = []
        self._over = False
        self._wake = [threading.Event() for _ in range(threads)]
        self._asleep = [False] * threads
        self._helpers = [
            threading.Thread(target=self._work, args=(number,), name=f"lmworks-{number}", daemon=True)
            for number in range(1, threads)
        ]
        for one in self._helpers:
            one.start()

    def run(self, frame: np.ndarray, barrier: np.ndarray, stays: bool = True) -> None:
        """Run the tape of a frame; one run at a time, whoever calls. Nobody leads unless the tape `stays`
        afterwards."""
        with self.lock:
            start = time.perf_counter()
            frame[Field.OPERATIONS], frame[Field.ROUNDS_DONE] = self.functions.table.ctypes.data, 0
            frame[Field.FORMS] = self.functions.forms.ctypes.data
            self._drop()
            self.leading.begin(start, self._helpers)
            if stays and self.leading.fits(frame):
                self._led, frame[Field.LED] = True, 1
                with self.leading.run(barrier, self._helpers):
                    self._go(frame, self.threads, barrier)
            else:
                self._share(frame, barrier, start)

    def _share(self, frame: np.ndarray, barrier: np.ndarray, start: float) -> None:
        """A run in which each thread has its share."""
        if self._led:  # a helper that came late to a run of the other kind would do it alone
            self._await_helpers()
            frame[Field.ROUNDS] = 1  # a trial should be short
        frame[Field.LED] = 0
        threads = 1 if self.leading.active else self.threads
        worked = time.thread_time()
        self._go(frame, threads)
        if threads > 1:
            worked, now = time.thread_time() - worked, time.perf_counter()
            # A thread that looks works; one that has no core, or gave it away after looking for long, does not.
            looks = max(barrier.item(LOOKS // 8 + 8 * number) for number in range(threads))
            waited = looks * self.leading.seconds_a_look + max(0.0, now - start - worked)
            self.leading.judge(now, now - start, waited)

    def _go(self, frame: np.ndarray, threads: int, led: np.ndarray | None = None) -> None:
        """Let the other threads begin, and do the own part: also where an interrupt comes in between, as they wait for
        it. `led` is the barrier of a run with a leader."""
        done = self._jobs.item(0, Job.DONE)
        self._job += 1
        try:
            self._call(frame, threads, led)
            self.functions.run(0, self._address(0), 0)
        finally:
            if self._jobs.item(0, Job.DONE) == done:
                self._call(frame, threads, led)
                self.functions.run(0, self._address(0), 0)

    def _call(self, frame: np.ndarray, threads: int, led: np.ndarray | None) -> None:
        if led is not None:
            keep_waiting(led)
        self._jobs[0, Job.FRAME : Job.THREADS + 1] = frame.ctypes.data, threads
        for number in range(1, threads):
            self.functions.signal(self._address(number), self._job)
            if self._asleep[number]:
                self._wake[number].set()

    def keep(self, thing: object) -> None:
        """Keep what a helper that is late may read until it has left."""
        if thing is not None and self._helpers_run():
            self._kept.append(thing)

    def _drop(self) -> None:
        """Forget what was kept, where nobody is late; not what is kept meanwhile."""
        count = len(self._kept)
        if count and not self._helpers_run():
            del self._kept[:count]

    def _helpers_run(self) -> bool:
        return any(self._runs(number) for number in range(1, 1 + len(self._helpers)))

    def _runs(self, number: int) -> bool:
        return bool(self._jobs[number, Job.NUMBER] != self._jobs[number, Job.DONE])

    def _await_helpers(self) -> None:
        """Nobody is at an earlier run any more."""
        for number in range(1, self.threads):
            while self._runs(number):
                self.functions.wait_for(self._address(number) + 8 * Job.DONE, self._jobs.item(number, Job.DONE), SPINS)
        self._led = False

    def _address(self, number: int) -> int:
        return self._first + 64 * number

    def _seconds_a_look(self) -> float:
        looks = 2_000
        start = time.perf_counter()
        self.functions.wait_for(self._address(0), 0, looks)
        return (time.perf_counter() - start) / looks

    def end(self) -> None:
        """Before Python ends: it cuts off a thread that comes back from compiled code later. What still runs a tape
        afterwards has one thread."""
        until = time.monotonic() + 1.0
        between = self.lock.acquire(timeout=1.0)
        try:
            self.threads, self._over = 1, True
        finally:
            if between:
                self.lock.release()
        for wake in self._wake:
            wake.set()
        for one in self._helpers:
            one.join(max(0.0, until - time.monotonic()))

    def _work(self, number: int) -> None:
        """A thread's life: jobs as they come, then sleep."""
        while not self._over:
            self.functions.run(number, self._address(0), SPINS)
            self._drop()
            self._asleep[number] = True
            if not self._runs(number):  # a job that came in between would wake nobody
                self._wake[number].wait()
            self._wake[number].clear()
            self._asleep[number] = False


_team: Team | None = None
_making = threading.Lock()


def team() -> Team:
    """This process's threads; made at the first call, and again in a child process, which has none of its parent's."""
    global _team  # noqa: PLW0603 (one for each process)
    with _making:
        if _team is None or _team.process != os.getpid():
            cores = max(1, usable_cores())
            # The memory that a child finds was made for its parent's threads.
            _team = Team(cores if _team is None else min(cores, _team.threads), library())
        return _team


@atexit.register
def _end_team() -> None:
    if _team is not None and _team.process == os.getpid():
        _team.end()

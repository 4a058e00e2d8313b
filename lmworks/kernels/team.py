"""The threads that run a tape together: as many as help, none that waits busily for long.

A thread beside the calling one spins for a moment after each run, because the next one mostly comes at once, and then
sleeps until it is woken. Compiled code never holds the interpreter's lock.

Threads meet at a barrier after each operation, so that one whose core is busy with something else holds up all. How long
they waited for each other, or for a core, is known after each run: when that is most of the time in several runs that follow
one another, the next runs have one thread, and more are tried again, by one run, when that would cost a small part of the
time that has passed. Results do not depend on the number of threads.
"""

from __future__ import annotations

import os
import threading
import time

import numpy as np

from lmworks.kernels.frame import LOOKS
from lmworks.kernels.library import Library, library

SPINS = 100_000
"""Looks before a thread goes to sleep: some milliseconds."""
TOO_LONG = 0.4
"""Share of a run spent waiting from which on fewer threads are tried."""
IN_A_ROW = 3
"""Such runs until fewer threads are tried: a single one is a moment's disturbance, which all machines have."""
FIRST_REST, LONGEST_REST, MOST_REST = 8, 32, 5.0
"""Before more threads are tried again, one works alone for so many times as long as the last slow run took (which may be a
hundred times as long as a quick one); twice as many each time that it does not help, and at most so many seconds."""


class Team:
    """One for each process."""

    def __init__(self, threads: int, functions: Library) -> None:
        self.threads, self.functions, self.process = threads, functions, os.getpid()
        self.lock = threading.Lock()
        self.frame, self.active, self.slow = 0, threads, 0
        self.rest, self.rests_until = FIRST_REST, 0.0
        # A job number for each thread, 64 bytes apart: two cores never fight for one cache line.
        self._jobs = np.zeros((threads, 8), np.int64)
        self._wake = [threading.Event() for _ in range(threads)]
        self._asleep = [False] * threads
        self._look = self._seconds_a_look()
        for number in range(1, threads):
            threading.Thread(target=self._work, args=(number,), name=f"lmworks-{number}", daemon=True).start()

    def run(self, frame: np.ndarray, barrier: np.ndarray) -> None:
        """Run the tape of a frame; one run at a time, whoever calls."""
        with self.lock:
            start = time.perf_counter()
            self._choose(start)
            self.frame = frame.ctypes.data
            for number in range(1, self.active):
                self.functions.signal(self._address(number), int(self._jobs[number, 0]) + 1)
                if self._asleep[number]:
                    self._wake[number].set()
            worked = time.thread_time()
            self.functions.run(0, self.active, self.frame)
            if self.active > 1:
                worked, now = time.thread_time() - worked, time.perf_counter()
                # A thread that looks works; one that has no core, or gave it away after looking for long, does not.
                looking = int(barrier[LOOKS // 8 :: 8][: self.active].max()) * self._look
                self._judge(now, now - start, looking + max(0.0, now - start - worked))

    def _choose(self, now: float) -> None:
        """Go back to all threads when the rest is over."""
        if self.active < self.threads and now >= self.rests_until:
            self.active = self.threads

    def _judge(self, now: float, seconds: float, waited: float) -> None:
        """Take one thread for a while where they keep waiting most of the time."""
        if waited <= TOO_LONG * seconds:
            self.rest, self.slow = FIRST_REST, 0
            return
        self.slow += 1
        if self.slow >= IN_A_ROW:  # until a run is quick again, each that is not brings the next rest
            self.active, self.rests_until = 1, now + min(self.rest * seconds, MOST_REST)
            self.rest = min(2 * self.rest, LONGEST_REST)

    def _address(self, number: int) -> int:
        return self._jobs.ctypes.data + 64 * number

    def _seconds_a_look(self) -> float:
        looks = 2_000
        start = time.perf_counter()
        self.functions.wait_for(self._address(0), 0, looks)
        return (time.perf_counter() - start) / looks

    def _work(self, number: int) -> None:
        """A thread's life: wait for a job, run it, wait again."""
        done = 0
        while True:
            job = self.functions.wait_for(self._address(number), done, SPINS)
            if job != done:
                done = job
                self.functions.run(number, self.active, self.frame)
                continue
            self._asleep[number] = True
            if self._jobs[number, 0] == done:  # a job that came in between would wake nobody
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


def usable_cores() -> int:
    """Cores that this process may use, or LMWORKS_THREADS."""
    said = os.environ.get("LMWORKS_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(said), there) if said.isdigit() and int(said) > 0 else there

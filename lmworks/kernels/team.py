"""The threads that run a tape together: as many as help, none that waits busily for long.

A thread beside the calling one spins for a moment after each run, because the next one mostly comes at once, and then
sleeps until it is woken. Compiled code never holds the interpreter's lock.

Threads meet at a barrier after each operation, so that one whose core is busy with something else holds up all. How long
they waited for each other, or for a core, is known after each run: when that is most of the time in several runs that follow
one another, the calling thread leads for a while, on a core of its own, and the others help (claims.py); runs of more than
MOST_LED tokens have one thread then. Shares of their own are tried again, by one run, when that would cost a small part of the time that has
passed, unless helpers are seen to lack a core. Results do not depend on the number of threads, nor on who did what.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import numpy as np

from lmworks.kernels.frame import (
    ALONE,
    CLAIMS,
    CORE_WORDS,
    CORES,
    DONE,
    FRAME,
    HELPED,
    LOOKS,
    MASK_WORDS,
    MOST_LED,
    THREADS,
    Field,
)
from lmworks.kernels.library import Library, library

SPINS = 100_000
"""Looks before a thread goes to sleep: some milliseconds."""
TOO_LONG = 0.4
"""Share of a run spent waiting from which on fewer threads are tried."""
IN_A_ROW = 3
"""Such runs until fewer threads are tried: a single one is a moment's disturbance, which all machines have."""
FIRST_REST, LONGEST_REST, MOST_REST = 8, 32, 5.0
"""Before more threads are tried again, one works alone or leads for so many times as long as the last slow run took (which may be a
hundred times as long as a quick one); twice as many each time that it does not help, and at most so many seconds."""
UNDISTURBED = 0.85
"""Share of what helpers would do with a core each; where they do less, no shares of their own are tried."""
LOST = 0.2
"""Share of a run for which a leader had no core, from which on they are not tried either."""
SECONDS_LOST = 250e-6
"""So long a helper waits for something to do until it takes the leader to have lost its core: steps take less."""


class Team:
    """One for each process."""

    def __init__(self, threads: int, functions: Library) -> None:
        self.threads, self.functions, self.process = threads, functions, os.getpid()
        self.lock = threading.Lock()
        self.active, self.slow = threads, 0
        self.rest, self.rests_until = FIRST_REST, 0.0
        self._cores = np.zeros((1 + threads, CORE_WORDS), np.int64)
        """Where each thread is kept while one leads (frame.py)."""
        self._pinned: set[int] = set()
        """Cores that helpers are kept on, one on each; none where they may go anywhere."""
        self._own_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._away: tuple[int, set[int]] | None = None
        """A thread that leads, and the cores that it had before."""
        self._job = 0
        self._led = False
        """The last run had a leader: helpers may still be at it."""
        self._kept: list[object] = []
        # For each thread the number of a job, and of the last one that it did (frame.py), 64 bytes apart: two cores never fight for one
        # cache line.
        self._jobs = np.zeros((threads, 8), np.int64)
        self._jobs[0, CORES // 8] = self._cores.ctypes.data
        self._first = int(self._jobs.ctypes.data)
        self._wake = [threading.Event() for _ in range(threads)]
        self._asleep = [False] * threads
        self._look = self._seconds_a_look()
        self._helpers = [
            threading.Thread(target=self._work, args=(number,), name=f"lmworks-{number}", daemon=True)
            for number in range(1, threads)
        ]
        for one in self._helpers:
            one.start()

    def run(self, frame: np.ndarray, barrier: np.ndarray, stays: bool = True) -> None:
        """Run the tape of a frame; one run at a time, whoever calls. The tape `stays` longer than the run, or nobody leads."""
        with self.lock:
            start = time.perf_counter()
            self._free()  # where an interrupt came in between
            self._drop()
            self._choose(start)
            led = (
                stays
                and self.active < self.threads
                and frame.item(Field.TOKENS) <= MOST_LED
                and frame.item(Field.MARKS)
            )
            if led:
                self._lead(frame, barrier)
            else:
                self._share(frame, barrier, start)

    def _share(self, frame: np.ndarray, barrier: np.ndarray, start: float) -> None:
        """A run in which each thread has its share."""
        if self._led:  # who comes to a run of the other kind would do it alone
            self._await_helpers()
            frame[Field.ROUNDS] = 1  # a trial shall not be long
        frame[Field.LED] = 0
        worked = time.thread_time()
        self._go(frame, self.active)
        if self.active > 1:
            worked, now = time.thread_time() - worked, time.perf_counter()
            # A thread that looks works; one that has no core, or gave it away after looking for long, does not.
            looking = max(barrier.item(LOOKS // 8 + 8 * number) for number in range(self.active)) * self._look
            self._judge(now, now - start, looking + max(0.0, now - start - worked))

    def _lead(self, frame: np.ndarray, barrier: np.ndarray) -> None:
        """A run in which this thread leads."""
        self._led, frame[Field.LED] = True, 1
        with self._at_home():
            start, worked = time.perf_counter(), time.thread_time()
            self._go(frame, self.threads, barrier)
            worked, now = time.thread_time() - worked, time.perf_counter()
        seconds, (helped, units) = now - start, barrier[HELPED // 8 : HELPED // 8 + 2].tolist()
        if seconds - worked > LOST * seconds or helped * self.threads < UNDISTURBED * units * (self.threads - 1):
            self.rests_until = max(self.rests_until, now + seconds)

    def _go(self, frame: np.ndarray, threads: int, led: np.ndarray | None = None) -> None:
        """Let the other threads begin, and do the own part: also where an interrupt comes in between, as they wait for it. `led` is the
        barrier of a run with a leader."""
        done = self._jobs.item(0, DONE // 8)
        self._job += 1
        try:
            self._call(frame, threads, led)
            self.functions.run(0, self._address(0), 0)
        finally:
            if self._jobs.item(0, DONE // 8) == done:
                self._call(frame, threads, led)
                self.functions.run(0, self._address(0), 0)

    def _call(self, frame: np.ndarray, threads: int, led: np.ndarray | None) -> None:
        if led is not None:  # who is late from a run before waits from here on until this one is over
            led[CLAIMS // 8], led[HELPED // 8 : HELPED // 8 + 2] = ALONE, 0
        self._jobs[0, FRAME // 8 : THREADS // 8 + 1] = frame.ctypes.data, threads
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
        return bool(self._jobs[number, 0] != self._jobs[number, DONE // 8])

    def _await_helpers(self) -> None:
        """Nobody is at an earlier run any more."""
        for number in range(1, self.threads):
            while self._runs(number):
                self.functions.wait_for(self._address(number) + DONE, self._jobs.item(number, DONE // 8), SPINS)
        self._led = False

    @contextlib.contextmanager
    def _at_home(self) -> Iterator[None]:
        """The calling thread on one core, helpers on the others: where the system moves threads, all are disturbed in turn."""
        before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        if not self.threads <= len(before) <= 1 + max(before) <= 64 * MASK_WORDS:
            self._cores[0, 0] = 0  # nobody changes places
            yield
            return
        me = threading.get_native_id()
        if self._pinned != before:
            self._pin(before)
        self._cores[1, 0], self._cores[0, 0] = me, int(SECONDS_LOST / self._look)
        self._away = me, before
        try:
            put_on(me, {self._cores.item(1, 1)})
            yield
        finally:
            self._free()

    def _free(self) -> None:
        """The thread that led may go where it could go before."""
        if self._away is not None:
            put_on(*self._away)
            self._away = None

    def _pin(self, cores: set[int]) -> None:
        """Give each thread a core, and keep the helpers there."""
        for number, core in zip(range(self.threads), sorted(cores), strict=False):
            row = self._cores[1 + number]
            row[1:], row[1], row[2 + core // 64] = 0, core, np.uint64(1 << core % 64).astype(np.int64)
            if number:
                row[0] = self._helpers[number - 1].native_id
                put_on(int(row[0]), {core})
        self._pinned = cores

    def _unpin(self) -> None:
        for one in self._helpers if self._pinned else []:
            put_on(one.native_id, self._own_cores)
        self._pinned = set()

    def _choose(self, now: float) -> None:
        """Go back to all threads when the rest is over."""
        if self.active < self.threads and now >= self.rests_until:
            self.active = self.threads
            self._unpin()

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
        return self._first + 64 * number

    def _seconds_a_look(self) -> float:
        looks = 2_000
        start = time.perf_counter()
        self.functions.wait_for(self._address(0), 0, looks)
        return (time.perf_counter() - start) / looks

    def _work(self, number: int) -> None:
        """A thread's life: jobs as they come, then sleep."""
        while True:
            self.functions.run(number, self._address(0), SPINS)
            self._drop()
            self._asleep[number] = True
            if not self._runs(number):  # a job that came in between would wake nobody
                self._wake[number].wait()
            self._wake[number].clear()
            self._asleep[number] = False


def put_on(thread: int | None, cores: set[int]) -> None:
    """Keep a thread (0: this one) on these cores, if the system lets us."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(thread or 0, cores)


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

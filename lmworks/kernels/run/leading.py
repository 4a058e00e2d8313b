"""When one thread leads instead of sharing each step, and where threads are kept meanwhile (work_stealing.py).

How long threads waited for each other, or for a core, is known after each shared run. When that is most of the time in
several runs in a row, the calling thread leads for a while, on a core of its own, and the others help. Sharing is tried
again, by one run, when that would cost a small part of the time that has passed, unless helpers are seen to lack a
core.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from lmworks.kernels.frame import ALONE, CLAIMS, CORE_WORDS, HELPED, MASK_WORDS, MOST_LED, Field

TOO_LONG = 0.4
"""Part of a run spent waiting from which on a leader is tried."""
IN_A_ROW = 3
"""Such runs until a leader is tried: a single one is a moment's disturbance, which all machines have."""
FIRST_REST, LONGEST_REST, MOST_REST = 8, 32, 5.0
"""Before sharing is tried again, one thread leads for FIRST_REST times as long as the last slow run took (which may be
a hundred times as long as a quick one); twice as long each time that it does not help, up to LONGEST_REST times, and
for at most MOST_REST seconds."""
UNDISTURBED = 0.85
"""Part of what helpers would do with a core each; where they do less, sharing is not tried."""
LOST = 0.2
"""Part of a run for which a leader had no core, from which on sharing is not tried either."""
SECONDS_LOST = 250e-6
"""A helper that waits this long for something to do takes the leader to have lost its core: steps take less."""


class Leading:
    """The state of one team."""

    def __init__(self, threads: int, seconds_a_look: float) -> None:
        self.threads, self.seconds_a_look = threads, seconds_a_look
        self.active = False
        """One thread leads now."""
        self.slow, self.rest, self.until = 0, FIRST_REST, 0.0
        """Slow runs in a row; how long the next leader leads, in runs; when sharing is tried again."""
        self.cores = np.zeros((1 + threads, CORE_WORDS), np.int64)
        """Where each thread is kept (frame.py)."""
        self._pinned: set[int] = set()
        """Cores that helpers are kept on, one on each; none where they may go anywhere."""
        self._own_cores = affinity()
        self._away: tuple[int, set[int]] | None = None
        """A thread that leads, and the cores that it had before."""

    def fits(self, frame: np.ndarray) -> bool:
        """One thread leads now, and can lead this run."""
        return self.active and frame.item(Field.TOKENS) <= MOST_LED and bool(frame.item(Field.DONE))

    def begin(self, now: float, helpers: Sequence[threading.Thread]) -> None:
        """Before each run: go back to sharing when its time has come."""
        self._free()  # where an interrupt came in between
        if self.active and now >= self.until:
            self.active = False
            for one in helpers if self._pinned else []:
                put_on(one.native_id, self._own_cores)
            self._pinned = set()

    def judge(self, now: float, seconds: float, waited: float) -> None:
        """After a shared run: let one thread lead where they keep waiting most of the time."""
        if waited <= TOO_LONG * seconds:
            self.rest, self.slow = FIRST_REST, 0
            return
        self.slow += 1
        if self.slow >= IN_A_ROW:  # until a run is quick again, each slow one brings the next rest
            self.active, self.until = True, now + min(self.rest * seconds, MOST_REST)
            self.rest = min(2 * self.rest, LONGEST_REST)

    @contextlib.contextmanager
    def run(self, barrier: np.ndarray, helpers: Sequence[threading.Thread]) -> Iterator[None]:
        """Around a run with a leader."""
        with self._at_home(helpers):
            start, worked = time.perf_counter(), time.thread_time()
            yield
            worked, now = time.thread_time() - worked, time.perf_counter()
        seconds, (helped, chunks) = now - start, barrier[HELPED // 8 : HELPED // 8 + 2].tolist()
        if seconds - worked > LOST * seconds or helped * self.threads < UNDISTURBED * chunks * (self.threads - 1):
            self.until = max(self.until, now + seconds)

    @contextlib.contextmanager
    def _at_home(self, helpers: Sequence[threading.Thread]) -> Iterator[None]:
        """The calling thread on one core, helpers on the others: where the system moves threads, all are disturbed."""
        before = affinity()
        if not self.threads <= len(before) <= 1 + max(before) <= 64 * MASK_WORDS:
            self.cores[0, 0] = 0  # nobody changes places
            yield
            return
        me = threading.get_native_id()
        if self._pinned != before:
            self._pin(before, helpers)
        self.cores[1, 0], self.cores[0, 0] = me, int(SECONDS_LOST / self.seconds_a_look)
        self._away = me, before
        try:
            put_on(me, {self.cores.item(1, 1)})
            yield
        finally:
            self._free()

    def _pin(self, cores: set[int], helpers: Sequence[threading.Thread]) -> None:
        """Give each thread a core, and keep the helpers there."""
        for number, core in zip(range(self.threads), sorted(cores), strict=False):
            row = self.cores[1 + number]
            row[1:], row[1], row[2 + core // 64] = 0, core, np.uint64(1 << core % 64).astype(np.int64)
            if number:
                row[0] = helpers[number - 1].native_id
                put_on(int(row[0]), {core})
        self._pinned = cores

    def _free(self) -> None:
        """The thread that led may go where it could go before."""
        if self._away is not None:
            put_on(*self._away)
            self._away = None


def keep_waiting(barrier: np.ndarray) -> None:
    """Before the threads are called: a helper that is late from a run before waits until this one is over."""
    barrier[CLAIMS // 8], barrier[HELPED // 8 : HELPED // 8 + 2] = ALONE, 0


def affinity() -> set[int]:
    """The cores that this thread may use; none where the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def put_on(thread: int | None, cores: set[int]) -> None:
    """Keep a thread (0: this one) on these cores, if the system lets us."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(thread or 0, cores)

"""Work that a pool of threads does before its results are needed: they come in the order of the tasks, few at a time.

    with pool_of(cores, "packing") as pool:
        for result in in_order(pool, tasks, most=2 * cores):
            ...

A large task can share its own work with idle threads of its pool:

    parts = shared(part_of, places)
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Pool(ThreadPoolExecutor):
    """A thread pool that knows its size."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, f"lmworks-{name}")
        self.threads = threads


_own: contextvars.ContextVar[Pool | None] = contextvars.ContextVar("the pool that runs this task", default=None)


@contextlib.contextmanager
def pool_of(threads: int, name: str) -> Iterator[Pool]:
    """A pool that, when the block ends, finishes the tasks that have begun and cancels the rest."""
    pool = Pool(threads, name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def begin(pool: Pool, task: Callable[[], T]) -> Future[T]:
    """Run a task in a thread of the pool; its progress is shown where the calling thread's is."""
    context = contextvars.copy_context()
    context.run(_own.set, pool)
    return pool.submit(context.run, task)


def in_order(pool: Pool, tasks: Iterable[Callable[[], T]], most: int) -> Generator[T]:
    """Yield the result of each task, in order. At most `most` tasks are in the pool ahead of the result that is taken
    next; if the caller stops early, tasks that have not begun are cancelled."""
    begun: deque[Future[T]] = deque()
    try:
        for task in tasks:
            begun.append(begin(pool, task))
            if len(begun) >= most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for one in begun:
            one.cancel()


def shared(task: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results of the task for all items, in order. This thread works through them, helped by idle threads of the
    pool that it belongs to; it never waits for one of them to become free."""
    pool, left, found = _own.get(), deque(enumerate(items)), dict[int, R]()

    def work() -> None:
        while True:
            try:
                place, item = left.popleft()
            except IndexError:  # nothing is left
                return
            found[place] = task(item)

    helpers = [] if pool is None else [pool.submit(work) for _ in range(min(pool.threads, len(left)) - 1)]
    try:
        work()
    finally:
        left.clear()
        for one in helpers:
            if not one.cancel():
                one.result()
    return [found[place] for place in range(len(items))]


def usable_cores() -> int:
    """Cores that this process may use, or LMWORKS_THREADS."""
    said = os.environ.get("LMWORKS_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(said), there) if said.isdigit() and int(said) > 0 else there

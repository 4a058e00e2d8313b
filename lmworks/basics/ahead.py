"""Work that threads of a pool do ahead of who wants it: results in the order of the tasks, few of them held at once.

    with pool_of(cores, "packing") as pool:
        for result in in_order(pool, tasks, most=2 * cores):
            ...

A task that is large can itself be shared with those threads of its pool that have nothing else to do:

    parts = shared(part_of, places)
"""

from __future__ import annotations

import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Pool(ThreadPoolExecutor):
    """Some threads."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, f"lmworks-{name}")
        self.threads = threads


_own: contextvars.ContextVar[Pool | None] = contextvars.ContextVar("the pool whose task this is", default=None)


@contextlib.contextmanager
def pool_of(threads: int, name: str) -> Iterator[Pool]:
    """Threads that finish what they have begun when the block ends, and forget the rest."""
    pool = Pool(threads, name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def begin(pool: Pool, task: Callable[[], T]) -> Future[T]:
    """A task that a thread of the pool does, and whose progress is shown where that of this thread is."""
    context = contextvars.copy_context()
    context.run(_own.set, pool)
    return pool.submit(context.run, task)


def in_order(pool: Pool, tasks: Iterable[Callable[[], T]], most: int) -> Generator[T]:
    """The result of each task. At most so many tasks are begun beyond those whose results were taken; when somebody
    stops taking them, those that no thread has begun are forgotten."""
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
    """The task done for each item: by this thread, and by others of the pool whose task it runs in, as far as they have
    nothing else to do. It need not wait for any of them to begin."""
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

"""Threads that work ahead, and large tasks that idle ones share."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from lmworks.basics.ahead import begin, in_order, pool_of, shared, usable_cores


def test_results_come_in_order_and_few_tasks_are_begun():
    begun: list[int] = []

    def tasks() -> Iterator[Callable[[], int]]:
        for number in range(20):
            begun.append(number)
            yield partial(int, number)

    with pool_of(3, "test") as pool:
        for number, result in enumerate(in_order(pool, tasks(), most=4)):
            assert result == number and len(begun) <= number + 4
    assert len(begun) == 20


def test_an_error_of_a_task_is_raised_and_no_thread_is_left():
    with pytest.raises(ZeroDivisionError), pool_of(2, "test") as pool:
        list(in_order(pool, [partial(divmod, 1, number) for number in (1, 1, 0, 1)], most=2))
    assert not [one for one in threading.enumerate() if one.name.startswith("lmworks-test")]


def test_what_was_begun_when_nobody_wants_more_is_not_waited_for():
    waits, done = threading.Event(), []
    with pool_of(1, "test") as pool:
        results = in_order(pool, [int, waits.wait, partial(done.append, 1)], most=3)
        assert next(results) == 0
        results.close()
        waits.set()
    assert not done


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_task_is_shared_with_threads_that_are_idle(threads: int):
    together, helped = threading.Barrier(threads, timeout=10), set[str]()

    def square(number: int) -> int:
        together.wait()
        helped.add(threading.current_thread().name)
        return number * number

    with pool_of(threads, "test") as pool:
        found = begin(pool, lambda: shared(square, range(4 * threads))).result()
    assert found == [number * number for number in range(4 * threads)] and len(helped) == threads


def test_a_task_whose_pool_is_busy_is_done_by_its_own_thread():
    waits = threading.Event()
    with pool_of(2, "test") as pool:
        busy = begin(pool, partial(waits.wait, 10))
        names = begin(pool, lambda: shared(lambda _: threading.current_thread().name, range(5))).result(5)
        assert len(set(names)) == 1 and not busy.done()
        waits.set()
    assert shared(str, range(3)) == ["0", "1", "2"], "outside a pool, too"


def test_an_error_of_a_shared_task_is_raised():
    with pool_of(2, "test") as pool, pytest.raises(ZeroDivisionError):
        begin(pool, lambda: shared(partial(divmod, 1), [1, 1, 0, 1])).result()
    with pytest.raises(IndexError):
        shared([].__getitem__, [0])


def test_a_task_sees_the_context_of_who_began_it():
    said = contextvars.ContextVar("said", default="nothing")
    said.set("something")
    with pool_of(1, "test") as pool:
        assert begin(pool, said.get).result() == "something"


def test_the_number_of_threads_can_be_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LMWORKS_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("LMWORKS_THREADS", "many")
    assert usable_cores() >= 1

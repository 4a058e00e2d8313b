"""Threads: any number gives the same result, they sleep when idle, leave the interpreter free, and rest when a core is busy."""

from __future__ import annotations

import threading
import time

import pytest
import torch

pytest.importorskip("numba")

from tiny import network, text

from lmworks.kernels import compiled, unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.kernels.library import library
from lmworks.kernels.team import FIRST_REST, IN_A_ROW, MOST_REST, Team, usable_cores

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 256, "layers": 2}


def on(threads: int) -> torch.Tensor:
    """Hidden states and logits of two texts and one more token, by a team of so many threads."""
    engine = compiled(network(**SHAPE).requires_grad_(False), 4)
    engine.team = Team(threads, library())
    engine._fixed_memory()
    with torch.no_grad():
        cache = engine.new_cache(1)
        first = engine.hidden(text(1, 140), None, cache)
        cache.advance(text(1, 140), None)
        last = engine.hidden(text(1, 1, seed=1), None, cache)
        return torch.cat([first[0], last[0], engine.hidden(text(1, 30, seed=2), None, None)[0]])


def test_the_number_of_threads_changes_nothing_to_the_bit():
    alone = on(1)
    assert torch.isfinite(alone).all()
    assert torch.equal(on(2), alone)
    assert torch.equal(on(3), alone)


def test_a_thread_that_has_nothing_to_do_sleeps():
    team = Team(2, library())
    until = time.monotonic() + 60
    while not team._asleep[1] and time.monotonic() < until:
        team._wake[0].wait(0.01)
    assert team._asleep[1]
    used = time.process_time()
    team._wake[0].wait(0.3)
    assert time.process_time() - used < 0.15  # a thread that spins would have used 0.3 seconds


def test_the_interpreter_is_free_while_a_tape_runs():
    engine = compiled(network(**SHAPE | {"layers": 6}).requires_grad_(False), 4)
    done, counted = threading.Event(), 0

    def read() -> None:
        with torch.no_grad():
            for _ in range(5):
                engine.hidden(text(16, 200), None, None)
        done.set()

    worker = threading.Thread(target=read)
    worker.start()
    while not done.is_set():
        counted += 1
    worker.join()
    assert counted > 1000


def test_two_callers_do_not_mix_their_texts():
    engine = compiled(network(**SHAPE).requires_grad_(False), 4)
    texts = [text(1, 60, seed=seed) for seed in range(4)]
    found: dict[int, torch.Tensor] = {}

    def read(number: int) -> None:
        with torch.no_grad():
            found[number] = engine.hidden(texts[number], None, None)

    with torch.no_grad():
        expected = [engine.hidden(one, None, None) for one in texts]
    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(torch.equal(found[number], expected[number]) for number in range(4))


def test_waiting_for_a_busy_core_is_answered_by_fewer_threads_and_tried_again():
    team = Team(2, library())
    for _ in range(IN_A_ROW - 1):
        team._judge(100.0, 0.1, waited=0.09)
        assert team.active == 2
    team._judge(100.0, 0.1, waited=0.09)
    assert team.active == 1
    over = 100.0 + FIRST_REST * 0.1
    team._choose(over - 0.01)
    assert team.active == 1
    team._choose(over)
    assert team.active == 2
    team._judge(over, 0.1, waited=0.09)  # still busy: rest twice as long
    assert team.active == 1 and team.rests_until == pytest.approx(over + 2 * FIRST_REST * 0.1)
    team._choose(over + 100)
    team._judge(over + 100, 0.1, waited=0.0)
    assert team.active == 2 and team.rest == FIRST_REST
    team._judge(over + 101, 0.1, waited=0.09)  # a moment's disturbance
    assert team.active == 2
    for _ in range(IN_A_ROW):
        team._judge(over + 102, 9.0, waited=8.0)
    assert team.rests_until == over + 102 + MOST_REST


def test_a_thread_that_gave_its_core_away_has_waited(monkeypatch: pytest.MonkeyPatch):
    """On a machine where all cores are busy the barrier offers its core to others: then there are few looks, and runs that take a
    hundred times as long."""
    engine = compiled(network(**SHAPE).requires_grad_(False), 4)
    engine.team = team = Team(2, library())
    engine._fixed_memory()
    judged: list[tuple[float, float]] = []
    monkeypatch.setattr(team, "_judge", lambda now, seconds, waited: judged.append((seconds, waited)))
    monkeypatch.setattr(time, "thread_time", lambda: 5.0)  # no processor time at all
    with torch.no_grad():
        engine.hidden(text(1, 30), None, None)
    assert judged and all(waited >= seconds for seconds, waited in judged)


def test_the_number_of_threads_can_be_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LMWORKS_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("LMWORKS_THREADS", "many")
    assert usable_cores() >= 1

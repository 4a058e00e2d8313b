"""Threads: any number gives the same result, they sleep when idle, leave the interpreter free, and rest when a core is
busy."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from test_engine import ALL_OF_EXPERTS
from tiny import network, text

from lmworks.kernels import compiled, unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.kernels.emit.compiler import COMPILES
from lmworks.kernels.frame import CLAIMS, HELPED, OVER, Field
from lmworks.kernels.run.leading import FIRST_REST, IN_A_ROW, MOST_REST, Leading
from lmworks.kernels.run.library import library
from lmworks.kernels.run.network import CompiledNetwork
from lmworks.kernels.run.team import Team
from lmworks.models.config import ExpertSettings
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.latent_settings import LatentSettings
from lmworks.models.lookup import PromptLookup
from lmworks.models.runner import TokenChoice

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 512, "layers": 2}


def compiled_for(threads: int, led: bool = False, **shape: Any) -> CompiledNetwork:
    """A small network's compiled path with a team of its own, in which one leads, if it shall."""
    engine = compiled(network(**SHAPE | shape).requires_grad_(False), 4)
    team = Team(threads, library())
    if led:
        team.leading.active, team.leading.until = True, float("inf")
    engine.workspace.use_team(team)
    return engine


def beside_numba(program: str) -> None:
    """Run a program with functions that are parts of others, in a process that compiles."""
    head = "import threading\nimport numpy as np\nfrom lmworks.kernels.frame import Field, barrier_bytes\n"
    command = [sys.executable, "-c", head + textwrap.dedent(program)]
    done = subprocess.run(command, env=os.environ | {COMPILES: "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_helpers_leave_before_python_ends():
    program = """
        import atexit
        atexit.register(lambda: print(any(one.is_alive() for one in made._helpers)))  # called last, as it came first
        from lmworks.kernels.run.team import team
        made = team()
    """
    settings = os.environ | {"LMWORKS_THREADS": "2"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


def on(threads: int, **shape: Any) -> torch.Tensor:
    """Hidden states and logits of two texts and one more token, by a team of so many threads."""
    engine = compiled_for(threads, **shape)
    with torch.no_grad():
        cache = engine.new_cache(1)
        first = engine.hidden(text(1, 140), None, cache)
        cache.advance(text(1, 140), None)
        last = engine.hidden(text(1, 1, seed=1), None, cache)
        return torch.cat([first[0], last[0], engine.hidden(text(1, 30, seed=2), None, None)[0]])


def test_the_number_of_threads_changes_nothing_to_the_bit():
    kinds = "grouped heads", "experts", "experts with all that they may have", "short convolutions", "latent attention"
    for kind in kinds:
        shape = SHAPES[kind]
        alone = on(1, **shape)
        assert torch.isfinite(alone).all()
        assert torch.equal(on(2, **shape), alone)
        assert torch.equal(on(3, **shape), alone)


pins = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system keeps no thread on a core")
two_cores = pytest.mark.skipif(
    (os.cpu_count() or 1) < 2, reason="a helper needs a core of its own; this machine has one"
)


def written(engine: CompiledNetwork, past: int, tokens: int) -> list[torch.Tensor]:
    """What a text of `past` tokens and some more brings: states of these, logits after the last, tokens that are
    written, once in eight rounds, once with guesses in them."""
    found, nobody, lookup = [], np.zeros(1, np.int64), PromptLookup(2, 20)
    with torch.no_grad():
        cache = engine.new_cache(1)
        engine.take_in(text(1, past), None, cache)
        for number in range(3):
            found.append(engine.hidden(text(1, tokens, seed=number), None, cache)[0])
            found.append(torch.from_numpy(engine.next_logits(text(1, tokens, seed=9 + number), None, cache)[0]))
            more = text(1, tokens, seed=20 + number).tolist()
            one = engine.write(more, cache, [TokenChoice(logprobs=True)] * tokens, np.zeros((1, tokens)), nobody)
            many = engine.write([[5]], cache, [TokenChoice(1.0, logprobs=True)], np.full((8, 1), 0.7), nobody)
            lookup.observe([*more[0], 5, *many.rows[0].tokens], 8)
            last = [many.rows[0].tokens[-1], *lookup.guess(39, 1)]
            guessed = engine.follow(last, cache, TokenChoice(1.0, logprobs=True), np.full(40, 0.7), 8, nobody, lookup)
            rows = [row for each in (one, many, guessed) for row in each.rows]
            found += [torch.tensor(part) for row in rows for part in (row.tokens, row.logprobs)]
    return found


@pytest.mark.parametrize("led", [False, True])
def test_a_tape_runs_after_the_helpers_left(led: bool, monkeypatch: pytest.MonkeyPatch):
    """One that a program runs as it ends."""
    expected, engine = written(compiled_for(1), 20, 1), compiled_for(2, led)
    # Nobody leads because the machine is busy, whose trial of shares would write one token.
    monkeypatch.setattr(engine.workspace.team.leading, "judge", lambda *_: None)
    written(engine, 20, 1)
    engine.workspace.team.end()
    assert not any(one.is_alive() for one in engine.workspace.team._helpers)
    assert all(map(torch.equal, written(engine, 20, 1), expected))


LATENT: dict[str, Any] = {"latent": LatentSettings(rank=64, query_rank=96, value_dim=32), "head_dim": 48}
LATENT |= {"rotary_dim": 16, "kv_heads": 4}
SHAPES: dict[str, dict[str, Any]] = {
    "grouped heads": {},
    "windows": {"window": 70},
    "a wide vocabulary": {"vocab_size": 5000},
    "learned positions, biases": {"positions": "learned", "qkv_bias": True, "output_bias": True, "norm": "layer"},
    "each head by itself": {"heads": 2, "kv_heads": 2, "head_dim": 32},
    "experts": {"experts": ExpertSettings(count=9, top_k=3)},
    "experts with all that they may have": ALL_OF_EXPERTS,
    "short convolutions": {"convolution": ConvolutionSettings(layers=(0, 2)), "layers": 3},
    "latent attention": LATENT,
    "latent attention of many heads": LATENT | {"heads": 16, "kv_heads": 16},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 2, 5, 16, 40])
def test_a_run_that_is_led_gives_the_same_to_the_bit(shape: str, tokens: int):
    expected = written(compiled_for(1, **SHAPES[shape]), 100, tokens)
    for threads in (2, 3):
        engine = compiled_for(threads, led=True, **SHAPES[shape])
        found = written(engine, 100, tokens)
        assert engine.workspace.team._led and engine.workspace.barrier[HELPED // 8 + 1] > 0
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@two_cores
def test_helpers_help():
    engine, helped = compiled_for(2, led=True), 0
    for _ in range(200):
        written(engine, 100, 4)
        helped += int(engine.workspace.barrier[HELPED // 8])
    assert helped > 0


def must_sleep(team: Team) -> None:
    """Wait for the second thread to sleep: until then it looks for work by itself."""
    until = time.monotonic() + 60
    while not team._asleep[1] and time.monotonic() < until:
        team._wake[0].wait(0.01)
    assert team._asleep[1]


def test_a_leader_whose_helpers_never_come_does_all():
    expected = written(compiled_for(1), 100, 3)
    engine = compiled_for(2, led=True)
    written(engine, 100, 3)
    must_sleep(engine.workspace.team)
    # As though a helper that is late had marked a step that is over, which it did with other numbers.
    engine.workspace.kept[Field.DONE][:] = 2 * engine.workspace.barrier[CLAIMS // 8 + 1] + 1
    engine.workspace.team.functions = dataclasses.replace(
        engine.workspace.team.functions, signal=lambda place, number: None
    )
    found = written(engine, 100, 3)
    assert engine.workspace.barrier[HELPED // 8] == 0
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pins
def test_threads_that_change_places_all_the_time_write_the_same_and_are_free_again():
    expected = written(compiled_for(1), 100, 3)
    engine, before = compiled_for(2, led=True), os.sched_getaffinity(0)
    team = engine.workspace.team
    for looks in (1, 50, 1000):
        written(engine, 100, 3)
        team.leading.cores[0, 0] = looks
        for _ in range(20):
            found = written(engine, 100, 3)
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
            assert os.sched_getaffinity(0) == before
    if len(before) >= 2:
        helper = team._helpers[0].native_id
        assert helper is not None and len(os.sched_getaffinity(helper)) == 1
        team.leading.until = 0.0
        team.leading.begin(1.0, team._helpers)
        assert os.sched_getaffinity(helper) == before


@pins
@pytest.mark.parametrize("led", [True, False])
def test_an_interrupt_before_a_run_leaves_nobody_waiting(led: bool, monkeypatch: pytest.MonkeyPatch):
    expected = written(compiled_for(1), 100, 3)
    engine = compiled_for(2, led=led)
    team, functions, before = engine.workspace.team, engine.workspace.team.functions, os.sched_getaffinity(0)
    # Nobody leads because the machine is busy, whose trial of shares would write one token.
    monkeypatch.setattr(team.leading, "judge", lambda *_: None)

    def interrupted(place: int, number: int) -> None:
        team.functions = functions
        raise KeyboardInterrupt

    for _ in range(5):
        team.functions = dataclasses.replace(functions, signal=interrupted)
        with pytest.raises(KeyboardInterrupt):
            written(engine, 100, 3)
        assert os.sched_getaffinity(0) == before
        assert all(torch.equal(*pair) for pair in zip(written(engine, 100, 3), expected, strict=True))
    team.leading.active = False  # a run in which threads wait for each other
    assert all(torch.equal(*pair) for pair in zip(written(engine, 100, 3), expected, strict=True))


@pins
def test_an_interrupt_on_the_way_to_a_run_that_is_led_keeps_no_late_helper(monkeypatch: pytest.MonkeyPatch):
    """A helper that is late from the run before waits for its end as long as one leads."""
    expected, engine = written(compiled_for(1), 100, 3), compiled_for(2, led=True)
    written(engine, 100, 3)
    assert engine.workspace.barrier[CLAIMS // 8] == OVER
    with monkeypatch.context() as patch:
        patch.setattr(Team, "_go", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            written(engine, 100, 3)
    assert engine.workspace.barrier[CLAIMS // 8] == OVER
    assert all(torch.equal(*pair) for pair in zip(written(engine, 100, 3), expected, strict=True))


@pins
def test_where_there_are_fewer_cores_than_threads_nobody_is_moved():
    expected, before = written(compiled_for(1), 100, 3), os.sched_getaffinity(0)
    engine = compiled_for(2, led=True)
    try:
        written(engine, 100, 3)
        os.sched_setaffinity(0, {min(before)})
        found = written(engine, 100, 3)
        assert os.sched_getaffinity(0) == {min(before)} and engine.workspace.team.leading.cores[0, 0] == 0
    finally:
        os.sched_setaffinity(0, before)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_who_is_late_marks_nothing_that_was_marked_since():
    """The leader sees that a unit is done, and looks again who did it."""
    beside_numba("""
        from lmworks.kernels.run.work_stealing import note_done

        frame, barrier, marks = np.zeros(len(Field), np.int64), np.zeros(64, np.int64), np.zeros(4, np.int64)
        frame[Field.BARRIER], frame[Field.DONE] = barrier.ctypes.data, marks.ctypes.data
        note_done(2, 3, frame.ctypes.data, 7, 1)
        note_done(1, 3, frame.ctypes.data, 6, 1)
        assert marks.tolist() == [0, 7 * 3 + 2, 0, 0], marks
    """)


def test_each_helper_that_reads_texts_is_waited_for():
    """The first one too: texts belong to the caller, who may free them after the run."""
    beside_numba("""
        from lmworks.kernels.run.work_stealing import READS, await_readers

        frame, barrier = np.zeros(len(Field), np.int64), np.zeros(barrier_bytes(3) // 8, np.int64)
        frame[Field.BARRIER] = barrier.ctypes.data
        await_readers(3, frame.ctypes.data)
        for reader in (1, 2):
            barrier[(READS + 64 * reader) // 8] = 1
            leader = threading.Thread(target=await_readers, args=(3, frame.ctypes.data), daemon=True)
            leader.start()
            leader.join(0.1)
            assert leader.is_alive()
            barrier[(READS + 64 * reader) // 8] = 0
            leader.join(60)
            assert not leader.is_alive()
    """)


def test_nobody_leads_where_a_step_has_more_units_than_can_be_claimed(monkeypatch: pytest.MonkeyPatch):
    engine = compiled_for(2, led=True)
    monkeypatch.setattr("lmworks.kernels.run.workspace.MOST_CHUNKS", 3)
    found = written(engine, 300, 2)
    assert not engine.workspace.team._led
    monkeypatch.undo()
    again = written(engine, 300, 2)
    assert engine.workspace.team._led
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_a_trial_of_shares_is_one_token():
    engine = compiled_for(2, led=True)
    nobody = np.zeros(1, np.int64)
    with torch.no_grad():
        cache = engine.new_cache(1)
        engine.take_in(text(1, 10), None, cache)
        rounds = []
        for _ in range(3):
            done = engine.write([[5]], cache, [TokenChoice()], np.zeros((8, 1)), nobody)
            rounds.append(done.rounds)
            engine.workspace.team.leading.until = 0.0
    assert rounds == [8, 1, 8]


def test_what_a_late_helper_reads_is_kept_until_it_has_left(monkeypatch: pytest.MonkeyPatch):
    engine = compiled_for(2, led=True)
    team, weights, buffers = engine.workspace.team, engine.weights, engine.workspace.buffers
    engine.workspace.make_room(40)
    assert not team._kept
    with monkeypatch.context() as patch:
        patch.setattr(team, "_helpers_run", lambda: True)
        buffers = engine.workspace.buffers
        engine.workspace.make_room(80)
        assert any(one is buffers for one in team._kept)
        del engine
        gc.collect()
        assert any(weights is one[0] for one in team._kept if isinstance(one, tuple))
    again = compiled_for(1)
    again.workspace.use_team(team)
    written(again, 20, 1)  # its run ended, a helper looks whether somebody is late
    until = time.monotonic() + 60
    while team._kept and time.monotonic() < until:
        team._wake[0].wait(0.01)
    assert not team._kept


def test_a_thread_that_has_nothing_to_do_sleeps():
    team = Team(2, library())
    must_sleep(team)
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
    leading = Leading(2, 1e-8)
    for _ in range(IN_A_ROW - 1):
        leading.judge(100.0, 0.1, waited=0.09)
        assert not leading.active
    leading.judge(100.0, 0.1, waited=0.09)
    assert leading.active
    over = 100.0 + FIRST_REST * 0.1
    leading.begin(over - 0.01, [])
    assert leading.active
    leading.begin(over, [])
    assert not leading.active
    leading.judge(over, 0.1, waited=0.09)  # still busy: rest twice as long
    assert leading.active and leading.until == pytest.approx(over + 2 * FIRST_REST * 0.1)
    leading.begin(over + 100, [])
    leading.judge(over + 100, 0.1, waited=0.0)
    assert not leading.active and leading.rest == FIRST_REST
    leading.judge(over + 101, 0.1, waited=0.09)  # a moment's disturbance
    assert not leading.active
    for _ in range(IN_A_ROW):
        leading.judge(over + 102, 9.0, waited=8.0)
    assert leading.until == over + 102 + MOST_REST


def test_a_thread_that_gave_its_core_away_has_waited(monkeypatch: pytest.MonkeyPatch):
    """On a machine where all cores are busy the barrier offers its core to others: then there are few looks, and runs
    that take a hundred times as long."""
    engine = compiled(network(**SHAPE).requires_grad_(False), 4)
    team = Team(2, library())
    engine.workspace.use_team(team)
    judged: list[tuple[float, float]] = []
    monkeypatch.setattr(team.leading, "judge", lambda now, seconds, waited: judged.append((seconds, waited)))
    monkeypatch.setattr(time, "thread_time", lambda: 5.0)  # no processor time at all
    with torch.no_grad():
        engine.hidden(text(1, 30), None, None)
    assert judged and all(waited >= seconds for seconds, waited in judged)

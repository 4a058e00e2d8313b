"""Tokens drawn by the kernels beside those that PyTorch draws at the same share."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from frames import Bench

pytest.importorskip("numba")

from lmworks.kernels.coverage import unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.generation.chooser import Chooser
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.kernels import CompiledRunner
from lmworks.kernels.frame import Field, barrier_bytes
from lmworks.kernels.next_token import drawn, log_total, room_numbers, table_of
from lmworks.kernels.operation import Step
from lmworks.kernels.operations.choose import Choose
from lmworks.kernels.operations.follow import Follow
from lmworks.kernels.operations.follow_guesses import FollowGuesses
from lmworks.kernels.packed import aligned
from lmworks.kernels.run.library import library
from lmworks.kernels.run.tape import table
from lmworks.kernels.run.team import Team
from lmworks.models.lookup import PromptLookup
from lmworks.models.runner import TokenChoice

SHARES = [*np.linspace(0, 1, 41)[:-1], 0.999999]
FILTERS = {
    "none": {},
    "top-k": {"top_k": 5},
    "top-k, more than there are": {"top_k": 100_000},
    "top-p": {"top_p": 0.9},
    "a small top-p": {"top_p": 0.2},
    "min-p": {"min_p": 0.05},
    "top-k and top-p": {"top_k": 40, "top_p": 0.8},
    "top-p and min-p": {"top_p": 0.9, "min_p": 0.1},
    "all": {"top_k": 30, "top_p": 0.95, "min_p": 0.02},
}


@pytest.fixture(autouse=True)
def _kernels() -> None:
    library()


class Kernels(CompiledRunner):
    """What a compiled runner chooses by, without a network."""

    def __init__(self) -> None:
        pass


def through_a_chooser(strategy: Strategy, logits: np.ndarray, at: float) -> int:
    """By the kernels, and by the strategy where they leave it to it."""
    return Chooser(strategy, 0, sampler=Kernels())._draw(logits, at)


def like_words(count: int, seed: int = 0) -> np.ndarray:
    """Logits of which few are far above the others, as a network's are."""
    logits = (2 * torch.randn(count, generator=torch.Generator().manual_seed(seed)) - 3).numpy()
    logits[:: max(count // 40, 1)] += 9
    return logits


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("count", [1, 15, 127, 128, 129, 1000, 49_152])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_the_same_token_at_the_same_share(filters: str, count: int, temperature: float):
    strategy, logits = Sample(temperature=temperature, **FILTERS[filters]), like_words(count)
    fewer = strategy.top_k is not None and strategy.top_k < count
    said = {"top_k": strategy.top_k if fewer else 0, "top_p": strategy.top_p or 1.0, "min_p": strategy.min_p or 0.0}
    by_kernels = [drawn(logits, 1 / temperature, **said, at=at) for at in SHARES]
    through = [through_a_chooser(strategy, logits, at) for at in SHARES]
    expected = [strategy.at_share(logits, at) for at in SHARES]
    assert by_kernels == through == expected


BEYOND_THE_EDGE = {
    "top-k": {"top_k": 999},
    "top-k of a sharp choice": {"top_k": 5, "temperature": 0.01},
    "top-k that leaves what weighs nothing": {"top_k": 300, "temperature": 0.05},
    "top-k and top-p": {"top_k": 900, "top_p": 0.9, "temperature": 2.0},
    "top-k and min-p": {"top_k": 900, "min_p": 1e-9},
    "min-p": {"min_p": 1e-7},
    "a large top-p": {"top_p": 0.9999, "temperature": 0.4},
}


@pytest.mark.parametrize("filters", BEYOND_THE_EDGE)
@pytest.mark.parametrize("count", [1000, 1001, 49_152])
def test_the_same_token_where_what_reaches_the_edge_is_not_enough(filters: str, count: int):
    strategy, logits = Sample(**BEYOND_THE_EDGE[filters]), 2 * like_words(count)
    choice = strategy.token_choice(count)
    said = {"top_k": choice.top_k, "top_p": choice.top_p, "min_p": choice.min_p}
    shares = [*SHARES, 1 - 1e-5, 1 - 1e-8]
    by_kernels = [drawn(logits, choice.factor, **said, at=at) for at in shares]
    assert by_kernels == [strategy.at_share(logits, at) for at in shares]


def test_many_weights_that_are_next_to_nothing_are_drawn_too():
    """49,151 tokens that together have the share 0.0029 beside one, but for those few that float32 loses beside a 1."""
    logits = np.full(49_152, -16.65, np.float32)
    logits[0] = 0
    for said in ({}, {"min_p": 1e-9}, {"top_k": 49_151}):
        assert drawn(logits, 1.0, **said, at=1 - 1e-9) > 49_130
        middle = drawn(logits, 1.0, **said, at=1 - 0.5 * 49_151 * math.exp(-16.65))
        assert abs(middle - 24_576) < 200


def test_all_may_be_alike():
    flat = np.zeros(10_000, np.float32)
    assert drawn(flat, 1.0, at=0.5) == drawn(flat, 1.0, min_p=0.5, at=0.5) == 5_000
    assert drawn(flat, 1.0, top_p=0.5, at=0.5) == 2_500
    assert drawn(flat, 1.0, top_k=9, at=0.5) == 5_000  # as likely as the ninth


@pytest.mark.parametrize("filters", [{"top_p": 0.5}, {"top_k": 3}, {"top_p": 0.5, "top_k": 7}])
def test_equals_are_kept_as_the_filters_keep_them(filters: dict):
    """Of ten equals the first five are the nucleus of a half, and all stay among the three likeliest."""
    logits = np.full(300, -40.0, np.float32)
    logits[np.arange(10) * 29] = 2.0
    strategy = Sample(temperature=1.0, **filters)
    ours = [through_a_chooser(strategy, logits, at) for at in SHARES]
    assert ours == [strategy.at_share(logits, at) for at in SHARES]
    assert len(set(ours)) == (5 if "top_p" in filters else 10)


def test_forbidden_tokens_are_never_drawn():
    logits = np.full(1000, -math.inf, np.float32)
    logits[300:307] = 1.0
    assert {drawn(logits, 1.0, at=at) for at in (*SHARES, 1.0)} == set(range(300, 307))
    assert {drawn(logits, 1.0, top_p=0.99, at=at) for at in (*SHARES, 1.0)} <= set(range(300, 307))
    logits[304] += 1e-6
    assert drawn(logits, 3e38, at=0.1) == 304  # a temperature next to zero


def test_what_the_kernels_do_not_look_at_is_left_to_numpy():
    assert drawn(like_words(1000), 1.0, top_p=0.9999999, at=0.5) is None
    assert drawn(like_words(1000).astype(np.float64), 1.0, at=0.5) is None
    assert drawn(like_words(2000)[::2], 1.0, at=0.5) is None
    for broken in (math.nan, math.inf):
        logits = like_words(1000)
        logits[500] = broken
        assert drawn(logits, 1.0, at=0.5) is None


@pytest.mark.parametrize("count", [1, 127, 128, 129, 49_152])
def test_log_probabilities(count: int):
    logits = like_words(count)
    total = float(np.log(np.exp(logits.astype(np.float64)).sum()))
    assert log_total(logits) == pytest.approx(total, abs=1e-5)
    assert Chooser(Greedy(), None, sampler=Kernels()).log_probability(logits, count // 2) == pytest.approx(
        float(logits[count // 2]) - total, abs=1e-5
    )


def test_each_thread_has_its_own_room():
    """Longer logits behind shorter ones: the room grows, and nothing of the former ones stays."""
    short, long = like_words(100), like_words(60_000)
    alone = drawn(long, 1.0, top_p=0.9, at=0.4)
    drawn(short, 1.0, top_p=0.9, at=0.4)
    assert drawn(long, 1.0, top_p=0.9, at=0.4) == alone


def choosing(
    logits: np.ndarray,
    choices: list[TokenChoice],
    at: float = 0.0,
    rounds: int = 1,
    threads: int = 1,
    follow: Step = Follow.step(),
) -> tuple[Bench, list[Step], np.ndarray, np.ndarray]:
    """A frame, the steps that choose and follow, and where tokens and log-probabilities come to stand, -7 before."""
    rows, count = logits.shape
    bench, room = Bench(rows, 32), aligned(-(-4 * room_numbers(count) // 64) * 64 * threads)
    chosen, logprobs = np.full((rounds, rows), -7), np.full((rounds, rows), -7.0)
    bench.put(Field.CHOICES, table_of(choices))
    bench.put(Field.UNIFORMS, np.full((rounds, rows), at))
    bench.put(Field.CHOSEN, chosen)
    bench.put(Field.LOGPROBS, logprobs)
    for name in (Field.IDS, Field.POSITIONS, Field.ENDS):
        bench.put(name, np.zeros(rows, np.int64))
    bench.frame[Field.ROUNDS] = rounds
    bench.put(Field.INTERRUPT, np.zeros(1, np.int64))
    bench.kept[Field.STOP] = [logits, room, choices]
    stride = logits.strides[0]
    step = Choose.step(
        logits=logits.ctypes.data,
        logits_stride=stride,
        vocabulary=count,
        room=room.ctypes.data,
        room_bytes=room.nbytes // threads,
    )
    return bench, [step, follow], chosen, logprobs


@pytest.mark.parametrize("count", [1, 127, 128, 129, 5000])
def test_each_row_is_chosen_for_in_its_own_way(count: int):
    """Of 8 rows at once, in any form, what NumPy chooses and judges for each; forbidden ends are judged and not
    chosen."""
    logits = np.stack([like_words(count, seed) for seed in range(8)])
    logits[:, count // 3] = 7.0  # the likeliest, twice
    logits[:, count // 2] = 7.0
    strategies_ = [
        Greedy(),
        Sample(temperature=0),
        *(Sample(temperature=0.8, **one) for one in list(FILTERS.values())[:6]),
    ]
    end = np.array([count // 3])
    choices = [one.token_choice(count)._replace(logprobs=row % 2 == 0) for row, one in enumerate(strategies_)]
    raw = logits.copy()
    expected = [through_a_chooser(one, row, 0.4) for one, row in zip(strategies_, raw, strict=True)]
    bench, steps, chosen, logprobs = choosing(logits, choices, at=0.4, rounds=2)
    bench.run(*steps)
    assert chosen[0].tolist() == expected
    for row, token in enumerate(expected):
        before = 0.0 if row % 2 else -log_total(raw[row])
        assert logprobs[0, row] == float(raw[row, token]) + before
    assert (
        bench.kept[Field.IDS].tolist() == expected
        and set(bench.kept[Field.POSITIONS]) == {1}
        and set(bench.kept[Field.ENDS]) == {2}
    )
    if count == 1:
        return
    bench, steps, chosen, logprobs = choosing(logits, [one._replace(ends=end, forbidden=1) for one in choices], at=0.4)
    bench.run(*steps)
    raw[:, end] = -math.inf
    assert chosen[0].tolist() == [through_a_chooser(one, row, 0.4) for one, row in zip(strategies_, raw, strict=True)]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_is_left_to_python(broken: float):
    logits = np.stack([like_words(1000), like_words(1000)])
    logits[0] = broken
    bench, steps, chosen, _ = choosing(logits, [TokenChoice(), TokenChoice()], rounds=3)
    bench.run(*steps)
    assert chosen[:, 0].tolist() == [-1, -7, -7] and chosen[0, 1] == logits[1].argmax()


def test_a_row_that_guesses_leaves_to_python_what_is_no_number_behind_a_guess_that_was_right():
    logits = np.stack([like_words(1000, seed) for seed in range(4)])
    logits[1], logits[2] = math.nan, math.inf
    right = int(logits[0].argmax())
    bench, steps, chosen, _ = choosing(logits, [TokenChoice()], follow=FollowGuesses.step())
    bench.kept[Field.IDS][:] = 7, right, 8, 9  # a token, and three guesses of which the first is right
    lookup, cuts = PromptLookup(3, 3), np.ones((5, 2), np.int64)
    lookup.observe([5, 6, 7], 1)
    bench.frame[Field.LOOKUP] = lookup.ready(20, cuts.ctypes.data)
    bench.run(*steps)
    assert lookup.outcome() == (1, 3, 1, 1)  # one token written, three tried, one right, and the second row left
    assert chosen[0, :2].tolist() == [right, -1] and bench.frame[Field.STOP] == 1
    assert list(lookup.text[:4]) == [5, 6, 7, right]


def test_no_thread_stays_behind_where_a_run_stops(monkeypatch: pytest.MonkeyPatch):
    """One that is held up when all have met for the last time must not go on in the next run, which has not stopped
    yet."""
    two = Team(2, library())
    monkeypatch.setattr(two.leading, "judge", lambda *_: None)  # both, always
    logits = np.stack([like_words(300), like_words(300)])
    end = np.array([int(logits[0].argmax())])
    bench, steps, chosen, _ = choosing(logits, [TokenChoice(), TokenChoice(ends=end)], rounds=3, threads=2)
    barrier = aligned(barrier_bytes(2)).view(np.int64)
    bench.put(Field.BARRIER, barrier)
    bench.put(Field.TAPE, table(steps))
    bench.frame[Field.STEPS] = 2
    ends = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    busy = [subprocess.Popen([sys.executable, "-c", ends]) for _ in range(3)]  # they take cores away
    try:
        for _ in range(15_000):
            bench.frame[Field.STOP] = 0
            two.run(bench.frame, barrier)
            assert (chosen[0] == end).all() and (chosen[1:] == -7).all()
    finally:
        for one in busy:
            one.kill()
            one.wait()

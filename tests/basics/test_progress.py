"""Progress where there is no terminal: a line now and then, and one at the end."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys

import pytest

from lmworks.basics import progress


@pytest.mark.parametrize("part", [1.0, 0.1])
def test_the_end_is_said_once(part: float, capsys: pytest.CaptureFixture[str]):
    """Also by sums that are a hair less than the whole, and where there is more than was foreseen."""
    with progress.shown(), progress.task("reading", 3, "pages") as advance:
        for number in range(int(3 / part) + 5):
            advance(part, page=number)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reading  100 %") and line.endswith(f"page {int(3 / part) - 1}")


def test_bytes_that_are_read_deep_inside_are_counted_and_those_read_twice_only_once(monkeypatch: pytest.MonkeyPatch):
    told: list[float] = []

    @contextlib.contextmanager
    def kept(what: str, total: float, unit: str, stays: bool):
        assert (what, total, unit, stays) == ("loading m", 100, "bytes", False)
        yield told.append

    monkeypatch.setattr(progress, "_plain_lines", kept)
    with progress.shown(), progress.reading("loading m", 100):
        for size in (60, 30, 30, 30):
            progress.read(size)
    progress.read(30)
    assert told == [60, 30, 10]


def test_the_line_of_what_makes_ready_goes_when_it_is_done(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown():
        progress.at_once("loading m")
        assert capsys.readouterr().err == "loading m\r"
        with progress.reading("loading m", 2_000_000):
            progress.read(1_000_000)
            with progress.task("packing weights", 3):
                pass
    err = capsys.readouterr().err
    assert err.startswith("\x1b[2K") and "1 MB" in err and "packing weights" in err
    progress.at_once("loading m")
    progress.end_line()
    progress.end_line()
    assert capsys.readouterr().err == "loading m\r\x1b[2K"


@pytest.mark.parametrize(("seconds", "rate"), [(40, "0.025"), (0.3, "3.3"), (0.01, "100"), (0.0001, "10,000")])
def test_slow_work_has_a_rate_too(seconds: float, rate: str, monkeypatch: pytest.MonkeyPatch, capsys):
    clock = itertools.count(0, seconds)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.shown(), progress.task("sequence", 1, "runs") as advance:
        advance()
    assert capsys.readouterr().err == f"sequence  100 %  {rate} runs/s  0 s left\n"


def test_what_another_process_reports_is_shown_here(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(progress, "_said", set())
    lines: list[str] = []
    with progress.sent(lambda message: lines.append(json.dumps(message))):
        with progress.task("packing", 4, "weights") as advance, progress.task("waiting"):
            advance(3, loss=2.0)
            progress.read(30)
            advance()
        progress.note("something is slow")
    monkeypatch.setattr(progress, "_said", set())  # as in another process
    assert capsys.readouterr().err == ""
    with progress.shown(), progress.reading("loading m", 100), progress.received() as take:
        for line in lines:
            take(json.loads(line))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("packing  100 %") and second == "lmworks: something is slow"


def test_what_ends_in_the_middle_of_a_task_ends_it():
    with progress.received() as take:
        take(["task", 0, "packing", 3, "", True])
        take(["advance", 0, 1, {}])


def told(monkeypatch: pytest.MonkeyPatch, capsys, total: float, reports: list[tuple[float, float]]) -> list[str]:
    """The plain lines of work that reports these amounts at these seconds after its begin."""
    clock = iter([0.0, *(second for second, _ in reports)])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.shown(), progress.task("measuring", total, "items") as advance:
        for _, amount in reports:
            advance(amount)
    return capsys.readouterr().err.splitlines()


def test_what_makes_ready_for_the_first_item_is_no_part_of_the_rate(monkeypatch: pytest.MonkeyPatch, capsys):
    """Twelve seconds of loading and packing, then eight items a second."""
    lines = told(monkeypatch, capsys, 100, [(12 + at / 8, 1) for at in range(100)])
    assert lines == [
        "measuring    1 %",
        "measuring   81 %  8 items/s  2 s left",
        "measuring  100 %  8 items/s  0 s left",
    ]


def test_items_that_come_in_batches_are_timed_from_batch_to_batch(monkeypatch: pytest.MonkeyPatch, capsys):
    """Sixteen at once, each batch after eight seconds of work; the first after twenty of loading, too."""
    reports = [(20 + 8 * batch + at / 1000, 1) for batch in range(5) for at in range(16)]
    lines = told(monkeypatch, capsys, 80, reports)
    assert lines[0] == "measuring    1 %" and lines[-1] == "measuring  100 %  2 items/s  0 s left"
    assert lines[1:-1] == ["measuring   41 %  2 items/s  24 s left", "measuring   81 %  2 items/s  8 s left"]


def test_no_time_left_is_told_before_a_second_item_is_timed(monkeypatch: pytest.MonkeyPatch, capsys):
    lines = told(monkeypatch, capsys, 4, [(30, 1), (60, 1), (90, 1), (120, 1)])
    assert lines[:2] == ["measuring   25 %", "measuring   50 %"]
    assert [line.partition("items/s  ")[2] for line in lines[2:]] == ["30 s left", "0 s left"]


def test_the_live_line_tells_the_same_time_left(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    clock = itertools.count(0, 30)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    fields = []
    with progress.shown(), progress.task("measuring", 100, "items") as advance:
        for amount in (1, 24, 25):
            advance(amount)
            fields.append(progress._bar.get().tasks[0].fields.copy())
    assert [one["rate"] for one in fields] == ["", "", "0.8 items/s"]
    assert [one["left"] for one in fields] == ["", "", "0:01:02"]

"""Progress of long work: the library reports, whoever runs it decides what is shown.

    with progress.task("measuring", total=tokens, unit="tokens") as advance:
        advance(512, loss=2.31)

Silent unless `progress.shown()` is active (the command line's verbs run inside it). On a terminal it is a
live line with rate and time left; in a log file it is a plain line every ten seconds. Both begin to count with the
first report, before which the work made itself ready.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from lmworks.basics import terminal

Advance = Callable[..., None]

_reporter: contextvars.ContextVar[Any] = contextvars.ContextVar("reporter", default=None)
_sender: contextvars.ContextVar[Callable[[list[Any]], None] | None] = contextvars.ContextVar("sender", default=None)


@contextlib.contextmanager
def task(what: str, total: float | None = None, unit: str = "", *, stays: bool = True) -> Iterator[Advance]:
    """Yield `advance(amount, **facts)`; the facts (loss, ...) are shown after the rate and the time left. The line of
    what only makes ready for something else need not stay when it is done."""
    reporter = _reporter.get()
    if reporter is None:
        yield lambda amount=1, **facts: None
    else:
        with reporter(what, total, unit, stays) as advance:
            yield advance


_reading: contextvars.ContextVar[Advance] = contextvars.ContextVar("reading", default=lambda amount=1: None)


@contextlib.contextmanager
def reading(what: str, size: int) -> Iterator[None]:
    """A preparatory task, done once `size` bytes of files have been read. Code inside the block reports what it reads
    through `read`, however deep it is."""
    left = size

    with task(what, size, "bytes", stays=False) as advance:

        def told(amount: float = 1) -> None:
            nonlocal left
            if (more := min(int(amount), left)) > 0:  # what is read twice counts once
                left -= more
                advance(more)

        token = _reading.set(told)
        try:
            yield
        finally:
            _reading.reset(token)


@contextlib.contextmanager
def sent(send: Callable[[list[Any]], None]) -> Iterator[None]:
    """Report nothing inside the block, and send it as messages, of what JSON knows, to where `received` reports it."""
    numbers = itertools.count()

    @contextlib.contextmanager
    def reporter(what: str, total: float | None, unit: str, stays: bool) -> Iterator[Advance]:
        number = next(numbers)
        send(["task", number, what, total, unit, stays])
        try:
            yield lambda amount=1, **facts: send(["advance", number, amount, facts])
        finally:
            send(["end", number])

    reporting, reading = _reporter.set(reporter), _reading.set(lambda amount=1: send(["read", amount]))
    sending = _sender.set(send)
    try:
        yield
    finally:
        _sender.reset(sending)
        _reading.reset(reading)
        _reporter.reset(reporting)


@contextlib.contextmanager
def received() -> Iterator[Callable[[list[Any]], None]]:
    """Yield what takes the messages of `sent` and reports what they say; what has not ended ends with the block."""
    tasks: dict[int, tuple[contextlib.ExitStack, Advance]] = {}

    def take(message: list[Any]) -> None:
        match message:
            case "task", number, *about, stays:
                of_task = contextlib.ExitStack()
                tasks[number] = of_task, of_task.enter_context(task(*about, stays=stays))
            case "advance", number, amount, facts:
                tasks[number][1](amount, **facts)
            case "end", number:
                tasks.pop(number)[0].close()
            case "read", size:
                read(size)
            case "note", sentence:
                note(sentence)

    try:
        yield take
    finally:
        for of_task, _ in reversed(tasks.values()):
            of_task.close()


def read(size: int) -> None:
    """Report that this many more bytes of a file were read."""
    _reading.get()(size)


def at_once(what: str) -> None:
    """Say on a terminal what is about to begin, before the modules that do it are imported, which alone takes seconds
    on a busy machine. The line goes when progress is shown or the verb ends (`end_line`)."""
    if sys.stderr.isatty():
        terminal.unguarded(sys.stderr).write(f"{terminal.printable(what)}\r")
        sys.stderr.flush()
        _begun.append(what)


def end_line() -> None:
    """Remove the line of `at_once`, if it still stands."""
    if _begun:
        terminal.unguarded(sys.stderr).write("\x1b[2K")
        sys.stderr.flush()
        _begun.clear()


_begun: list[str] = []


def note(sentence: str) -> None:
    """Tell the user something once, while work goes on: on standard error where progress is shown, else a warning."""
    if sentence in _said:
        return
    _said.add(sentence)
    if (send := _sender.get()) is not None:
        send(["note", sentence])
    elif _reporter.get() is None:
        warnings.warn(sentence, stacklevel=3)
    else:
        end_line()
        print(f"lmworks: {sentence}", file=sys.stderr, flush=True)


_said: set[str] = set()


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show the progress of everything inside the block on standard error."""
    token = _reporter.set(_live_line if sys.stderr.isatty() else _plain_lines)
    try:
        yield
    finally:
        _reporter.reset(token)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Show nothing inside the block: another process shows the same work."""
    token = _reporter.set(None)
    try:
        yield
    finally:
        _reporter.reset(token)


SETTLES = 1.0
"""Seconds: reports that follow each other faster may be items of one batch, which come at once."""
TELLING = 3.0
"""Seconds of work from which on a rate is told."""


class _Pace:
    """How fast work goes, by when it reports."""

    def __init__(self, total: float | None) -> None:
        self.total, self.done, self.start = total, 0.0, time.monotonic()
        self._first: float | None = None
        self._from = self._last = self._until = (self.start, 0.0)

    def add(self, amount: float) -> float:
        """Count what is done; the time now."""
        now = time.monotonic()
        self.done += amount
        before, self._last = self._last, (now, self.done)
        if self._first is None and amount:
            self._first = now
        if self._first is not None and now - self._first < SETTLES:
            self._from = self._last
        # The first item of a batch ends the time of all of them: the rate is that of whole batches.
        self._until = before if now - before[0] >= SETTLES and not self.ended else self._last
        return now

    @property
    def ended(self) -> bool:
        """Whether all is done, also by sums that are a hair less than the whole."""
        return bool(self.total) and self.done >= (self.total or 0) * (1 - 1e-9)

    def rate(self, now: float) -> float | None:
        """Units a second since the first report; None while too little was seen, and over all the time if nothing more
        will be."""
        (start, before), (end, done) = self._from, self._until
        if end - start >= TELLING and done > before and self._first is not None:
            return (done - before) / (end - start)
        return self.done / max(now - self.start, 1e-9) if self.ended else None

    def left(self, now: float) -> float | None:
        """Seconds; None where that is not known."""
        rate = self.rate(now)
        if not self.total or not rate or self.done < self.total / 200:
            return None
        return max(self.total - self.done, 0) / rate


def _speed(done: float, rate: float | None, unit: str) -> str:
    """Units a second, of bytes also how many; nothing where the unit is time itself."""
    if unit == "bytes":
        return f"{done / 1e6:,.0f} MB" + ("" if rate is None else f", {rate / 1e6:,.0f} MB/s")
    if unit in ("", "s") or rate is None:
        return ""
    return f"{rate:,.0f} {unit}/s" if round(rate) >= 10 else f"{rate:.2g} {unit}/s"


def _in_words(facts: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    )


@contextlib.contextmanager
def _live_line(what: str, total: float | None, unit: str, stays: bool = True) -> Iterator[Advance]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    pace = _Pace(total)
    end_line()
    outer = _bar.get()  # a nested task has its line below the outer one's
    new = Progress(*columns, console=terminal.console(stderr=True), transient=not stays)
    with contextlib.nullcontext(outer) if outer is not None else new as bar:
        line, token = bar.add_task(what, total=total, rate="", left="", facts=""), _bar.set(bar)

        def advance(amount: float = 1, **facts: Any) -> None:
            now = pace.add(amount)
            left = "" if (seconds := pace.left(now)) is None else str(timedelta(seconds=round(seconds)))
            speed = _speed(pace.done, pace.rate(now), unit)
            bar.update(line, advance=amount, rate=speed, left=left, facts=_in_words(facts))

        try:
            yield advance
        finally:
            _bar.reset(token)
            if not stays:
                bar.remove_task(line)


_bar: contextvars.ContextVar[Any] = contextvars.ContextVar("bar", default=None)


@contextlib.contextmanager
def _plain_lines(
    what: str, total: float | None, unit: str, stays: bool = True, every: float = 10.0
) -> Iterator[Advance]:
    pace = _Pace(total)
    last, is_over = pace.start, False

    def line(now: float, facts: dict[str, Any]) -> None:
        share = f"{min(100 * pace.done / total, 100):3.0f} %  " if total else ""
        left = "" if (seconds := pace.left(now)) is None else f"  {seconds:.0f} s left"
        speed = _speed(pace.done, pace.rate(now), unit)
        print(f"{what}  {share}{speed}{left}  {_in_words(facts)}".rstrip(), file=sys.stderr, flush=True)

    def advance(amount: float = 1, **facts: Any) -> None:
        nonlocal last, is_over
        now = pace.add(amount)
        ends = stays and not is_over and pace.ended
        if now - last >= every or ends:
            last, is_over = now, is_over or ends
            line(now, facts)

    yield advance

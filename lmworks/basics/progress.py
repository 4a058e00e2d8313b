"""Progress of long work: the library reports, whoever runs it decides what is shown.

    with progress.task("measuring", total=tokens, unit="tokens") as advance:
        advance(512, loss=2.31)

Silent unless `progress.shown()` is active (the command line's verbs run inside it). On a terminal it is a
live line with rate and time left; in a log file it is a plain line every ten seconds.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
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


def _speed(done: float, rate: float, unit: str) -> str:
    """Units a second, of bytes also how many; nothing where the unit is time itself."""
    if unit == "bytes":
        return f"{done / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s"
    if unit in ("", "s"):
        return ""
    return f"{rate:,.0f} {unit}/s" if round(rate) >= 10 else f"{rate:.2g} {unit}/s"


def _in_words(facts: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    )


@contextlib.contextmanager
def _live_line(what: str, total: float | None, unit: str, stays: bool = True) -> Iterator[Advance]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    start, done = time.monotonic(), 0.0
    end_line()
    outer = _bar.get()  # a nested task has its line below the outer one's
    new = Progress(*columns, console=terminal.console(stderr=True), transient=not stays)
    with contextlib.nullcontext(outer) if outer is not None else new as bar:
        line, token = bar.add_task(what, total=total, rate="", facts=""), _bar.set(bar)

        def advance(amount: float = 1, **facts: Any) -> None:
            nonlocal done
            done += amount
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(line, advance=amount, rate=_speed(done, rate, unit), facts=_in_words(facts))

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
    start = last = time.monotonic()
    done, is_over = 0.0, False

    def line(now: float, facts: dict[str, Any]) -> None:
        rate = done / max(now - start, 1e-9)
        share = f"{min(100 * done / total, 100):3.0f} %  " if total else ""
        left = f"  {max(total - done, 0) / rate:.0f} s left" if total and done >= total / 200 else ""
        print(
            f"{what}  {share}{_speed(done, rate, unit)}{left}  {_in_words(facts)}".rstrip(), file=sys.stderr, flush=True
        )

    def advance(amount: float = 1, **facts: Any) -> None:
        nonlocal done, last, is_over
        done += amount
        now = time.monotonic()
        ends = stays and bool(total) and not is_over and done >= (total or 0) * (1 - 1e-9)
        if now - last >= every or ends:
            last, is_over = now, is_over or ends
            line(now, facts)

    yield advance

"""Progress of long work: the library reports, whoever runs it decides what is shown.

    with progress.task("measuring", total=tokens, unit="tokens") as advance:
        advance(512, loss=2.31)

Silent unless `progress.shown()` is active (the command line's verbs run inside it). On a terminal it is a
live line with rate and time left; in a log file it is a plain line every ten seconds.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from lmworks.basics import terminal

Advance = Callable[..., None]

_reporter: contextvars.ContextVar[Any] = contextvars.ContextVar("reporter", default=None)


@contextlib.contextmanager
def task(what: str, total: float | None = None, unit: str = "") -> Iterator[Advance]:
    """Yield `advance(amount, **facts)`; the facts (loss, ...) are shown after the rate and the time left."""
    reporter = _reporter.get()
    if reporter is None:
        yield lambda amount=1, **facts: None
    else:
        with reporter(what, total, unit) as advance:
            yield advance


def note(sentence: str) -> None:
    """Tell the user something once, while work goes on: on standard error where progress is shown, else a warning."""
    if sentence in _said:
        return
    _said.add(sentence)
    if _reporter.get() is None:
        warnings.warn(sentence, stacklevel=3)
    else:
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


def _speed(rate: float, unit: str) -> str:
    """Units a second; nothing where the unit is time itself."""
    return "" if unit in ("", "s") else f"{rate:,.0f} {unit}/s"


def _in_words(facts: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    )


@contextlib.contextmanager
def _live_line(what: str, total: float | None, unit: str) -> Iterator[Advance]:
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
    with Progress(*columns, console=terminal.console(stderr=True)) as bar:
        line = bar.add_task(what, total=total, rate="", facts="")

        def advance(amount: float = 1, **facts: Any) -> None:
            nonlocal done
            done += amount
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(line, advance=amount, rate=_speed(rate, unit), facts=_in_words(facts))

        yield advance


@contextlib.contextmanager
def _plain_lines(what: str, total: float | None, unit: str, every: float = 10.0) -> Iterator[Advance]:
    start = last = time.monotonic()
    done, is_over = 0.0, False

    def line(now: float, facts: dict[str, Any]) -> None:
        rate = done / max(now - start, 1e-9)
        share = f"{min(100 * done / total, 100):3.0f} %  " if total else ""
        left = f"  {max(total - done, 0) / rate:.0f} s left" if total and rate else ""
        print(f"{what}  {share}{_speed(rate, unit)}{left}  {_in_words(facts)}".rstrip(), file=sys.stderr, flush=True)

    def advance(amount: float = 1, **facts: Any) -> None:
        nonlocal done, last, is_over
        done += amount
        now = time.monotonic()
        ends = bool(total) and not is_over and done >= (total or 0) * (1 - 1e-9)
        if now - last >= every or ends:
            last, is_over = now, is_over or ends
            line(now, facts)

    yield advance

"""Safe output: no file name, document or model output can send control sequences to the terminal.

`main` runs every verb inside `guarded()`, which makes control characters visible (\\x1b, \\u202e) in everything that is
printed. Tables and progress bars, which need control characters of their own, draw on `console()`; `verbatim` writes
what a model wrote to a pipe or a file unchanged.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Beyond ASCII written as \u202e, which JSON reads back as the same character.
_SHOWN = {code: f"\\x{code:02x}" for code in range(0x20) if chr(code) not in "\n\t"}
_SHOWN |= {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_SHOWN |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}


def printable(text: str) -> str:
    """The text with control characters, direction overrides and lone surrogates written as escape codes.

    Line ends and tabs stay.
    """
    return text.translate(_SHOWN)


def for_shell(path: str | os.PathLike[str]) -> str:
    """A path or name in a command that we suggest, quoted if the shell needs it."""
    return shlex.quote(str(path))


class _Guarded:
    """A text stream whose writes go through `printable`; everything else is the wrapped stream's."""

    def __init__(self, stream: Any) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        self.unguarded.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Guard standard output and standard error inside the block."""
    with contextlib.ExitStack() as stack:
        # Standard output is None where the shell closed it (`>&-`).
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(_Guarded(sys.stdout or nowhere)))
        stack.enter_context(contextlib.redirect_stderr(_Guarded(sys.stderr or nowhere)))
        yield


def unguarded(stream: Any) -> Any:
    """The wrapped stream, for output that draws with control characters of its own."""
    return getattr(stream, "unguarded", stream)


def verbatim(text: str) -> None:
    """Print what a model wrote: unchanged to a file or a pipe, made printable on a terminal."""
    stream = sys.stdout if sys.stdout.isatty() else unguarded(sys.stdout)
    stream.write(text)
    stream.flush()


def console(stderr: bool = False, **settings: Any) -> Console:
    """A rich console: it draws with control characters, and makes those in the text that it is given visible."""
    return _console_class()(file=unguarded(sys.stderr if stderr else sys.stdout), **settings)


@functools.cache
def _console_class() -> Any:
    import rich.console
    from rich.segment import Segment

    class Guarding(rich.console.Console):
        def render_str(self, text: str, **settings: Any) -> Any:
            return super().render_str(printable(text), **settings)  # before its width is measured

        def render(self, *arguments: Any, **settings: Any) -> Any:
            for text, style, control in super().render(*arguments, **settings):
                yield Segment(text if control else printable(text), style, control)

    return Guarding

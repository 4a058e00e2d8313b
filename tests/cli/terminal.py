"""A command line to type into: a child process on a pseudo-terminal, and `lmworks` in this process."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from types import TracebackType


class Terminal:
    """A program on a pseudo-terminal: `type` into it, `wait_for` what it shows."""

    def __init__(self, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        environment = os.environ | {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509 (it makes one system call and takes no lock)
        )
        os.close(theirs)
        self.shown = ""
        """Everything that came so far."""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        """Send keys; "\\x03" is Ctrl-C and "\\x04" Ctrl-D."""
        os.write(self._ours, text.encode())

    def wait_for(self, words: str, seconds: float = 120, again: str = "") -> str:
        """Read until `words` come; return what came up to and with them since the last call.

        The keys `again` are typed once more after every second without output, as a person would: CPython loses a
        Ctrl-C that comes in the moment before `input()` begins to wait for a key.
        """
        end = time.monotonic() + seconds
        came = ""
        while words not in came:
            left = max(end - time.monotonic(), 0)
            if not select.select([self._ours], [], [], min(left, 1) if again else left)[0]:
                if again and left:
                    self.type(again)
                    continue
                raise AssertionError(f"{words!r} did not come within {seconds} s; there is {came!r}")
            try:
                piece = os.read(self._ours, 1).decode("utf-8", "replace")
            except OSError:  # the program ended
                piece = ""
            if not piece:
                raise AssertionError(f"the program ended before {words!r} came; there is {came!r}")
            came += piece
        self.shown += came
        return came

    def end(self, seconds: float = 60) -> int:
        """Wait for the program's end; its exit code."""
        return self.process.wait(seconds)


def lmworks(*arguments: str) -> list[str]:
    """The command that runs lmworks with these arguments."""
    return [sys.executable, "-m", "lmworks", *arguments]


def _own_terminal() -> None:
    """Make the pseudo-terminal the controlling one, so that Ctrl-C on it is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

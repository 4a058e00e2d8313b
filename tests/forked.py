"""Work in a copy of this process, which may be killed or limited: it has loaded already what a new one takes seconds
to load. For work that begins no threads; what a user starts is started as a user does."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable

LONGEST = 120
"""Seconds: another thread of this process may have held a lock that its copy waits for."""


def forked(work: Callable[[], object]) -> tuple[int, str]:
    """How it ended, a negative number for the signal that killed it; and what it said on standard error."""
    with tempfile.TemporaryFile("w+") as said:
        pid = os.fork()
        if not pid:
            sys.stderr, code = said, 1
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LONGEST)
            try:
                work()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                said.flush()
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        return ended, said.read()

"""A disk that takes no more than so many bytes a file, as for a user whose disk is full."""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Writes past this size fail, and do not end the process. Nothing that is imported meanwhile is kept compiled:
    Python 3.11 does not look whether all of it was written, and whoever imports it next would read half a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

"""A limit on the size of files, which stands for a full disk."""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Writing more than this into a file fails, and does not end the process. No bytecode is kept meanwhile: Python
    3.11 does not check that all of it was written, and the next import would read half a file."""
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

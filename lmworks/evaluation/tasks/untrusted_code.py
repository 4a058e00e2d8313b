"""Run a program that a model wrote, in a process of its own with little time, memory and disk.

    if runs("assert 1 + 1 == 2"): ...

The process starts in an empty folder with an empty environment, and without a network where Linux allows user
namespaces. This guards against mistakes and not against malice: the program can read and delete its user's files. So
nothing runs unless the user allows it, and a model that nobody vouches for belongs in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

SECONDS, MEMORY, FILE = 10, 1 << 30, 1 << 20
"""Of the processor; bytes of memory; bytes of a file that it writes."""
PATIENCE = 6 * SECONDS
"""Seconds by the clock, for programs that wait."""

# The token is written after the last line of the program: one that exits before has not passed.
CHILD = f"""
import ctypes, os, resource, sys
token, program = sys.stdin.readline().strip(), sys.stdin.read()
told, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
for one in range(3):
    os.dup2(nowhere, one)
if sys.platform == "linux":
    ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)  # users and network
for what, most in (("CPU", {SECONDS}), ("AS", {MEMORY}), ("FSIZE", {FILE}), ("NPROC", 0), ("NOFILE", 64), ("CORE", 0)):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + what), (most, most))
    except (AttributeError, OSError, ValueError):  # not of this system
        pass
exec(compile(program, "<answer>", "exec"), {{"__name__": "__main__"}})
os.write(told, token.encode())
os._exit(0)
"""


def runs(program: str) -> bool:
    """Whether a Python program runs to its last line without an error, within the bounds."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="lmworks-") as folder:
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            told, _ = child.communicate(f"{token}\n{program}".encode("utf-8", "replace"), timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            told = b""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and whatever it started
            child.wait()
    return told == token.encode()

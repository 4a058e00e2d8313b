"""Run a program that a model wrote, in a process of its own with little time, memory and disk.

    if runs("assert 1 + 1 == 2"): ...

The process starts in an empty folder with an empty environment. Where Linux lets a process have namespaces of its own,
as root and as an ordinary user, it has no network, can write nowhere but in that folder, and all that it started ends
with it; where not, a warning says so. This guards against mistakes and not against malice: the program can read its
user's files and ask services that listen on Unix sockets. So nothing runs unless the user allows it, and a model that
nobody vouches for belongs in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress

SECONDS, MEMORY, FILE, DISK = 10, 1 << 30, 1 << 20, 16 << 20
"""Of the processor and bytes of memory, of each process; bytes of each file, and of all that it writes."""
PATIENCE = 6 * SECONDS
"""Seconds by the clock, for programs that wait."""
IN_THE_OPEN = 3
"""What the process returns where it could not have namespaces of its own."""
WARNING = (
    "this system does not let a process have Linux namespaces of its own: programs of the model may use the network, "
    "write your files and fill your disk, and what they start may outlive them; run them in a container"
)

# One process guards the one that the program runs in, as the first of a new PID namespace takes all others with it.
# The token is written after the last line of the program: one that exits before has not passed.
CHILD = f"""
import ctypes, os, resource, signal, struct, sys
(token, patience), program = sys.stdin.readline().split(), sys.stdin.read()
told, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
os.set_blocking(told, False)  # who floods it gets an error
for one in range(3):
    os.dup2(nowhere, one)
libc, linux = ctypes.CDLL(None), sys.platform == "linux"

def apart():
    "Leave the users', network's, processes', mounts' and System V's namespaces; whether it can."
    user, group, others = os.geteuid(), os.getegid(), 0x40000000 | 0x20000000 | 0x20000 | 0x08000000
    if libc.unshare(0x10000000 | others):
        return not libc.unshare(others)  # root may, where there are no namespaces of users
    maps = ("setgroups", "deny"), ("uid_map", f"{{user}} {{user}} 1"), ("gid_map", f"{{group}} {{group}} 1")
    for name, text in maps:
        with open("/proc/self/" + name, "w") as file:
            file.write(text)
    return True

def shut():
    "Nothing can be written but in this folder, which becomes a small one in memory."
    here, size = os.getcwd(), b"size={DISK},nr_inodes=4096"
    every = ctypes.c_char_p(struct.pack("QQQQ", 1, 0, 0, 0))  # to be read-only
    done = (
        not libc.mount(None, b"/", None, ctypes.c_ulong(0x4000 | 0x40000), None)  # private, so that no other sees it
        and not libc.syscall(442, -1, b"/", 0x8000, every, ctypes.c_size_t(32))  # mount_setattr, of all mounts
        and not libc.mount(b"tmpfs", here.encode(), b"tmpfs", ctypes.c_ulong(2 | 4), size)
    )
    os.chdir(here)
    return done

alone = inside = False
if linux:
    libc.prctl(1, signal.SIGKILL)  # ends with lmworks
    libc.prctl(36, 1)  # what loses its parent becomes a child of this process
    try:
        alone = apart()
        inside = alone and shut()
    except OSError:
        pass
guarded = os.fork()
if guarded:
    os.close(told)
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, lambda *_: os.kill(guarded, signal.SIGKILL))
    signal.alarm(int(patience))
    os.waitid(os.P_PID, guarded, os.WEXITED | os.WNOWAIT)
    signal.alarm(0)
    try:
        while True:  # whatever is left; of a PID namespace nothing is
            with open(f"/proc/self/task/{{os.getpid()}}/children") as file:
                for one in file.read().split():
                    os.kill(int(one), signal.SIGKILL)
            os.waitpid(-1, 0)
    except OSError:  # none, or not to be known
        pass
    os._exit(0 if inside else {IN_THE_OPEN})
if linux:
    libc.prctl(1, signal.SIGKILL)
if alone:
    os.setsid()
if inside:
    libc.prctl(38, 1, 0, 0, 0)  # no program that it starts has more rights, ...
    libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))  # ... and it cannot undo what was shut
for what, most in (("CPU", {SECONDS}), ("AS", {MEMORY}), ("FSIZE", {FILE}), ("NPROC", 0), ("NOFILE", 64), ("CORE", 0)):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + what), (most, most))
    except (AttributeError, OSError, ValueError):  # not of this system
        pass
exec(compile(program, "<answer>", "exec"), {{"__name__": "__main__"}})
os.write(told, token.encode())
os._exit(0)
"""
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Of NumPy, which an ordinary user's program may start no threads for, and which waits for them all the same."""


def runs(program: str) -> bool:
    """Whether a Python program runs to its last line without an error, within the bounds. Warns where the system does
    not let a process have namespaces of its own."""
    token = secrets.token_hex(16)
    # A program may have put a file in the place of its folder.
    with (
        tempfile.TemporaryDirectory(prefix="lmworks-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as said,
    ):
        said.write(f"{token} {PATIENCE}\n{program}".encode("utf-8", "replace"))
        said.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", CHILD],
            stdin=said,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=ONE_THREAD,
            start_new_session=True,
        )
        assert child.stdout is not None
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(PATIENCE + SECONDS)
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and whatever it started
            child.wait()
        with child.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)  # something that was started may hold it
            told = pipe.read(len(token) + 1)
    if child.returncode == IN_THE_OPEN and sys.platform == "linux":
        warnings.warn(WARNING, stacklevel=2)
    return told == token.encode()

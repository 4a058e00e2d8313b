"""Several processes of one command on this machine, as torchrun starts them, printing no more than one would.

    sys.exit(launch(2, ["train", "python-reference"]))

For several machines there is torchrun, which prints a report of its own below whatever error ends a run.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType

from lmworks.basics.errors import ConfigError

PATIENCE = 30.0
"""Seconds that the other processes have to end by themselves when one has failed; torchrun gives as many."""
MOST = 1024


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `lmworks ARGUMENTS` in a number of processes and wait for all; the exit code of the first that failed, or 0.

    Rank 0 speaks for all, as an error of one is everybody's; what the others wrote is shown only where rank 0 could not
    say anything. Ctrl-C and SIGTERM are handed on to all. ConfigError for a number of processes that makes no sense.
    """
    if not 1 <= processes <= MOST:
        raise ConfigError(f"--processes is {processes}; give a number from 1 to {MOST:,}")
    if "WORLD_SIZE" in os.environ:
        raise ConfigError(
            "--processes starts processes, and torchrun has started this one already; leave out one of the two"
        )
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    command = [sys.executable, "-m", "lmworks", *arguments]
    with tempfile.TemporaryFile() as others:
        started = []
        for rank in range(processes):
            ours = os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            silent = {"stdout": subprocess.DEVNULL, "stderr": others} if rank else {}
            started.append(subprocess.Popen(command, env=ours, **silent))  # type: ignore[call-overload]
        code = _wait(started)
        if code and started[0].returncode <= 0:  # it is well, or a signal killed it: it has not said why
            others.seek(0)
            sys.stderr.write(others.read().decode(errors="replace"))
    return code


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> int:
    """Until all are over; where one has failed, the others are asked to end, and killed when they do not."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    earlier = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    failed: int | None = None
    asked = 0.0
    try:
        while any(process.poll() is None for process in started):
            if failed is None:
                failed = next((one.returncode for one in started if one.poll()), None)
                asked = time.monotonic()
            elif time.monotonic() - asked > PATIENCE:
                for process in started:
                    process.kill()
            time.sleep(0.05)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    code = failed if failed is not None else next((one.returncode for one in started if one.returncode), 0)
    return 128 - code if code < 0 else code  # one that a signal killed, as a shell says it

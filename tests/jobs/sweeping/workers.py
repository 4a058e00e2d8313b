"""Workers of a sweep in processes of their own: `python workers.py TRIALS OUT STORAGE KILL_AT`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2]


def start_worker(trials: int, out: str, storage: str | None = None, kill_at: int = 0) -> subprocess.Popen[str]:
    """A process that is ready to sweep and waits to be told; killed in its `kill_at`-th step, where that is not 0."""
    return subprocess.Popen(
        [sys.executable, __file__, str(trials), out, storage or "", str(kill_at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
    )


def together(*workers: subprocess.Popen[str], expected: int = 0) -> None:
    """Let workers begin at the same moment, and see how they end."""
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n", worker.communicate()[1]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == expected, errors


def main() -> None:
    """One worker."""
    import lmworks.objectives.kinds.causal
    from jobs.sweeping.small import RECIPE, SPACE
    from lmworks.jobs.sweeping.run import sweep
    from lmworks.objectives import CausalLM

    trials, out, storage, kill_at = sys.argv[1:]

    class Killed(CausalLM):
        seen = 0

        def __call__(self, network: Any, batch: Any) -> Any:
            Killed.seen += 1
            if Killed.seen == int(kill_at):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(network, batch)

    lmworks.objectives.kinds.causal.CausalLM = Killed  # type: ignore[misc]
    print("ready", flush=True)
    sys.stdin.readline()
    sweep(RECIPE, SPACE, int(trials), out, storage=storage or None)


if __name__ == "__main__":
    main()

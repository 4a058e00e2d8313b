"""How PyTorch's threads wait for each other: for some microseconds busily, then asleep.

PyTorch's CPU wheel computes with OpenMP (libgomp). Between two pieces of work a thread that is done waits in a loop for
the others, 300,000 rounds unless told otherwise: 5 to 15 ms, longer than a core is lent to another process. Where
something else runs on the machine, the one thread burns its core while the other has none, and a LoRA step falls to a
fifth of its speed. 1,000 rounds are as fast on a quiet machine, as work is rarely further apart, and leave a fair share
on a busy one: figures in docs/log.md, repeated by `python -m benchmarks.busy`.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

ROUNDS = 1_000
"""Rounds of waiting busily, about 20 microseconds (AMD EPYC) to 50 (Intel Ice Lake)."""
SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""What libgomp reads; a value that the user has given to either stays."""


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set how long threads wait busily, for this process and those that it starts.

    libgomp reads it once, when torch is imported: later it changes nothing here.
    """
    if not any(name in environment for name in SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(ROUNDS)

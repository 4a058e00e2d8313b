"""How many threads PyTorch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """One thread for PyTorch, if that is `wanted`, where what is to do is small, or in small parts: its threads wait
    for each other busily, on the cores that others want (an engine's threads: 128 -> 180 tokens a second on two cores;
    another process: loading took 43 s instead of 4)."""
    threads = torch.get_num_threads()
    if not wanted or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""What a call costs: its operations, the most memory that it holds at once, its time, and how a cost grows.

Memory is counted operation by operation, so that it is the same on every machine, busy or not.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lmworks.basics import progress


def operations(call: Callable[[], Any]) -> int:
    """Multiplications and additions of a call's products of matrices, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def peak_memory(call: Callable[[], Any]) -> int:
    """Most bytes that the results of a call's operations held at once, its own result included."""
    with _Ledger() as ledger:
        call()
    return ledger.most


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The power of a law cost = a * size ** power, fitted on logarithms."""
    x = torch.tensor(sizes, dtype=torch.float64).log()
    y = torch.tensor(costs, dtype=torch.float64).log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def alternately(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 5) -> dict[str, list[float]]:
    """Seconds of each call in each round, the shortest of some repeats, which take turns: what else the machine does
    falls on all of them. The first round warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with progress.task("timing", rounds + 1, "rounds") as advance:
        for _ in range(rounds + 1):
            shortest = dict.fromkeys(calls, math.inf)
            for _ in range(repeats):
                for name, call in calls.items():
                    started = time.perf_counter()
                    call()
                    shortest[name] = min(shortest[name], time.perf_counter() - started)
            for name, each in shortest.items():
                seconds[name].append(each)
            advance(1)
    return {name: each[1:] for name, each in seconds.items()}


class _Ledger(TorchDispatchMode):
    """Counts the bytes of every tensor that an operation makes, for as long as anything holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.most = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = [leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                # A view shares the storage of an argument: nothing new.
                if storage not in self._known and all(storage is not other for other in before):
                    self._known.add(storage)
                    self.held += storage.nbytes()
                    weakref.finalize(storage, self._free, storage.nbytes())
        self.most = max(self.most, self.held)
        return result

    def _free(self, size: int) -> None:
        self.held -= size

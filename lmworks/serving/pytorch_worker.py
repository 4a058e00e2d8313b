"""Work beside the engine, in PyTorch: one job at a time, in a thread of its own, on a network that shares the weights.

The hooks, modes and packed copies of the engine's own network are never touched, so its answers stay what they would
be.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lmworks.basics.errors import QueueFull
from lmworks.language_model import LanguageModel

Result = TypeVar("Result")


class PyTorchWorker:
    """A thread and a queue of bounded length."""

    def __init__(self, queue: int) -> None:
        self._thread = ThreadPoolExecutor(1, "lmworks-pytorch")
        self._most, self._waiting = queue + 1, 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, called in the thread when its turn has come. QueueFull where too many wait."""
        if self._waiting >= self._most:
            raise QueueFull(f"{self._waiting - 1:,} requests wait already; ask again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Take no more work; what has begun is finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def twin(model: LanguageModel) -> LanguageModel:
    """The model once more, run by PyTorch: its weights are the same memory, everything else is its own."""
    from lmworks.models.block import run_plainly

    network = model.network
    shared: dict[int, Any] = {id(one): one for one in (*network.parameters(), *network.buffers())}
    made = copy.deepcopy(network, shared)
    made.run_block = run_plainly
    return LanguageModel(made.eval(), model.tokenizer, model.source, model.reference, model.exact)

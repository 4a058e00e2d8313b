"""Memory that tensors hold, watched from inside: bytes that autograd keeps, and the most that is alive at once.

Unlike the memory of a process both are the same on every machine and in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def kept(forward: Callable[[], Tensor], besides: Iterable[Tensor]) -> int:
    """Bytes that the graph of `forward()` holds for its backward, each storage once, without those of `besides`."""
    own = {tensor.untyped_storage().data_ptr() for tensor in besides}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(sizes.values())


class LiveBytes(TorchDispatchMode):
    """Inside this block: the bytes of all storages that an operation made and that are still alive, and of `tensors`.
    A view of what was there before is nothing new."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak, self.at_peak = 0, ""
        self._most = 0  # that may be alive now; counting all after every operation would take most of the time
        self._add(tensors)

    def _add(self, tensors: Iterable[Any], made: bool = True) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._alive or self._alive[storage._cdata][0].expired():
                    size = storage.nbytes() if made else 0
                    self._most += size
                    self._alive[storage._cdata] = (StorageWeakRef(storage), size)

    @property
    def now(self) -> int:
        """Bytes alive at this moment."""
        self._alive = {key: one for key, one in self._alive.items() if not one[0].expired()}
        return sum(size for _, size in self._alive.values())

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        self._add(tree_leaves((arguments, keywords)), made=False)
        result = function(*arguments, **(keywords or {}))
        self._add(tree_leaves(result))
        if self._most > self.peak:
            self._most = self.now
            if self._most > self.peak:
                self.peak, self.at_peak = self._most, str(function)
        return result

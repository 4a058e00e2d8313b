"""The next token and its log-probability from a row of logits, by the kernels and without a probability written down.

    drawn(logits, 1 / temperature, top_p=0.95, at=0.37)      # None: NumPy has to do it
    log_total(logits)                                        # log of the sum of e^logit; None likewise
    table_of([TokenChoice(1 / temperature, top_p=0.95)])     # for a tape that chooses by itself (run/network.py)

With the weights of a network streaming through the caches in between, each array of a vocabulary's size that is
written and read again, and each call of a library, costs ten times what it costs in a loop of its own: choosing took
0.38 ms of SmolLM2's 3.2.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.kernels.frame import CHUNK, Choosing, room_numbers
from lmworks.kernels.run.library import loaded
from lmworks.models.runner import TokenChoice

__all__ = ["CHUNK", "drawn", "log_total", "room_numbers", "table_of"]

_own = threading.local()


def table_of(choices: Sequence[TokenChoice]) -> np.ndarray:
    """What the kernels read of them, int64 [rows, Choosing]; it holds addresses of their `ends`."""
    table, before = np.empty((len(choices), len(Choosing)), np.int64), None
    for number, one in enumerate(choices):
        if one is before:  # as mostly after guesses
            table[number] = table[number - 1]
            continue
        table[number, Choosing.TOP_K :] = one.top_k, one.logprobs, one.ends.ctypes.data, len(one.ends), one.forbidden
        table[number].view(np.float64)[: Choosing.TOP_K] = one.factor, one.top_p, one.min_p
        before = one
    return table


def drawn(
    logits: Float[np.ndarray, " vocab"],
    factor: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    at: float = 0.0,
) -> int | None:
    """The token at the share `at` of the probabilities softmax(factor x logits) that the filters leave. None where no
    kernels are loaded, where the logits are not float32 numbers side by side or no numbers at all, and where top_p is 1
    but for rounding."""
    kernels = loaded()
    if kernels is None or not _is_plain(logits):
        return None
    size = len(logits)
    token = kernels.choose(logits.ctypes.data, size, factor, top_k, top_p, min_p, at, _room(size))
    return None if token < 0 else token


def log_total(logits: Float[np.ndarray, " vocab"]) -> float | None:
    """What is taken off a logit for its log-probability."""
    kernels = loaded()
    if kernels is None or not _is_plain(logits):
        return None
    return kernels.log_total(logits.ctypes.data, len(logits), _room(len(logits)))


def _is_plain(logits: np.ndarray) -> bool:
    return logits.dtype == np.float32 and logits.strides == (4,)


def _room(logits: int) -> int:
    """The address of this thread's room."""
    if getattr(_own, "logits", 0) < logits:
        _own.logits, _own.room = logits, np.empty(room_numbers(logits), np.float32)
        _own.address = int(_own.room.ctypes.data)
    return _own.address  # type: ignore[no-any-return]

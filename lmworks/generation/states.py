"""States of tokens, where somebody wants these and not the logits alone: tensors, whatever runs the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.threads import one_thread
from lmworks.models.kv_cache import KVCache
from lmworks.models.runner import RealTokens, Runner, TokenRows


def tensors(runner: Runner, tokens: TokenRows, mask: RealTokens | None) -> tuple[Tensor, Tensor | None]:
    """Rows of ids where the network is."""
    device = runner.network.device
    return torch.as_tensor(tokens, device=device), None if mask is None else torch.as_tensor(mask, device=device)


def hidden_of(
    runner: Runner, tokens: TokenRows, mask: RealTokens | None, cache: KVCache
) -> Float[Tensor, "batch seq dim"]:
    """The states of the tokens that are read."""
    with one_thread(runner.own_threads(cache)):
        return runner.hidden(*tensors(runner, tokens, mask), cache)


def logits_of(runner: Runner, states: Float[Tensor, "*batch dim"], cache: KVCache) -> Float[np.ndarray, "*batch vocab"]:
    """The logits after these states."""
    with one_thread(runner.own_threads(cache)):
        return runner.logits(states).cpu().numpy()


def without_padding(hidden: Float[Tensor, "batch seq dim"], mask: RealTokens | None) -> Float[Tensor, "read dim"]:
    """The states of the real tokens, one row after another."""
    return hidden.flatten(0, 1) if mask is None else hidden[torch.from_numpy(mask)]

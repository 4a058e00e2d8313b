"""Gradients by several threads, each of which takes rows of its own through the whole network.

PyTorch shares every product out among its threads, which meet after each, some thousand times in a step: where another
process takes the core of one, all wait. Threads with rows of their own meet once in a micro-batch. A LoRA step in
float32 is 8 % faster so, on a quiet machine and beside two busy processes (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from lmworks.basics.threads import one_thread
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Objective
from lmworks.objectives.cross_entropy import share_rows
from lmworks.tokens.batch import Batch
from lmworks.training.by_hand.fused_block import FusedBlocks
from lmworks.training.optimiser import trainable

T = TypeVar("T")
MOST = 20_000_000
"""Trained weights up to which it is done: each thread has gradients of its own."""


def go_apart(network: Network, objective: Objective, micro: Sequence[Batch]) -> bool:
    """Can rows of these batches be computed at the same time? Where PyTorch has threads that share them evenly, and
    nothing is drawn, watched or counted on the way: adapters and small networks in hand-written blocks, next tokens
    alone."""
    blocks = getattr(network, "run_block", None)
    return (
        any(parts_of(len(batch.tokens)) > 1 for batch in micro)
        and type(objective) is CausalLM
        and isinstance(blocks, FusedBlocks)
        and not blocks.by_shape
        and network.config.experts is None
        and not any(point.functions for point in blocks.points)
        and sum(parameter.numel() for parameter in trainable(network).values()) <= MOST
    )


def parts_of(rows: int) -> int:
    """Among how many threads that many rows are shared out evenly, each with as many of PyTorch's threads."""
    return math.gcd(rows, torch.get_num_threads())


def gradients(network: Network, objective: Objective, micro: Sequence[Batch]) -> tuple[float, int]:
    """What `accumulate` does: gradients of the mean loss over all micro-batches; that mean, and how much was counted.

    The threads' gradients are added in the order of their rows, so that a step gives the same bits each time.
    """
    counts = [sum(part) for part in zip(*(objective.counts(batch) for batch in micro), strict=True)]
    parameters = list(trainable(network).values())

    def part(rows: Batch) -> tuple[float, tuple[Tensor | None, ...]]:
        share = objective(network, rows).over(counts)
        return float(share.detach()), torch.autograd.grad(share, parameters, allow_unused=True)

    mean = 0.0
    for share, found in (one for batch in micro for one in _at_once(part, batch)):
        mean += share
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return mean, counts[0]


def _at_once(work: Callable[[Batch], T], batch: Batch) -> Iterator[T]:
    """Each part of the batch's rows, in their order, worked on by a thread of its own."""
    count = parts_of(len(batch.tokens))
    each = torch.get_num_threads() // count

    def begin() -> None:
        torch.set_num_threads(each)
        share_rows(count)

    with one_thread(), ThreadPoolExecutor(count, initializer=begin) as pool:
        yield from pool.map(work, batch.split(count))

"""Deep narrow networks of bytes, and how much of a gradient reaches each of their blocks: for experiments about depth.

network = deep_network(seed=1, layers=16, residual=False).double()
lengths = gradient_by_block(network, byte_batch(text, 32, rows=8, seed=1))    # 16 blocks: 17 places
left(lengths)                                         # powers of ten after 0, 1, ... 16 blocks: [0.0, -0.1, ...]
log_arrived(run, seed, PLAIN["ReLU"], lengths)        # the same as figures and as points of a line
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmworks.basics.errors import DataError
from lmworks.lab.bench.small_network import small_network
from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Metric
from lmworks.lab.run import Run
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import Batch

EDGE = 150.0
"""Powers of ten beyond which float64 measures no length, as its square is 0 or infinite."""
ARRIVED = Metric("gradient that reaches the first block, by that after the last", "powers of ten", margin=0.3)
"""0 where all of it does; a factor of two is worth a word."""
LEFT = Metric("what is left of a gradient", "powers of ten")
LOST = Metric("gradient lost with each block", "powers of ten", margin=0.025, ideal=0)
"""The slope of its logarithm by depth; a factor of two in twelve blocks is worth a word."""


def deep_network(seed: int, layers: int, dim: int = 48, context: int = 32, **settings: Any) -> Network:
    """Fresh weights that keep a signal's size through each matrix; plain GELU unless told otherwise, an untied head."""
    plain: dict[str, Any] = {"gated": False, "activation": "gelu", "tied": False, "scheme": "width", "heads": 2}
    return small_network(seed, dim=dim, layers=layers, context=context, **(plain | settings))


def gradient_by_block(network: Network, batch: Batch) -> list[float]:
    """The norm of the loss's gradient with respect to the residual stream before each block, and after the last."""
    count = len(network.blocks)
    paths = [*(f"blocks.{layer}.residual_in" for layer in range(count)), f"blocks.{count - 1}.residual_out"]
    found = activation_gradients(network, CausalLM(), batch, paths)
    return [float(found[path].double().norm()) for path in paths]


def left(lengths: Sequence[float]) -> list[float]:
    """How large each gradient is beside the last, in powers of ten, from the last block back to the first: 0 for equal,
    -3 for a thousandth, and at most EDGE either way.

    DataError where the last is zero or not finite.
    """
    if not (math.isfinite(lengths[-1]) and lengths[-1] > 0):
        raise DataError(
            f"the gradient after the last block is {lengths[-1]:g}, of which no share can be said to arrive"
        )
    return [logarithm(one / lengths[-1]) for one in reversed(lengths)]


def log_arrived(run: Run, seed: int, condition: Condition, lengths: Sequence[float]) -> None:
    """Log what arrives, what each block loses, and for a chart what is left after each: "ReLU 1", "ReLU 2", ..."""
    by_block = left(lengths)
    for through, value in enumerate(by_block):
        run.log(seed, condition[through], {LEFT: value}, clamped=abs(value) >= EDGE)
    lost = -float(np.polyfit(range(len(by_block)), by_block, 1)[0])
    run.log(seed, condition, {ARRIVED: by_block[-1], LOST: lost}, clamped=max(map(abs, by_block)) >= EDGE)


def logarithm(ratio: float) -> float:
    """The logarithm to base 10, between -EDGE and EDGE."""
    if not math.isfinite(ratio):
        return EDGE
    return min(max(math.log10(ratio), -EDGE), EDGE) if ratio > 0 else -EDGE

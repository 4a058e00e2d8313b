"""Deep narrow networks of bytes, and how much of a gradient reaches each of their blocks: for experiments about depth.

network = deep_network(seed=1, layers=16, residual=False)
lengths = gradient_by_block(network, byte_batch(text, 32, rows=8, seed=1))    # 16 blocks: 17 places
reach(lengths)                                                              # log10 of first by last
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.lab.bench.small_network import small_network
from lmworks.lab.chart import Chart, Series
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import Batch

FLOOR = 30.0
"""Ratios are cut off at this many powers of ten, both ways; zero counts as the smallest."""


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


def reach(lengths: Sequence[float]) -> float:
    """How large the first gradient is beside the last, in powers of ten: 0 for equal, -3 for a thousandth, at least
    -FLOOR.

    DataError where the last is zero or not finite.
    """
    if not (math.isfinite(lengths[-1]) and lengths[-1] > 0):
        raise DataError(
            f"the gradient after the last block is {lengths[-1]:g}, of which no share can be said to arrive"
        )
    return logarithm(lengths[0] / lengths[-1])


def reach_by_seed(lengths: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """The same for each seed."""
    return {seed: reach(one) for seed, one in lengths.items()}


def gradient_chart(title: str, lengths: Mapping[str, Mapping[int, Sequence[float]]]) -> Chart:
    """What is left of a gradient by the number of blocks it came through, for each kind of network; mean over seeds."""
    series = []
    for kind, by_seed in lengths.items():
        places = len(next(iter(by_seed.values())))
        heights = (fmean(reach(one[at:]) for one in by_seed.values()) for at in reversed(range(places)))
        series.append(Series(name=kind, x=tuple(map(float, range(places))), y=tuple(heights)))
    return Chart(
        kind="line",
        title=title,
        x_label="blocks that it has come through",
        y_label="powers of ten",
        series=tuple(series),
    )


def logarithm(ratio: float) -> float:
    """The logarithm to base 10, between -FLOOR and FLOOR."""
    if not math.isfinite(ratio):
        return FLOOR
    return min(max(math.log10(ratio), -FLOOR), FLOOR) if ratio > 0 else -FLOOR

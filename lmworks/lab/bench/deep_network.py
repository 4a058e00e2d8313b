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
"""Powers of ten that are told apart: less counts as this, nothing too, and more as its opposite."""


def deep_network(seed: int, layers: int, dim: int = 48, context: int = 32, **settings: Any) -> Network:
    """Fresh weights that keep a signal's size through each matrix, plain GELU unless told otherwise, a head of its own."""
    plain: dict[str, Any] = {"gated": False, "activation": "gelu", "tied": False, "scheme": "width", "heads": 2}
    return small_network(seed, dim=dim, layers=layers, context=context, **(plain | settings))


def gradient_by_block(network: Network, batch: Batch) -> list[float]:
    """The length of the loss's gradient by the stream before each block, and behind the last."""
    count = len(network.blocks)
    paths = [*(f"blocks.{layer}.residual_in" for layer in range(count)), f"blocks.{count - 1}.residual_out"]
    found = activation_gradients(network, CausalLM(), batch, paths)
    return [float(found[path].double().norm()) for path in paths]


def reach(lengths: Sequence[float]) -> float:
    """How much of the last gradient the first is, in powers of ten: 0 for all, -3 for a thousandth, never below -FLOOR.

    DataError where the last is nothing or not finite itself.
    """
    if not (math.isfinite(lengths[-1]) and lengths[-1] > 0):
        raise DataError(
            f"the gradient behind the last block is {lengths[-1]:g}, of which no share can be said to arrive"
        )
    return logarithm(lengths[0] / lengths[-1])


def reached(lengths: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """The same for each seed."""
    return {seed: reach(one) for seed, one in lengths.items()}


def way_back(title: str, lengths: Mapping[str, Mapping[int, Sequence[float]]]) -> Chart:
    """What is left of a gradient by the blocks that it came through, for kinds of networks, mean of powers over seeds."""
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
    """To the base of ten, between -FLOOR and FLOOR."""
    if not math.isfinite(ratio):
        return FLOOR
    return min(max(math.log10(ratio), -FLOOR), FLOOR) if ratio > 0 else -FLOOR

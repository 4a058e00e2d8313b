"""Outliers: the few inputs of a matrix that are so large that the others of their group, rounded to 8 bits of the largest, would lose
most of theirs. They are multiplied in float32 instead (after LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339).

In a transformer they are the same inputs for nearly all tokens, whatever the text, so that 64 drawn tokens show them. In SmolLM2
up to 8 of 576 or 1,536 inputs take two thirds of the KL divergence away that values in 8 bits cost (docs/log.md).

Table of a matrix, int64, read by those who round its inputs:
    for each group of 32      where its outliers stand in the table (bytes), how many they are
    for each outlier          4 x its place in the group, where its value goes behind the token's scales (bytes)
Another one is read by the matrix (matrix.py):
    for each outlier          where a block's codes of it begin (bytes), their place in a lane (bits), where its scales begin
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmworks.models.linear import Linear
from lmworks.models.network import Network, evaluating
from lmworks.models.quantise import GROUP

MOST = 8
"""Of one matrix: they take 2 % of a long prompt's time in SmolLM2, and none of a single step's, which waits for the weights."""
LEAST = 0.02
"""An input that takes less than this share of a matrix's error away stays with the others."""
DRAWN = 64
"""Tokens that are looked at."""


@torch.no_grad()
def outliers(network: Network) -> dict[str, tuple[int, ...]]:
    """The outliers among the inputs of each matrix that is packed, rising, by its name; none for attention's output, whose inputs have
    hardly any. Runs PyTorch's network on drawn tokens."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        return lambda _, given: seen.__setitem__(name, given[0].flatten(0, -2).float())

    config, matrices = network.config, _matrices(network)
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (1, min(DRAWN, config.context)), generator=draws)
    hooks = [one.register_forward_pre_hook(keep(f"{name}.weight")) for name, one in matrices.items()]
    threads, engine = torch.get_num_threads(), network.engine
    torch.set_num_threads(1)  # sums of several threads have no one order, and what is chosen shall not hang on it
    network.engine = None
    try:
        with evaluating(network):
            hidden = network.hidden(tokens)
    finally:
        torch.set_num_threads(threads)
        network.engine = engine
        for hook in hooks:
            hook.remove()
    head = "embedding.weight" if network.head is None else "head.weight"
    weights = {f"{name}.weight": one.weight for name, one in matrices.items()} | {head: network.head_weight}
    seen[head] = hidden.flatten(0, -2).float()
    return {name: chosen(inputs, column_norms(weights[name])) for name, inputs in seen.items()}


def chosen(inputs: Float[Tensor, "tokens width"], norms: Float[Tensor, " width"]) -> tuple[int, ...]:
    """Those that take most of the error away, one after another. A group's error is the square of its largest value times the squares
    of all its weights (`norms`: of each column), as a share of the token's."""
    errors = inputs.square().view(len(inputs), -1, GROUP) * norms.view(-1, GROUP).sum(-1, keepdim=True)
    errors /= errors.amax(-1).sum(-1)[:, None, None].clamp_min(1e-30)
    if not torch.isfinite(errors).all():
        return ()
    taken: list[int] = []
    gains, places = _gains(errors)
    while len(taken) < MOST and float(gains.max()) >= LEAST:
        group = int(gains.argmax())
        taken.append(group * GROUP + int(places[group]))
        errors[:, group, places[group]] = 0
        gains[group], places[group] = (one[0] for one in _gains(errors[:, group : group + 1]))
    return tuple(sorted(taken))


def _gains(
    errors: Float[Tensor, "tokens groups inputs"],
) -> tuple[Float[Tensor, " groups"], Int[Tensor, " groups"]]:
    """The input of each group that is the largest in the mean, and what of the error goes with it."""
    places = errors.mean(0).argmax(-1)
    without = errors.scatter(2, places[None, :, None].expand(len(errors), -1, 1), 0)
    return (errors.amax(-1) - without.amax(-1)).mean(0), places


def column_norms(weight: Float[Tensor, "rows width"]) -> Float[Tensor, " width"]:
    """The square of each column's length, a few thousand rows at once: a vocabulary's matrix is not copied to float32."""
    parts = [part.float().square().sum(0) for part in weight.split(4096)]
    return torch.stack(parts).sum(0)


def table_for_values(places: Sequence[int], groups: int) -> np.ndarray:
    """What those who round the inputs read."""
    begins, listed = np.searchsorted(places, GROUP * np.arange(groups + 1)), 16 * groups
    heads = [(listed + 16 * begin, end - begin) for begin, end in itertools.pairwise(begins)]
    tails = [(4 * (place % GROUP), 4 * (groups + number)) for number, place in enumerate(places)]
    return np.array([*heads, *tails], np.int64)


def table_for_weights(places: Sequence[int], bits: int) -> np.ndarray:
    """What the matrix reads: where an outlier's weights stand in a block of rows (the layout: matrix.py)."""
    size, rows = 64 * bits + 64, []
    for place in places:
        group, quad = place // GROUP * size, place % GROUP // 4
        vector, shift = (quad % 4, 4 * (quad // 4)) if bits == 4 else (quad, 0)
        rows.append((group + 64 * vector, 8 * (place % 4) + shift, group + 64 * bits))
    return np.array(rows, np.int64).reshape(-1, 3)


def _matrices(network: Network) -> dict[str, Linear]:
    ends = ("attention.qkv", "feed_forward.up", "feed_forward.down")
    return {name: one for name, one in network.named_modules() if isinstance(one, Linear) and name.endswith(ends)}

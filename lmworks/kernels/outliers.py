"""Outliers: the few inputs of a matrix that are so large that the others of their group, rounded to 8 bits of the
largest, would lose most of theirs. They are multiplied in float32 instead (after LLM.int8(), Dettmers et al. 2022,
arXiv:2208.07339).

In a transformer they are the same inputs for nearly all tokens, whatever the text, so 64 random tokens show them. In
SmolLM2, up to 8 of 576 or 1,536 inputs take away two thirds of the KL divergence that values in 8 bits cost
(docs/log.md).

Table of a matrix, int64, read by the step that rounds its inputs:
    for each group of 32      where its outliers are listed in the table (bytes), and how many
    for each outlier          4 x its place in the group, where its value goes, in bytes from the token's scales
Another table is read by the matrix (operations/matrix.py):
    their number
    for each outlier          for each plane of its codes: where a block's vector begins (bytes), and the place in it
                              (bits); then where its run of groups begins (bytes), and the number of its scale in it
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmworks.basics.threads import one_thread
from lmworks.kernels.quantisation import Quantisation
from lmworks.models.adapted import adapted_layers
from lmworks.models.files.quantise import GROUP
from lmworks.models.hooks import hook_points
from lmworks.models.linear import Linear
from lmworks.models.network import Network
from lmworks.models.unread import let_go, peek, peeked, pieces, unread_of

MOST = 8
"""Of one matrix: they take 3 % of a long prompt's time in SmolLM2; a step waits for weights."""
LEAST = 0.02
"""An input that takes away less than this share of a matrix's error stays with the others."""
DRAWN = 64
"""Tokens that are run to find them."""


_alone = threading.Lock()


@torch.no_grad()
def outliers(network: Network, advance: Callable[[int], None] = lambda weights: None) -> dict[str, tuple[int, ...]]:
    """The outliers among the inputs of each packed matrix, rising, by its name; none for attention's output, whose
    inputs have hardly any. Runs PyTorch's network on random tokens, in the format of its weights, which has a small
    part in the choice. Weights that are unread are read layer by layer, and forgotten again."""
    private, found = _private(network), {}
    ends = ("attention.qkv", "feed_forward.up", "feed_forward.down")
    linear = {path.removesuffix(".base"): one for path, one in private.named_modules() if isinstance(one, Linear)}

    def look(name: str, matrix: Linear) -> None:
        def after(_: nn.Module, given: tuple[Tensor], __: Tensor) -> None:
            if name.endswith(ends):
                found[f"{name}.weight"] = chosen(given[0].flatten(0, -2).float(), column_norms(matrix.weight))
            matrix.product.drop()  # a copy as large as the weight
            advance(matrix.weight.numel())
            let_go(matrix)

        matrix.register_forward_hook(after)

    for name, matrix in linear.items():
        look(name, matrix)
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, network.config.vocab_size, (1, min(DRAWN, network.longest)), generator=draws)
    # PyTorch's sums depend on its number of threads; the choice should not.
    with _alone, one_thread():
        hidden = private.hidden(_renumbered(private, tokens))
    head, weight = _head(network)
    found[head] = chosen(hidden.flatten(0, -2).float(), column_norms(weight))
    advance(weight.numel())
    return found


def _renumbered(private: Network, tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """The same tokens; where the embedding is unread, only their rows are read, and they are numbered by these."""
    unread = unread_of(peek(private.embedding, "weight"))
    if unread is None:
        return tokens
    ids, numbers = tokens.unique(return_inverse=True)
    rows = [unread.rows(one, one + 1) for one in ids.tolist()]
    private.embedding = nn.Embedding.from_pretrained(torch.cat(rows))
    return numbers


def _head(network: Network) -> tuple[str, Tensor]:
    """The matrix that makes logits, with its name."""
    if network.head is None:
        return "embedding.weight", peek(network.embedding, "weight")
    return "head.weight", peek(network.head, "weight")


def _private(network: Network) -> Network:
    """The same weights in a network of their own: no engine, dropout, adapters or hooks, seen by no other thread."""
    weights = {id(one): one for one in (*peeked(network).values(), *network.buffers())}
    private = copy.deepcopy(network, weights).eval()
    for point in hook_points(private).values():
        point.functions.clear()
    for layer in adapted_layers(private).values():
        layer.enabled = False
    for part in private.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    return private


def chosen(inputs: Float[Tensor, "tokens width"], norms: Float[Tensor, " width"]) -> tuple[int, ...]:
    """Those that take away most of the error, one after another. A group's error is the square of its largest value
    times the squares of all its weights (`norms`: of each column), as a share of the token's."""
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
    """The input of each group that is the largest on average, and the error that goes with it: or, where others are as
    large, its part of what goes with the first two, three or four."""
    order = errors.mean(0).argsort(-1, descending=True)
    ranked = errors.gather(2, order.expand_as(errors))
    left = [ranked[..., count:].amax(-1).mean(0) for count in range(5)]
    gains = [(left[0] - less) / count for count, less in enumerate(left[1:], start=1)]
    return torch.stack(gains).amax(0), order[:, 0]


def column_norms(weight: Float[Tensor, "rows width"]) -> Float[Tensor, " width"]:
    """The square of each column's length, a few thousand rows of some columns at once: a large matrix is not copied to
    float32, and what is copied stays in the processor's cache."""
    parts = [torch.cat([some.float().square().sum(0) for some in part.split(128, 1)]) for part in pieces(weight, 4096)]
    return torch.stack(parts).sum(0)


def table_for_values(places: Sequence[int], groups: int) -> np.ndarray:
    """What the step that rounds the inputs reads."""
    begins, listed = np.searchsorted(places, GROUP * np.arange(groups + 1)), 16 * groups
    heads = [(listed + 16 * begin, end - begin) for begin, end in itertools.pairwise(begins)]
    tails = [(4 * (place % GROUP), 4 * (groups + number)) for number, place in enumerate(places)]
    return np.array([*heads, *tails], np.int64)


def table_for_weights(places: Sequence[int], quantisation: Quantisation) -> np.ndarray:
    """What the matrix reads: where an outlier's weights are in a block of rows."""
    rows = []
    for place in places:
        run, number = quantisation.place_of(place // GROUP)
        row: list[int] = []
        for plane in quantisation.places:
            vector, shift = plane.place(place % GROUP // 4)
            row += [run + number * quantisation.codes_bytes + 64 * vector, 8 * (place % 4) + shift]
        half = place % GROUP // 16 if quantisation.parts == 2 else 0
        rows.append((*row, run, number * quantisation.parts + half))
    return np.array([len(rows), *itertools.chain(*rows)], np.int64)

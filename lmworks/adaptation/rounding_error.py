"""Adapters that begin at what rounding takes from their matrices, so that training need not find it again.

    inputs = inputs_of(network, CausalLM(), rows)           # before anything is changed
    begin_at_rounding_error(network, NF4.of, inputs)        # adapters are on it, and matrices are not rounded yet

Of the error of a matrix an adapter takes the part of its rank that changes the outputs least wrongly: columns count by
the mean square of what comes in. A, too, is no longer random then.

Source: LoftQ (Li et al. 2023, https://arxiv.org/abs/2310.08659), with the weights of LQER (Zhang et al. 2024,
https://arxiv.org/abs/2402.02446).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lmworks.adaptation.frozen import PackedMatrix
from lmworks.adaptation.lora import LoRALinear, lora_layers
from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.models.input_squares import summed_squares
from lmworks.models.network import Network, evaluating
from lmworks.objectives import Objective
from lmworks.tokens.batch import Row, stack

ENOUGH = 4096
"""Tokens that are looked at."""
FAINTEST = 1e-6
"""What an input's mean square counts at least, as a share of the mean of all: no column is divided by nothing."""
NOTHING = 1e-4
"""A singular value that is none, as a share of the largest."""
SPARE, TURNS = 8, 8
"""More directions than are wanted, and products with the matrix, to find the largest singular vectors of a matrix that
has many alike (Halko et al. 2011, https://arxiv.org/abs/0909.4061)."""

Inputs = Mapping[str, Float[Tensor, " inputs"]]


@torch.no_grad()
def inputs_of(network: Network, objective: Objective, rows: Sequence[Row]) -> Inputs:
    """By the path of each matrix how much each column's inputs count: mean squares over some of the rows, as the
    objective has the network read them, of mean 1."""
    total = min(ENOUGH, sum(len(example.tokens) for row in rows for example in row))
    done, task = 0, progress.task("looking at what counts", total, "tokens", stays=False)
    with summed_squares(network) as sums, evaluating(network), task as advance:
        for place, row in enumerate(rows):
            batch = objective.prepare(stack([row]), [place])
            objective(network, batch.to(network.device))
            read = int((batch.documents >= 0).sum())
            advance(min(read, total - done))
            if (done := done + read) >= ENOUGH:
                break
    return {path: (one / one.mean().clamp_min(1e-30)).clamp_min(FAINTEST) for path, one in sums.items()}


@torch.no_grad()
def begin_at_rounding_error(network: Network, pack: Callable[[Tensor], PackedMatrix], inputs: Inputs) -> None:
    """Give each adapter the update of its rank that is nearest to what `pack` will take from its matrix, one of those
    of the model's files.

    What the error has no direction for begins as it was: an adapter whose A and B were both 0 would never learn. So
    does one whose matrix has no entry in `inputs`, or has numbers that are not finite.
    """
    wanted = [(path, layer) for path, layer in lora_layers(network).items() if path in inputs]
    with progress.task("fitting adapters to what rounding takes", len(wanted), "matrices", stays=False) as advance:
        for path, layer in wanted:
            weight, counts = layer.base.weight, inputs[path].sqrt()
            assert isinstance(weight, Tensor)
            for at, part in enumerate(layer.parts):
                own = weight[part.rows]  # packed by itself, as the model's files hold it
                lost = (own.float() - pack(own).weights(torch.float32)) * counts
                if torch.isfinite(lost).all():
                    _begin(layer, at, lost, counts)
            advance(1)


def _begin(layer: LoRALinear, at: int, lost: Float[Tensor, "rows inputs"], counts: Float[Tensor, " inputs"]) -> None:
    """Of the part that stands there."""
    left, sizes, right = _largest(lost, layer.rank)
    share = (sizes / layer.scale).sqrt()
    layer.up[at][:, : len(sizes)] = left * share
    layer.down[at * layer.rank :][: len(sizes)] = (right * share).T / counts


def _largest(
    matrix: Float[Tensor, "rows columns"], rank: int
) -> tuple[Float[Tensor, "rows found"], Float[Tensor, " found"], Float[Tensor, "columns found"]]:
    """The largest singular values of a matrix with their vectors, at most `rank` and none that are next to nothing; the
    same for the same matrix."""
    with torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
        torch.manual_seed(0)
        wanted = min(rank + SPARE, *matrix.shape)
        left, sizes, right = torch.svd_lowrank(matrix, q=wanted, niter=TURNS)
    found = min(rank, int((sizes > NOTHING * sizes[0]).sum()))
    return left[:, :found], sizes[:found], right[:, :found]

"""Muon for the matrices of blocks, AdamW for the rest.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest
matrix with orthonormal rows or columns: every direction is learnt at the same rate. Newton and Schulz's iteration finds
it, with the coefficients of Amsel et al. 2025 (https://arxiv.org/abs/2505.16932): another polynomial each step, the
first four of them. Query, key and value, or gate and up, share a matrix here and are orthogonalised one by one. Where
ranks hold some rows each, the iteration needs all of them: each rank gathers the matrix, iterates, and takes its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lmworks.models.families.sources import rows_of
from lmworks.training.declaration import SINGLE, CountedParameters, Group, OptimiserKind, Rule, Stepped
from lmworks.training.optimiser import Named, groups
from lmworks.training.optimisers import adamw

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float
    from lmworks.models.config import ModelConfig
    from lmworks.models.network import Network

POLYNOMIALS = (
    (8.2872, -23.5959, 17.3004),
    (4.1071, -2.9478, 0.5448),
    (3.9487, -2.9089, 0.5518),
    (3.3184, -2.4885, 0.5100),
)


class MuonSettings(adamw.AdamWSettings):
    """Settings of a run with Muon."""

    embedding_learning_rate: float | None = Field(default=None, gt=0)
    """The highest rate of what is no block's matrix (embeddings, head, norms); None for `learning_rate`, which is that
    of the blocks' matrices (0.02 is usual)."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's; it rises to this from 0.1 less over the first 100 steps."""


def orthogonalised(
    matrices: Float[Tensor, "batch rows columns"],
    polynomials: Sequence[tuple[float, float, float]] = POLYNOMIALS,
    dtype: torch.dtype | None = None,
    margin: float = 1.02,
) -> Float[Tensor, "batch rows columns"]:
    """The factor U V^T of each matrix's U S V^T, roughly: singular values above 0.001 of the norm become 0.43 to
    1.56. Computed in `dtype`, or float32.

    The norm is divided by `margin` more, as rounding may lift a singular value above 1, where the iteration diverges.
    """
    import torch

    x = matrices.to(dtype or torch.float32)
    wide = x.mT if x.shape[-2] > x.shape[-1] else x
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) * margin + 1e-6)
    for linear, cubic, quintic in polynomials:
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return (wide.mT if x.shape[-2] > x.shape[-1] else wide).to(matrices.dtype)


def _step(group: Group, given: Sequence[Stepped]) -> None:
    """Nesterov momentum, orthogonalised, all matrices of one shape at once."""
    import torch

    from lmworks.training.sharding import first_row, spread, whole

    heights = dict(zip(map(id, group["params"]), group["splits"], strict=True))
    by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor, slice]]] = {}
    for parameter, weight, gradient, state in given:
        momentum = group["settings"].momentum - 0.1 * max(0.0, 1 - (int(state["step"]) - 1) / 100)
        state["momentum"].lerp_(gradient, 1 - momentum)
        direction = gradient.lerp_(state["momentum"], momentum)
        begin, first = 0, first_row(parameter)
        for part in whole(spread(direction, parameter)).split(heights[id(parameter)]):
            start = max(begin, first)
            stop = max(start, min(begin + len(part), first + len(weight)))
            here = slice(start - begin, stop - begin)
            rows = part.flatten(1)  # a convolution's filters are the rows of a matrix
            by_shape.setdefault(tuple(rows.shape), []).append((rows, weight[start - first : stop - first], here))
            begin += len(part)
    for (height, width), parts in by_shape.items():
        stacked = torch.stack([direction for direction, *_ in parts])
        steps = orthogonalised(stacked, dtype=given[0].parameter.dtype)
        scale = max(1.0, height / width) ** 0.5
        moves = [step[here].view(rows.shape) for step, (_, rows, here) in zip(steps, parts, strict=True)]
        torch._foreach_add_([rows for _, rows, _ in parts], moves, alpha=-group["lr"] * scale)


RULE = Rule("muon", ("momentum",), _step)


def _make(network: Network, parameters: Named, config: MuonSettings) -> torch.optim.Optimizer:
    from lmworks.training.rules import Rules

    matrices = {
        name: one for name, one in parameters.items() if _in_blocks(name) and one.ndim in (2, 4) and not _gates(name)
    }
    rest = {name: one for name, one in parameters.items() if name not in matrices}
    made = [group | {"rule": adamw.RULE} for group in groups(rest, config, config.embedding_learning_rate)]
    if matrices:
        splits = [_heights(name, one, _of_tower(name, network.config)) for name, one in matrices.items()]
        made += [group | {"rule": RULE, "splits": splits} for group in groups(matrices, config)]
    return Rules(made, config)


def _heights(name: str, matrix: nn.Parameter, config: ModelConfig) -> list[int]:
    """The heights of the matrices that stand below one another in a joined one."""
    joined = name.endswith((".attention.qkv.weight", ".cross_attention.kv.weight")) or (
        ".feed_forward." in name and name.endswith(".up.weight") and config.gated
    )
    return rows_of(name, config) if joined else [matrix.shape[0]]


def _gates(name: str) -> bool:
    """Does it only choose or weigh experts? Such scores are learnt as a head is, not as fast in every direction."""
    return name.endswith((".router.weight", ".shared_gate.weight"))


def _in_blocks(name: str) -> bool:
    """Is it in a block, of the decoder, of the encoder beside it, of one of two towers, or beside one?"""
    return name.startswith(("blocks.", "encoder.blocks.", "image.blocks.", "text.blocks.", "beside.blocks."))


def _of_tower(name: str, config: Any) -> ModelConfig:
    """The config of the blocks that a matrix is in: that of its tower, where there are two."""
    tower = name.partition(".")[0]
    found: ModelConfig = getattr(config, tower) if tower in ("image", "text") else config
    return found


def _working(counted: CountedParameters) -> float:
    """Of what AdamW steps, gradients and the roots of squares; of the matrices, those of one shape, stacked."""
    rest = (counted.every - counted.matrices) * (SINGLE + counted.copied)
    stacked = counted.stacked * (2 * SINGLE + 2 * counted.value)
    return float(max(rest, counted.matrices * counted.copied + stacked))


MUON = OptimiserKind(
    "muon",
    "Muon for the blocks' matrices and AdamW for the rest",
    MuonSettings,
    _make,
    keeps=lambda counted: 2 * counted.every - counted.matrices,
    working=_working,
    leaves_holes=True,
    usual_rate=lambda depth: 0.02,
    for_blocks=True,
)

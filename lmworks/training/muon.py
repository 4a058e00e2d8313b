"""Muon for the matrices of blocks, AdamW for the rest, in one optimiser that keeps float32 masters of bfloat16 weights.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest
matrix with orthonormal rows or columns: every direction is learnt at the same rate. Newton and Schulz's iteration finds it, with the
coefficients of Amsel et al. 2025 (https://arxiv.org/abs/2505.16932): another polynomial each step, the first four of them.
Query, key and value, or gate and up, share a matrix here and are orthogonalised apart. Where ranks hold some rows each,
the iteration needs all of them: each rank gathers the matrix, iterates, and takes its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.training.settings import TrainingConfig
from lmworks.training.sharding import first_row, local, spread, whole

POLYNOMIALS = (
    (8.2872, -23.5959, 17.3004),
    (4.1071, -2.9478, 0.5448),
    (3.9487, -2.9089, 0.5518),
    (3.3184, -2.4885, 0.5100),
)
EPS = 1e-8  # AdamW's, as torch's


def orthogonalised(
    matrices: Float[Tensor, "batch rows columns"],
    polynomials: Sequence[tuple[float, float, float]] = POLYNOMIALS,
    dtype: torch.dtype = torch.float32,
    margin: float = 1.02,
) -> Float[Tensor, "batch rows columns"]:
    """The factor U V^T of each matrix's U S V^T, roughly: singular values above 0.001 of the norm become 0.43 to
    1.56. Computed in `dtype`.

    The norm is divided by `margin` more, as rounding may lift a singular value above 1, where the iteration diverges.
    """
    x = matrices.to(dtype)
    wide = x.mT if x.shape[-2] > x.shape[-1] else x
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) * margin + 1e-6)
    for linear, cubic, quintic in polynomials:
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return (wide.mT if x.shape[-2] > x.shape[-1] else wide).to(matrices.dtype)


class MuonAdamW(torch.optim.Optimizer):
    """Groups with `method` "muon" or "adamw"; a step reads each group's `lr`, `weight_decay`, and betas or momentum.

    A group of muon has `splits`: for each parameter the heights of the matrices that stand below one another in it.
    Weights in bfloat16 would lose most steps to rounding, so their float32 masters are part of the state.
    """

    def __init__(self, groups: list[dict[str, Any]], config: TrainingConfig) -> None:
        defaults = {"lr": config.learning_rate, "betas": (config.beta1, config.beta2), "momentum": config.momentum}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that the parameters hold."""
        for group in self.param_groups:
            (self._muon if group["method"] == "muon" else self._adamw)(group)

    def _began(self, parameter: nn.Parameter, *names: str) -> tuple[Tensor, dict[str, Any]]:
        """The float32 weight that steps are added to, and the parameter's state, the rows that are here of both; made at
        its first step."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state |= {name: torch.zeros_like(parameter, dtype=torch.float32) for name in names}
            if parameter.dtype != torch.float32:
                state["master"] = parameter.detach().float()
        return local(state.get("master", parameter)), {name: local(value) for name, value in state.items()}

    def _adamw(self, group: dict[str, Any]) -> None:
        """Loshchilov and Hutter 2017; equal to torch's own."""
        parameters, (beta1, beta2) = [one for one in group["params"] if one.grad is not None], group["betas"]
        if not parameters:
            return
        begun = [self._began(parameter, "mean", "square") for parameter in parameters]
        weights, states = [weight for weight, _ in begun], [state for _, state in begun]
        gradients = [local(parameter.grad).float() for parameter in parameters]
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        torch._foreach_add_([state["step"] for state in states], 1)
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        counts = [int(state["step"]) for state in states]
        roots = torch._foreach_div(squares, [1 - beta2**count for count in counts])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, EPS)
        torch._foreach_addcdiv_(weights, means, roots, [-group["lr"] / (1 - beta1**count) for count in counts])
        self._round(parameters, weights)

    def _muon(self, group: dict[str, Any]) -> None:
        """Nesterov momentum, orthogonalised, all matrices of one shape at once."""
        parameters: list[nn.Parameter] = []
        weights: list[Tensor] = []
        by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor, slice]]] = {}
        for parameter, heights in zip(group["params"], group["splits"], strict=True):
            if parameter.grad is None:
                continue
            weight, state = self._began(parameter, "momentum")
            state["step"] += 1
            momentum = group["momentum"] - 0.1 * max(0.0, 1 - (int(state["step"]) - 1) / 100)
            gradient = local(parameter.grad).float()
            state["momentum"].lerp_(gradient, 1 - momentum)
            direction = gradient.lerp_(state["momentum"], momentum)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            parameters.append(parameter)
            weights.append(weight)
            begin, first = 0, first_row(parameter)
            for part in whole(spread(direction, parameter)).split(heights):
                start = max(begin, first)
                stop = max(start, min(begin + len(part), first + len(weight)))
                here = slice(start - begin, stop - begin)
                by_shape.setdefault(tuple(part.shape), []).append((part, weight[start - first : stop - first], here))
                begin += len(part)
        dtype = group["params"][0].dtype
        for (height, width), parts in by_shape.items():
            steps = orthogonalised(torch.stack([direction for direction, *_ in parts]), dtype=dtype)
            scale = max(1.0, height / width) ** 0.5
            moves = [step[here] for step, (*_, here) in zip(steps, parts, strict=True)]
            torch._foreach_add_([rows for _, rows, _ in parts], moves, alpha=-group["lr"] * scale)
        self._round(parameters, weights)

    def _round(self, parameters: list[nn.Parameter], weights: list[Tensor]) -> None:
        """Copy masters into the parameters that have one."""
        pairs = [
            (local(parameter), weight)
            for parameter, weight in zip(parameters, weights, strict=True)
            if parameter.dtype != weight.dtype
        ]
        if pairs:
            torch._foreach_copy_([parameter for parameter, _ in pairs], [weight for _, weight in pairs])

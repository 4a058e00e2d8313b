"""KL from one network's predictions to another's, through large heads, a few rows at a time.

The logits of a batch are never held at once, and gradients are made in the forward: see cross_entropy.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmworks.basics.arrays import Bool, Float

ROWS = 256


class Predictions(NamedTuple):
    """What gives a prediction for each of some rows: softmax(states head^T)."""

    states: Float[Tensor, "rows dim"]
    head: Float[Tensor, "vocab dim"]
    logit_cap: float | None = None
    """With it logits are cap * tanh(logits / cap)."""


def divergence(of: Predictions, to: Predictions, counted: Bool[Tensor, " rows"]) -> Float[Tensor, ""]:
    """KL(of || to), summed over the rows that count, in nats; it has gradients for `to` alone."""
    rows = counted.nonzero()[:, 0]
    total: Tensor = _Divergence.apply(to.states, to.head, of, to.logit_cap, rows)
    return total


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, states: Tensor, head: Tensor, of: Predictions, cap: float | None, rows: Tensor) -> Tensor:
        to_states, to_head = context.needs_input_grad[:2]
        exact = torch.promote_types(states.dtype, torch.float32)
        states_gradient = torch.zeros_like(states) if to_states else None
        head_gradient = torch.zeros_like(head, dtype=exact) if to_head else None
        total = torch.zeros((), dtype=exact, device=states.device)
        for part in rows.split(ROWS):
            wanted = logits_of(of.states[part], of.head, of.logit_cap).log_softmax(1)
            own = logits_of(states[part], head, cap)
            given = own.log_softmax(1)
            likely = wanted.exp()
            total += (likely * (wanted - given)).sum()
            gradient = given.exp_().sub_(likely)
            if cap is not None:
                gradient *= own.div_(cap).square_().neg_().add_(1)
            gradient = gradient.to(states.dtype)
            if states_gradient is not None:
                states_gradient[part] = gradient @ head
            if head_gradient is not None:
                head_gradient += gradient.T @ states[part]
        context.gradients = states_gradient, head_gradient
        context.head_dtype = head.dtype
        return total

    @staticmethod
    def backward(context: Any, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        states, head = context.gradients
        return (
            None if states is None else states * scale,
            None if head is None else (head * scale).to(context.head_dtype),
            *(None, None, None),
        )


def logits_of(
    states: Float[Tensor, "rows dim"], head: Float[Tensor, "vocab dim"], cap: float | None
) -> Float[Tensor, "rows vocab"]:
    """Logits in float32, or float64 where the states are."""
    logits = (states @ head.T).to(torch.promote_types(states.dtype, torch.float32))
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

"""Cross-entropy through a large head, a few rows at a time, so that the logits of a batch are never held at once.

1,024 tokens x 49,152 words in float32 are 201 MB, and autograd would keep them twice. Here the gradients are
made in the forward, where the logits are at hand (as in Liger Kernel, Hsu et al. 2024, https://arxiv.org/abs/2410.10989).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.kernels.between import kernels_for
from lmworks.tokens.batch import IGNORE

ROWS = 256
"""Whose logits are held at once."""
_mine = threading.local()


def share_rows(threads: int) -> None:
    """Hold the logits of fewer rows in this thread, as several compute at the same time."""
    _mine.rows = max(ROWS // threads, 1)


@dataclass(frozen=True)
class _Terms:
    """What is added to plain cross-entropy."""

    label_smoothing: float
    z_loss: float
    logit_cap: float | None


PLAIN = _Terms(0.0, 0.0, None)


def cross_entropy(
    hidden: Float[Tensor, "rows dim"],
    head: Float[Tensor, "vocab dim"],
    labels: Int[Tensor, " rows"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_cap: float | None = None,
) -> Float[Tensor, ""]:
    """-log softmax(hidden head^T)[label], summed over the rows whose label is not IGNORE; in nats, in float32 (float64
    where the states are).

    `label_smoothing` is the share of the target that is spread evenly over the vocabulary, as torch's; `z_loss` times
    the squared log of the softmax's normaliser is added; with `logit_cap` logits are cap * tanh(logits / cap).
    """
    total: Tensor = _ChunkedCrossEntropy.apply(hidden, head, labels, _Terms(label_smoothing, z_loss, logit_cap))
    return total


def log_probabilities(
    states: Float[Tensor, "rows dim"],
    head: Float[Tensor, "vocab dim"],
    labels: Int[Tensor, " rows"],
    logit_cap: float | None = None,
) -> Float[Tensor, " rows"]:
    """log softmax(states head^T)[label] of each row by itself, in nats: for losses of a whole text's probability."""
    found: Tensor = _LogProbabilities.apply(states, head, labels[:, None], _Terms(0.0, 0.0, logit_cap))
    return found


class _LogProbabilities(torch.autograd.Function):
    """What weighs the rows is known after the forward alone. Each row's state has a gradient of its own, made in the
    forward; the head's is a sum over rows, so their logits are made again for it."""

    @staticmethod
    def forward(context: Any, states: Tensor, head: Tensor, wanted: Tensor, terms: _Terms) -> Tensor:
        to_states, to_head = context.needs_input_grad[:2]
        gradient = torch.empty_like(states) if to_states else None
        losses = [
            _part(states[part], head, wanted[part], terms, None if gradient is None else gradient[part], None)
            for part in _parts(len(states))
        ]
        context.save_for_backward(gradient, *((states, head, wanted) if to_head else ()))
        context.terms = terms
        return -torch.cat(losses) if losses else states.new_zeros(0)

    @staticmethod
    def backward(context: Any, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradient, *again = context.saved_tensors
        to_states = None if gradient is None else (gradient * -scale[:, None]).to(gradient.dtype)
        to_head = None
        if again:
            states, head, wanted = again
            exact = torch.zeros_like(head, dtype=_exact(head))
            for part in _parts(len(states)):
                weights = -scale[part, None].to(states.dtype)
                _part(states[part], head, wanted[part], context.terms, None, exact, weights)
            to_head = exact.to(head.dtype)
        return to_states, to_head, None, None


def _parts(rows: int) -> list[slice]:
    most = getattr(_mine, "rows", ROWS)
    return [slice(start, start + most) for start in range(0, rows, most)]


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, hidden: Tensor, head: Tensor, labels: Tensor, terms: _Terms) -> Tensor:
        rows = (labels != IGNORE).nonzero()[:, 0]
        states, wanted = hidden[rows], labels[rows, None]
        to_hidden, to_head = context.needs_input_grad[:2]
        states_gradient = torch.empty_like(states) if to_hidden else None
        exact = _exact(hidden)
        head_gradient = torch.zeros_like(head, dtype=exact) if to_head else None
        total = torch.zeros((), dtype=exact, device=hidden.device)
        for part in _parts(len(rows)):
            total += _part(
                states[part],
                head,
                wanted[part],
                terms,
                None if states_gradient is None else states_gradient[part],
                head_gradient,
            ).sum()
        hidden_gradient = None
        if states_gradient is not None:
            hidden_gradient = torch.zeros_like(hidden).index_copy_(0, rows, states_gradient)
        context.save_for_backward(*(gradient for gradient in (hidden_gradient, head_gradient) if gradient is not None))
        context.head_dtype = head.dtype
        return total

    @staticmethod
    def backward(context: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        saved = list(context.saved_tensors)
        to_hidden, to_head = context.needs_input_grad[:2]
        hidden_gradient = saved.pop(0) * scale if to_hidden else None
        head_gradient = (saved.pop(0) * scale).to(context.head_dtype) if to_head else None
        return hidden_gradient, head_gradient, None, None


def _part(
    states: Tensor,
    head: Tensor,
    wanted: Tensor,
    terms: _Terms,
    states_gradient: Tensor | None,
    head_gradient: Tensor | None,
    weights: Tensor | None = None,
) -> Float[Tensor, " rows"]:
    """Losses of some rows; their gradients are written into (states) or added to (head, with the rows' `weights`) what
    is given."""
    products, cap, kept = states @ head.T, terms.logit_cap, 1.0 - terms.label_smoothing
    exact = _exact(products)
    if terms == PLAIN and (kernels := kernels_for(products)) is not None:
        logits = products.gather(1, wanted).to(exact)
        loss = kernels.softmax(products).sub_(logits)  # the probabilities stand in the products' place now
        if states_gradient is not None or head_gradient is not None:
            # Of the label p - 1, which rounded numbers near 1 would not hold. scatter_ would copy all of bfloat16.
            products[torch.arange(len(products)), wanted[:, 0]] = loss[:, 0].neg().expm1_().to(products.dtype)
            _give(products, states, head, states_gradient, head_gradient, weights)
        return loss[:, 0]
    logits = products if cap is None else products.to(exact).div_(cap).tanh_().mul_(cap)
    probabilities = logits.to(exact, copy=True)
    torch.softmax(probabilities, dim=1, out=probabilities)
    # The log of the sum, from the largest probability: it is never zero, as a single label's may be.
    log_sum = logits.amax(1, keepdim=True).to(exact) - probabilities.amax(1, keepdim=True).log()
    loss = log_sum - kept * logits.gather(1, wanted).to(exact)
    if terms.label_smoothing:
        loss -= terms.label_smoothing * logits.mean(1, keepdim=True, dtype=exact)
    if terms.z_loss:
        loss += terms.z_loss * log_sum.square()
    if states_gradient is not None or head_gradient is not None:
        # The gradient of the logits takes the place of the probabilities.
        if terms.z_loss:
            probabilities *= 1 + 2 * terms.z_loss * log_sum
        probabilities.scatter_add_(1, wanted, probabilities.new_full(wanted.shape, -kept))
        if terms.label_smoothing:
            probabilities -= terms.label_smoothing / head.shape[0]
        if cap is not None:
            probabilities *= logits.div_(cap).square_().neg_().add_(1)
        products_gradient = probabilities if products.dtype == exact else products.copy_(probabilities)
        _give(products_gradient, states, head, states_gradient, head_gradient, weights)
    return loss[:, 0]


def _give(
    gradient: Tensor,
    states: Tensor,
    head: Tensor,
    states_gradient: Tensor | None,
    head_gradient: Tensor | None,
    weights: Tensor | None,
) -> None:
    """What the gradient of the logits makes of states and head."""
    if states_gradient is not None:
        torch.mm(gradient, head, out=states_gradient)
    if head_gradient is not None:
        head_gradient += gradient.T @ (states if weights is None else states * weights)


def _exact(states: Tensor) -> torch.dtype:
    """The type of sums: float32 for 16-bit states too."""
    return torch.promote_types(states.dtype, torch.float32)

"""Jacobians of blocks, formed: what they are to finite differences and gradients, and their singular values.

errors = errors_of_jacobians(network, batch)             # Errors(differences=2e-10, product=3e-15, weights=3e-15)
sizes, product = from_the_end(network, batch)            # of the last 1, 2, ... blocks, and of all
directions(product)
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.inside.jacobians import Span, blocks_at
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import Batch

Matrices = Float[Tensor, "batch outputs inputs"]
NEGLIGIBLE = 0.01
"""Of the largest singular value; directions below are as good as lost."""


class Errors(NamedTuple):
    """The largest differences, each by the largest number of what is compared."""

    differences: float
    """Of a block's Jacobian and finite differences."""
    product: float
    """Of the product of all Jacobians and the end-to-end gradient of the first block's input."""
    weights: float
    """Of the first block's weight gradients through the product."""


def errors_of_jacobians(network: Network, batch: Batch) -> Errors:
    """What Jacobians of single blocks say, against finite differences and autograd. Give float64."""
    layers = len(network.blocks)
    spans = [_span(network, batch, layer) for layer in range(layers)]
    paths = [*(f"blocks.{layer}.residual_in" for layer in range(layers)), f"blocks.{layers - 1}.residual_out"]
    gradients = activation_gradients(network, CausalLM(), batch, paths)
    carried = gradients[paths[-1]]
    for layer in reversed(range(1, layers)):
        carried = _through(spans[layer], carried)
    first = dict(network.blocks[0].named_parameters())
    ours = torch.autograd.grad(spans[0](spans[0].x), list(first.values()), carried)
    theirs = torch.autograd.grad(CausalLM()(network, batch).mean, list(first.values()))
    return Errors(
        differences=max(_against_differences(span) for span in spans),
        product=_error(_through(spans[0], carried), gradients[paths[0]]),
        weights=max(_error(one, other) for one, other in zip(ours, theirs, strict=True)),
    )


def times(network: Network, batch: Batch) -> tuple[float, float]:
    """Seconds to form the Jacobian of all blocks, and of one backward through them."""
    whole = _span(network, batch, 0, len(network.blocks))
    gradient = torch.ones_like(whole.x)
    started = time.perf_counter()
    for _ in range(5):
        whole.vjp(gradient)
    middle = time.perf_counter()
    whole.jacobian()
    return time.perf_counter() - middle, (middle - started) / 5


def from_the_end(network: Network, batch: Batch) -> tuple[list[float], Matrices]:
    """The root mean square singular value of the product of the last 1, 2, ... blocks' Jacobians, and the product of
    all."""
    product: Matrices | None = None
    sizes = []
    for layer in reversed(range(len(network.blocks))):
        each = matrices(_span(network, batch, layer))
        product = each if product is None else product @ each
        sizes.append(root_mean_square(product))
    assert product is not None
    return sizes, product


def directions(each: Matrices) -> float:
    """The share of singular values above a negligible part of the largest, over all texts."""
    values = torch.linalg.svdvals(each)
    return float((values > NEGLIGIBLE * values[:, :1]).double().mean())


def root_mean_square(each: Matrices) -> float:
    """The root mean square of the singular values, over all texts."""
    return float(each.square().sum(dim=(1, 2)).div(each.shape[1]).mean().sqrt())


def matrices(span: Span) -> Matrices:
    """The whole Jacobian as a matrix for each text."""
    return span.jacobian().flatten(1, 2).flatten(2, 3)


def _span(network: Network, batch: Batch, first: int, stop: int | None = None) -> Span:
    return blocks_at(network, batch.tokens, first, stop, documents=batch.documents)


def _through(span: Span, gradient: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
    """A gradient of the output times the formed Jacobian."""
    return (gradient.flatten(1)[:, None] @ matrices(span))[:, 0].view_as(gradient)


def _error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _against_differences(span: Span, step: float = 1e-6) -> float:
    change = torch.randn(span.x.shape, dtype=span.x.dtype, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        differences = (span(span.x + step * change) - span(span.x - step * change)) / (2 * step)
    formed = (matrices(span) @ change.flatten(1)[..., None])[..., 0].view_as(change)
    return _error(formed, differences)

"""Gradients made by the written-out backward pass (inside/backward.py), and what judges them: autograd, finite
differences, and a small step down.

errors_by_block(network, batch)                         # [0.0, 2e-16, ...], of each block the largest
error_of_differences(network, batch, numbers=60, seed=1)
foretold_by_step(network, batch)                        # 1.0 where the loss falls by what the gradients say
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.inside.backward import Gradients, span_backward
from lmworks.inside.jacobians import blocks_at
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import Batch


def written_out(network: Network, batch: Batch) -> list[Gradients]:
    """The gradients of every block's weights: autograd goes back to the stream after the last block, and from there
    the written-out backward goes block by block."""
    last = f"blocks.{len(network.blocks) - 1}.residual_out"
    to_output = activation_gradients(network, CausalLM(), batch, [last])[last]
    span = blocks_at(network, batch.tokens, 0, len(network.blocks), documents=batch.documents)
    with torch.no_grad():
        return span_backward(span, to_output)[1]


def errors_by_block(network: Network, batch: Batch) -> list[float]:
    """By block, the largest error of a gradient against autograd's, by that gradient's largest number."""
    weights = dict(network.named_parameters())
    theirs = dict(zip(weights, torch.autograd.grad(_loss(network, batch), list(weights.values())), strict=True))
    return [
        max(_distance(gradient, theirs[f"blocks.{layer}.{name}"]) for name, gradient in ours.items())
        for layer, ours in enumerate(written_out(network, batch))
    ]


@torch.no_grad()
def error_of_differences(network: Network, batch: Batch, numbers: int, seed: int, step: float = 1e-5) -> float:
    """Central differences at numbers drawn from all weights of the blocks; the largest error, by the largest gradient
    of the weight that it is in."""
    found = written_out(network, batch)
    generator = torch.Generator().manual_seed(seed)
    places = [(layer, name) for layer, ours in enumerate(found) for name in ours]
    worst = 0.0
    for _ in range(numbers):
        layer, name = places[int(torch.randint(len(places), (), generator=generator))]
        weight, gradient = network.blocks[layer].get_parameter(name).view(-1), found[layer][name].flatten()
        at = int(torch.randint(len(weight), (), generator=generator))
        kept, losses = float(weight[at]), []
        for moved in (kept + step, kept - step):
            weight[at] = moved
            losses.append(float(_loss(network, batch)))
        weight[at] = kept
        difference = (losses[0] - losses[1]) / (2 * step)
        worst = max(worst, abs(difference - float(gradient[at])) / float(gradient.abs().max()))
    return worst


@torch.no_grad()
def foretold_by_step(network: Network, batch: Batch, nats: float = 1e-4) -> float:
    """What the loss loses where the blocks' weights go down their gradients so far that it should lose `nats`, by
    that."""
    found = written_out(network, batch)
    rate = nats / sum(float(gradient.square().sum()) for ours in found for gradient in ours.values())
    before = float(_loss(network, batch))
    _move(network, found, -rate)
    after = float(_loss(network, batch))
    _move(network, found, rate)
    return (before - after) / nats


def _loss(network: Network, batch: Batch) -> Tensor:
    return CausalLM()(network, batch).mean


def _distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _move(network: Network, gradients: list[Gradients], share: float) -> None:
    """Add a share of the gradients to the blocks' weights."""
    for block, ours in zip(network.blocks, gradients, strict=True):
        for name, gradient in ours.items():
            block.get_parameter(name).add_(share * gradient)

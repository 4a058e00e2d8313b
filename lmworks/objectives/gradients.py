"""Gradients of an objective, looked at: how long they are by layer and part, and what they are at every hook point.

    for layer in gradients_by_layer(network, CausalLM(), batch):
        print(layer.name, layer.norm, layer.parts)             # blocks.3  0.41  {"attention": 0.2, ...}
    seen = activation_gradients(network, CausalLM(), batch, ["blocks.3.residual_out", "blocks.3.attention.pattern"])

`.grad` of the weights and the hooks stay as they were. The network runs as it would in training, with dropout where it
is in training mode; the loss is the objective's mean over the batch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.models.hooks import HookFunction, hook_points, hooked
from lmworks.models.network import Network
from lmworks.objectives.loss import Objective
from lmworks.tokens.batch import Batch

LAYER = re.compile(r"(?:\w+\.)?(?:blocks|layers)\.\d+|encoder\.\w+|\w+")
"""What a parameter's path begins with, down to its layer."""


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of one layer's weights."""

    name: str
    """`embedding`, `blocks.0`, ..., `norm`, `head`; in an encoder-decoder `encoder.blocks.0`, ... too; in a recurrent
    network `decoder.layers.0`, ..."""
    norm: float
    """Its length: the root of the sum of squares over all weights."""
    parts: dict[str, float]
    """The length of each part (`attention_norm`, `attention`, `feed_forward_norm`, `feed_forward`): squares add up."""
    weights: int
    """How many numbers it has."""

    @property
    def size(self) -> float:
        """The root mean square of a number, to compare layers of different width."""
        return self.norm / math.sqrt(self.weights)


def gradients_by_layer(network: Network, objective: Objective, batch: Batch) -> list[LayerGradient]:
    """The gradient of the mean loss by the weights that are trained, by layer, in the network's order.

    ConfigError where no weight requires a gradient.
    """
    named = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    if not named:
        raise ConfigError("no weight requires a gradient; call network.requires_grad_(True)")
    with torch.enable_grad():
        found = torch.autograd.grad(objective(network, batch).mean, list(named.values()), allow_unused=True)
    layers: dict[str, dict[str, float]] = {}
    weights: dict[str, int] = {}
    for (name, weight), gradient in zip(named.items(), found, strict=True):
        layer, part = _place(name)
        parts = layers.setdefault(layer, {})
        parts[part] = math.hypot(parts.get(part, 0.0), 0.0 if gradient is None else float(gradient.norm()))
        weights[layer] = weights.get(layer, 0) + weight.numel()
    return [LayerGradient(name, math.hypot(*parts.values()), parts, weights[name]) for name, parts in layers.items()]


def activation_gradients(
    network: Network, objective: Objective, batch: Batch, paths: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """The gradient of the mean loss by the activation at each hook point (all unless given), in the activation's shape.

    Blocks with a hook run plainly, and attention whose scores or pattern are asked for runs by the formula, so that the
    loss differs from that of a fast run by rounding. Points that the loss does not depend on, or that the run does not
    pass, are left out. ConfigError for a path that does not exist.
    """
    leaves: dict[str, Tensor] = {}

    def tap(path: str) -> HookFunction:
        def add_zero(activation: Tensor) -> Tensor:
            if path in leaves:
                raise ConfigError(
                    f"{path} is passed more than once by this objective; take the parts of a sum one by one"
                )
            # The gradient by an added zero is that by the activation, also where no weight requires one.
            leaves[path] = torch.zeros_like(activation, requires_grad=True)
            return activation + leaves[path]

        return add_zero

    asked = list(hook_points(network)) if paths is None else list(paths)
    if not asked:
        return {}
    with torch.enable_grad(), hooked(network, {path: tap(path) for path in asked}):
        found = torch.autograd.grad(objective(network, batch).mean, list(leaves.values()), allow_unused=True)
    return {path: gradient for path, gradient in zip(leaves, found, strict=True) if gradient is not None}


def _place(name: str) -> tuple[str, str]:
    """Layer and part of a parameter's path: `blocks.0.attention.qkv.weight` is in `blocks.0`, `attention`."""
    found = LAYER.match(name)
    layer = found.group() if found else name
    return layer, name.removeprefix(layer).lstrip(".").partition(".")[0] or layer

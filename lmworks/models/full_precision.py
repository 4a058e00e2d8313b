"""A network in float32, for figures that 16 bits would spoil: gradients along a way, small differences of logits."""

from __future__ import annotations

import copy

import torch

from lmworks.basics.memory import must_fit
from lmworks.models.network import Network
from lmworks.models.unread import peeked, read_all


def in_full_precision(network: Network, name: str = "the model") -> Network:
    """The network itself where none of its weights has fewer than 32 bits, else a copy of it in float32, in evaluation
    and frozen. ModelError where the memory does not hold the copy."""
    floats = [one for one in peeked(network).values() if one.is_floating_point()]
    if all(torch.finfo(one.dtype).bits >= 32 for one in floats):
        return network
    must_fit(f"{name} in float32", sum(4 * one.numel() for one in floats))
    made = copy.deepcopy(network)  # what is unread stays so in the network, and is read in the copy
    read_all(made, lambda needed: None)
    return made.float().eval().requires_grad_(False)

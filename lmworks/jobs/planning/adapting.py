"""Memory of a way to adapt a model that the planner has no sum for: whatever it declares, prepared without values.

What the method trains is counted, and a micro-batch followed, on the network that its `prepare` gives.
"""

from __future__ import annotations

import torch

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.frozen import bytes_in_few_bits
from lmworks.jobs.planning.memory import DeviceMemory, Formats, at_its_peak, followed_in
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.precision import dtype_of
from lmworks.objectives import CausalLM
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.by_hand.eight_bits import BYTES, frozen_matrices
from lmworks.training.declaration import CountedParameters
from lmworks.training.optimiser import trainable
from lmworks.training.settings import TrainingConfig


def trained_by(config: ModelConfig, chosen: Chosen) -> int:
    """Parameters that the method trains; ConfigError where it does not fit the network."""
    return sum(one.numel() for one in trainable(_prepared(config, chosen, "float32")).values())


def adapted_memory(
    config: ModelConfig,
    training: TrainingConfig,
    dtype: str,
    chosen: Chosen,
    *,
    cuda: bool = False,
    devices: int = 1,
    objective: ObjectiveSettings,
) -> DeviceMemory:
    """Of one device in training; with several, weights, gradients and moments are divided among them."""
    network, formats = _prepared(config, chosen, dtype, training.context), Formats.of(dtype)
    trained = trainable(network).values()
    every, values = sum(one.numel() for one in trained), max(one.element_size() for one in trained)
    counted = CountedParameters(every, 0, 0, values)
    always = {
        "weights": float(sum(one.nbytes for one in network.parameters()) + bytes_in_few_bits(network)),
        "master weights": sum(4.0 * one.numel() for one in trained if one.element_size() < 4),
        "optimiser": float(training.part.keeps(counted) * formats.moments),
    }
    always["retention"] = chosen.kept(network)
    if training.frozen_products == "int8":
        always["frozen matrices in 8 bits"] = BYTES * sum(
            one.in_features * one.out_features for one in frozen_matrices(network)
        )
    always = {name: size / devices for name, size in always.items() if size}
    followed = followed_in(config, training, formats, objective, chosen, cuda)
    gradients = sum(one.nbytes for one in trained) / devices
    stepping = training.part.working(counted) / devices
    moments = {"in the forward": followed.forward, "going back": followed.backward}
    for parts in moments.values():
        parts["gradients"] = parts.get("gradients", 0.0) / devices
    moments["in the optimiser"] = {"gradients": gradients, "working": stepping}
    found = {name: {**always, **parts} for name, parts in moments.items()}
    return at_its_peak(found, followed.turnover + (stepping if training.part.leaves_holes else 0))


def _prepared(config: ModelConfig, chosen: Chosen, dtype: str, context: int = 0) -> Network:
    """The network as the method trains it, on the meta device."""
    with torch.device("meta"):
        network = Network(config).to(dtype_of(dtype))
    return chosen.prepare(Setup(network, CausalLM(), []), context).network

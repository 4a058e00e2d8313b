"""Memory of a way to adapt a model that the planner has no sum for: whatever it declares, prepared without values.

What the method trains is counted, and a micro-batch followed, on the network that its `prepare` gives.
"""

from __future__ import annotations

import functools
import re
from dataclasses import astuple, dataclass

import torch

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.frozen import bytes_in_few_bits
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.jobs.planning.flops import Flops, forward_flops, training_flops
from lmworks.jobs.planning.memory import DeviceMemory, Formats, at_its_peak, followed_in, training_memory
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.workload import DOCUMENTS, row_of
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.precision import dtype_of
from lmworks.objectives import CausalLM
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.by_hand.eight_bits import BYTES, frozen_matrices
from lmworks.training.declaration import CountedParameters
from lmworks.training.optimiser import trainable
from lmworks.training.settings import TrainingConfig

ADDED_UP = ("full", "lora")
"""Methods that there is a sum for; what keeps old skills beside them is followed."""
BLOCKS = ("blocks.", "encoder.blocks.")
AFTER = ("norm", "head", "pooler", "classifier")
"""What stands after the blocks."""


@dataclass(frozen=True)
class Trained:
    """What a method trains of a network, and what of it is written."""

    count: int
    """Parameters."""
    back: float
    """Share of the blocks that gradients go back through."""
    matrices: float
    """Share of the blocks' own matrices among what is trained."""
    nbytes: int
    """Of what is trained, as it is kept while it is."""
    result: int
    """Bytes of the result's weights: an adapter, or the whole model."""


@functools.cache
def what_is_trained(config: ModelConfig, chosen: Chosen, dtype: str, context: int = 0) -> Trained:
    """Of a method; ConfigError where it does not fit the network, or texts of `context` tokens do not fit beside it."""
    with torch.device("meta"):
        own = {
            name: one for name, one in Network(config).named_parameters() if name.startswith(BLOCKS) and one.ndim > 1
        }
    network = _prepared(config, chosen, dtype, context)
    found = trainable(network)
    adapter = chosen.method.adapter
    saved = network.state_dict() if adapter is None else adapter.tensors(network)
    return Trained(
        count=sum(one.numel() for one in found.values()),
        back=1 - min((_blocks_before(name, config) for name in found), default=config.layers) / config.layers,
        matrices=sum(found[name].numel() for name in own.keys() & found.keys())
        / sum(one.numel() for one in own.values()),
        nbytes=sum(one.nbytes for one in found.values()),
        result=sum(one.nbytes for one in saved.values()),
    )


def _blocks_before(name: str, config: ModelConfig) -> int:
    """Blocks that lie before a parameter of this name: no gradient goes back through them for its sake."""
    if found := re.match(r"blocks\.(\d+)\.", name):
        return int(found[1])
    return config.layers if name.startswith(AFTER) else 0


def trained_by(config: ModelConfig, chosen: Chosen) -> int:
    """Parameters that the method trains; ConfigError where it does not fit the network."""
    return what_is_trained(config, chosen, "float32").count


def method_flops(
    config: ModelConfig, training: TrainingConfig, objective: ObjectiveSettings, chosen: Chosen | None
) -> Flops:
    """Of one sequence, forward and as far back as the method of `chosen` goes; without one, all weights are trained."""
    settings = None if chosen is None else chosen.settings
    parameters = count_parameters(config, settings if isinstance(settings, LoRAConfig) else None)
    reach = None if chosen is None else what_is_trained(config, chosen, "float32")
    row = row_of(objective, training.context)
    found = training_flops(
        config,
        parameters,
        training.context,
        frozen=reach is not None and reach.matrices < 1,
        recompute=training.recompute,
        row=row,
        back=1.0 if reach is None else reach.back,
        trained=None if reach is None else reach.matrices,
    )
    if chosen is None or chosen.retention is None or not chosen.retention.passes:
        return found
    base, passes = forward_flops(config, count_parameters(config), training.context, row), chosen.retention.passes
    return Flops(*(mine + passes * more for mine, more in zip(astuple(found), astuple(base), strict=True)))


def method_memory(
    config: ModelConfig,
    training: TrainingConfig,
    dtype: str,
    chosen: Chosen,
    *,
    cuda: bool = False,
    devices: int = 1,
    objective: ObjectiveSettings,
    documents: int = DOCUMENTS,
) -> DeviceMemory:
    """Of one device in training by a method: by the sum where there is one, else followed."""
    kept = chosen.retention is not None and chosen.retention.name != "nothing"
    if kept or chosen.method.name not in ADDED_UP:
        return adapted_memory(
            config,
            training,
            dtype,
            chosen,
            cuda=cuda,
            devices=devices,
            objective=objective,
            documents=documents,
        )
    lora = chosen.settings if isinstance(chosen.settings, LoRAConfig) else None
    formats = Formats.of(dtype, adapters=lora is not None)
    return training_memory(config, training, formats, lora=lora, cuda=cuda, devices=devices, objective=objective)


def adapted_memory(
    config: ModelConfig,
    training: TrainingConfig,
    dtype: str,
    chosen: Chosen,
    *,
    cuda: bool = False,
    devices: int = 1,
    objective: ObjectiveSettings,
    documents: int = DOCUMENTS,
) -> DeviceMemory:
    """Of one device in training; with several, weights, gradients and moments are divided among them. A row holds so
    many `documents`."""
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
    followed = followed_in(config, training, formats, objective, chosen, cuda, documents)
    gradients = sum(one.nbytes for one in trained) / devices
    stepping = training.part.working(counted) / devices
    before = followed.forward.get("gradients", 0.0)  # of an earlier micro-batch
    passing = sum(followed.forward.values()) - followed.kept - before
    forward = {
        "activations": followed.kept,
        "gradients": before,
        "working": passing,
    }  # such as logits: no holes of theirs
    moments = {"in the forward": forward, "going back": followed.backward}
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

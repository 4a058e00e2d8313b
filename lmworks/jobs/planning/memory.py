"""Memory at the peak, by part: the moments at which a step can need the most, each added up from what is alive then.

What lives through the whole step: weights, what the optimiser keeps, and with several micro-batches the gradients.
Activations grow through the forward and go again on the way back, while gradients come; between the two stand the
logits of the loss. As blocks are alike, the most is needed at one of these moments and nowhere between:
the loss, its backward, the last block's backward (all activations), the first block's (all gradients), the embedding's.
Source of the parts: Rajbhandari et al. 2020 (ZeRO), section 3, https://arxiv.org/abs/1910.02054.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.generation.scheduler import PREFILL
from lmworks.jobs.planning.activations import (
    SINGLE,
    BatchShape,
    adapter_copies,
    block_inside,
    head_gradient,
    kept_by_block,
    kept_once,
    last_norm,
)
from lmworks.jobs.planning.followed import Followed, follow
from lmworks.jobs.planning.parameters import Parameters, count_parameters, head_matrices
from lmworks.jobs.planning.working import backward_working, shared_by_blocks
from lmworks.jobs.planning.workload import DOCUMENTS, padded, usual_objective
from lmworks.kernels.between import planned
from lmworks.kernels.pages import token_bytes
from lmworks.models.config import ModelConfig
from lmworks.objectives.cross_entropy import ROWS
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.by_hand.eight_bits import BYTES
from lmworks.training.declaration import CountedParameters
from lmworks.training.settings import TrainingConfig

NF4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes of a weight in NF4 with double quantisation: 4 bits, a byte for 64 of them, a float32 for 256 of these
(Dettmers et al. 2023, section 3)."""


@dataclass(frozen=True)
class Formats:
    """Bytes of each value that a run keeps."""

    weights: int
    """What the network multiplies with, and its activations."""
    quantised: bool = False
    """The blocks' matrices are kept in NF4 and made anew, one at a time, when they are needed."""
    master: int = 0
    """Copies that the optimiser changes, where the weights are too coarse for it."""
    gradients: int = 4
    moments: int = 4
    """Each of AdamW's two."""
    adapters: int = 4
    """Weights of adapters."""

    @classmethod
    def of(cls, dtype: str, adapters: bool = False, quantised: bool = False) -> Formats:
        """As lmworks keeps them: float32 masters and moments whatever the weights' type, adapters in float32."""
        value = 4 if dtype == "float32" else 2
        return cls(value, quantised, master=4 if value == 2 and not adapters else 0, gradients=4 if adapters else value)

    def trained(self, count: int) -> float:
        """Weights, masters, gradients and moments of `count` parameters, all of them trained."""
        return float(count) * (self.weights + self.master + self.gradients + 2 * self.moments)


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of one device."""

    sizes: dict[str, float]
    """Each part where it is largest."""
    at_peak: dict[str, float]
    """What each part holds when all together hold the most."""
    moment: str
    """When that is."""
    turnover: float = 0.0
    """The most that comes and goes within a block's backward, in reading a prompt, or where Muon stacks matrices."""

    @property
    def peak(self) -> float:
        """The most that is held at once."""
        return sum(self.at_peak.values())


def training_memory(
    config: ModelConfig,
    training: TrainingConfig,
    formats: Formats,
    *,
    lora: LoRAConfig | None = None,
    cuda: bool = False,
    devices: int = 1,
    objective: ObjectiveSettings | None = None,
) -> DeviceMemory:
    """Of one device in training. With several, weights, gradients and moments are divided among them (FSDP), and a
    block's weights are whole only while it runs.

    Blocks of a decoder are added up, all others followed. ConfigError for a target that the model does not have.
    """
    objective = objective or usual_objective(config)
    parameters = count_parameters(config, lora)
    always = _resident(parameters, formats, lora, training, devices)
    gradients = parameters.adapters * SINGLE if lora is not None else parameters.base * formats.gradients
    gathered = _gathered(parameters, formats) if devices > 1 else 0.0
    moments: dict[str, dict[str, float]]
    seq = padded(objective, training.context)
    shape = None
    if added_up(config):
        shape = BatchShape.of_network(config, training.rows, seq, formats.weights, lora, training.recompute, cuda)
        if lora is not None and shape.recomputes and not cuda and not shape.routed:
            shape = None  # adapters' updates that come and go while a block is computed again: no sum has them
    if shape is not None:
        if copies := adapter_copies(shape):
            always["adapters"] += copies
        moments = _moments(shape, parameters, formats, gradients / devices, training.accumulate > 1)
        within = backward_working(shape)
    else:
        chosen = None if lora is None else Chosen(METHODS["lora"], lora)
        followed = followed_in(config, training, formats, objective, chosen, cuda)
        moments = {"in the forward": followed.forward, "going back": followed.backward}
        for parts in moments.values():
            parts["gradients"] = parts.get("gradients", 0.0) / devices
        within = followed.turnover
    stepping = training.part.working(_counted(parameters, formats, lora)) / devices
    moments["in the optimiser"] = {"gradients": gradients / devices, "working": stepping}
    found: dict[str, dict[str, float]] = {name: {**always, **parts} for name, parts in moments.items()}
    if formats.quantised or gathered:
        for parts in found.values():
            parts["working"] = parts.get("working", 0) + gathered
            parts["working"] += parameters.largest * formats.weights if formats.quantised else 0
    return at_its_peak(found, within + (stepping if training.part.leaves_holes else 0))


def at_its_peak(moments: dict[str, dict[str, float]], turnover: float) -> DeviceMemory:
    """The memory of a step from the parts of each moment that can be the peak."""
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    names = dict.fromkeys(name for one in moments.values() for name in one)
    sizes = {name: max(one.get(name, 0) for one in moments.values()) for name in names}
    return DeviceMemory(sizes, {name: moments[moment].get(name, 0) for name in names}, moment, turnover)


def added_up(config: ModelConfig) -> bool:
    """Is there a sum of what the network's blocks keep? For decoders there is, also where feed-forwards are experts."""
    return config.is_classic_decoder or (config.experts is not None and config.but(experts=None).is_classic_decoder)


def followed_in(
    config: ModelConfig,
    training: TrainingConfig,
    formats: Formats,
    objective: ObjectiveSettings,
    chosen: Chosen | None,
    cuda: bool,
    documents: int = DOCUMENTS,
) -> Followed:
    """A micro-batch, operation by operation.

    A GPU's is that of a CPU in float32 without dropout, which does nothing that only a CPU does, in values of the
    format's size.
    """
    value = 4 if cuda else formats.weights
    found = follow(
        config.but(dropout=0.0) if cuda else config,
        objective,
        training.rows,
        padded(objective, training.context),
        torch.float32 if value == SINGLE else torch.bfloat16,
        chosen=chosen,
        recompute=training.recompute,
        accumulates=training.accumulate > 1,
        documents=documents,
        by_hand=not cuda,
    )
    return found.times(formats.weights / value)


def _resident(
    parameters: Parameters, formats: Formats, lora: LoRAConfig | None, training: TrainingConfig, devices: int
) -> dict[str, float]:
    """What a device holds from the first step to the last."""
    trained = parameters.base if lora is None else parameters.adapters
    parts = {"weights": weight_bytes(parameters, formats)}
    if lora is not None:
        parts["adapters"] = parameters.adapters * formats.adapters
        if training.frozen_products == "int8":
            parts["frozen matrices in 8 bits"] = BYTES * parameters.matrices
    elif formats.master:
        parts["master weights"] = trained * formats.master
    parts["optimiser"] = training.part.keeps(_counted(parameters, formats, lora)) * formats.moments
    return {name: size / devices for name, size in parts.items()}


def weight_bytes(parameters: Parameters, formats: Formats) -> float:
    """The network without adapters."""
    matrices = parameters.matrices * (NF4 if formats.quantised else formats.weights)
    return matrices + (parameters.base - parameters.matrices) * formats.weights


def _gathered(parameters: Parameters, formats: Formats) -> float:
    """What FSDP makes whole at once: two blocks (one runs, the next is fetched), and embedding and head."""
    block = parameters.block * formats.weights
    return 2 * block + (parameters.embedding + parameters.head) * formats.weights


def _moments(
    shape: BatchShape, parameters: Parameters, formats: Formats, gradients: float, accumulates: bool
) -> dict[str, dict[str, float]]:
    """What is alive, beside the residents, at each moment that can be the peak."""
    config, layers, value = shape.config, shape.config.layers, shape.value
    block, once, shared = kept_by_block(shape), kept_once(shape), shared_by_blocks(shape)
    vocabulary, widest = head_matrices(config)
    head = head_gradient(shape)
    to_head = vocabulary * formats.gradients if head else 0.0
    rows = min(ROWS, shape.tokens)
    in_place = not shape.cuda and not config.logit_cap and planned(widest, rows * widest)
    logits = rows * widest * (value + (0 if in_place else SINGLE) + (SINGLE if config.logit_cap else 0))
    kept = layers * block + once + shared
    working = backward_working(shape)
    inside = block_inside(shape) - (shape.of(config.dim) if value == SINGLE else 0) if shape.recomputes else 0.0
    left = once - last_norm(shape) - shape.of(config.dim) - head + shared  # when the loss and the last norm are done
    there = gradients if accumulates else 0.0
    down = parameters.largest * value if head else 0.0
    return {
        "in the loss": {
            "activations": kept - head,
            "logits": logits,
            "gradients": there + head,
            "working": shape.of(2 * config.dim) + (vocabulary * value if head else 0),
        },
        "in the loss, going back": {
            "activations": kept - head,
            "gradients": there + head,
            "working": shape.of(config.dim) + (head + (vocabulary * value if value != SINGLE else 0) if head else 0),
        },
        "in the last block, going back": {
            "activations": layers * block + left + inside,
            "gradients": max(there, to_head) + down,
            "working": working,
        },
        "in the first block, going back": {
            "activations": block + left + inside,
            "gradients": gradients,
            "working": working,
        },
        "at the end of the backward": {
            "activations": left,
            "gradients": gradients,
            "working": shape.of(2 * config.dim) + (vocabulary * value if head else 0),
        },
    }


def _counted(parameters: Parameters, formats: Formats, lora: LoRAConfig | None) -> CountedParameters:
    """What the optimiser steps: all of a network, or adapters, which are in float32 and no matrices of blocks."""
    if lora is not None:
        return CountedParameters(parameters.adapters, 0, 0, SINGLE)
    alike = parameters.layers * parameters.largest
    return CountedParameters(parameters.base, parameters.matrices, alike, formats.weights)


def serving_memory(
    config: ModelConfig,
    formats: Formats,
    requests: int,
    tokens: int,
    *,
    cuda: bool = False,
    devices: int = 1,
    packed: float | None = None,
) -> DeviceMemory:
    """Of one device that answers `requests` at once, each of up to `tokens` tokens, prompt and answer; on the compiled
    path with the bytes of its `packed` weights."""
    parameters = count_parameters(config)
    value = formats.weights if packed is None else 2
    parts = {"weights": weight_bytes(parameters, formats) if packed is None else packed}
    if (
        value == 2 and not cuda and not formats.quantised and packed is None
    ):  # products keep their matrices in their own layout too
        head = head_matrices(config)[0] if config.causal or config.head_transform else 0
        parts["packed weights"] = (parameters.matrices + head) * value
    writes = config.arrangement != "encoder"
    if writes:
        parts["cache"] = requests * tokens * cache_bytes(config, None if packed is not None else value)
        parts["logits"] = requests * config.vocab_size * (value + SINGLE)
    # A decoder reads its prompt in chunks, an encoder all of its text at once.
    chunk = requests * (min(tokens, PREFILL) if config.arrangement == "decoder" else tokens)
    working = chunk * value * (2 * config.dim + config.hidden_dim * (4 if config.gated else 2))
    parts["working"] = working + (parameters.largest * value if formats.quantised else 0)
    parts = {name: size / devices for name, size in parts.items()}
    return DeviceMemory(parts, parts, "reading prompts" if writes else "reading texts", parts["working"])


def cache_bytes(config: ModelConfig, value: int | None) -> int:
    """Keys and values of one token in all layers, of this many bytes each, or None for the compiled path's; in an
    encoder-decoder also those of a source token, and its state."""
    own, size = (token_bytes(config), 2) if value is None else (config.cached_numbers * value, value)
    return 2 * own + config.dim * size if config.arrangement == "encoder-decoder" else own

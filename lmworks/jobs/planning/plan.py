"""A plan: the five ways to use a network, each with its memory, its work and its time on the devices asked for.

plan = make_plan(read_subject("quick"), find_device("8x H100"))
plan.ways[2].memory.peak, plan.ways[2].fits
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.methods.qlora import QLoRAConfig
from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning.adapting import adapted_memory, trained_by
from lmworks.jobs.planning.devices import Devices
from lmworks.jobs.planning.flops import Flops, decoding_flops, forward_flops, training_flops
from lmworks.jobs.planning.heap import in_a_process
from lmworks.jobs.planning.memory import (
    DeviceMemory,
    Formats,
    added_up,
    cache_bytes,
    serving_memory,
    training_memory,
    weight_bytes,
)
from lmworks.jobs.planning.parameters import Parameters, count_parameters
from lmworks.jobs.planning.reading import PlannedRun
from lmworks.jobs.planning.running import ComputePath, Running, path_of, running
from lmworks.jobs.planning.timing import rates, step_seconds
from lmworks.jobs.planning.workload import row_of
from lmworks.jobs.training_recipe import TOKENS_A_PARAMETER
from lmworks.models.config import ModelConfig
from lmworks.models.hearing.config import hears
from lmworks.models.precision import dtype_of, fast_dtype
from lmworks.models.vision.config import reads_images
from lmworks.objectives.declaration import FullRow
from lmworks.training.by_hand.eight_bits import choose_products
from lmworks.training.settings import TrainingConfig

if TYPE_CHECKING:
    import torch

ON_A_CPU = (
    "Memory is that of the process while it trains or reads, with the holes that glibc's heap had in measured runs: "
    "within a tenth of those. What comes before and after training is not counted: the text, a model's file while it "
    "is read, and in measuring and answering a packed copy of bfloat16 weights. "
)
ON_A_GPU = "Memory is that of tensors; the driver and what PyTorch's allocator keeps come on top. "
HOW = {
    "timed": "Times are those of a smaller network of the same shape just now, by operations and bytes; what else runs "
    "here counts.",
    "assumed": "Times are estimates, from the share of the device's speed that is expected.",
    "timed and assumed": "Times marked timed are those of a smaller network of the same shape just now, by operations "
    "and bytes; the others are estimates, from the share of the device's speed that is expected.",
}

EXPERTS = (
    "Operations are those of the experts that a token is sent to. Activations are estimated as those of a dense "
    "feed-forward that is as wide as they are together; how the experts share the tokens was not planned."
)


FULL_ROWS = (
    "Rows are planned as full, with as many tokens as training.context says on every side; shorter texts take less."
)
AS_ON_A_CPU = (
    "Activations are estimated: those that a CPU would keep, in values of this type, without what dropout keeps."
)
ADDED_UP = ("full", "lora")
"""Methods of build that every plan shows; if the recipe names another, it is shown beside them."""


@dataclass(frozen=True)
class Way:
    """One way to use the network."""

    name: str
    trained: int
    """Parameters that change."""
    memory: DeviceMemory
    """Of each device."""
    fits: bool | None
    """None where the device's memory is not known."""
    flops: Flops
    """Of a step; in serving, of reading a prompt of the full length."""
    seconds: float
    """The same in time."""
    tokens_per_second: float
    """Trained on by all devices; in serving, written in one answer at most, or read by an encoder."""
    timed: bool
    """Were a few blocks timed on this machine, or is a share of the device's speed assumed?"""
    run_tokens: int | None
    """Of the whole run; None where the recipe leaves it to the text."""

    @property
    def run_seconds(self) -> float | None:
        """Of the whole run."""
        return None if self.run_tokens is None else self.run_tokens / self.tokens_per_second


@dataclass(frozen=True)
class Plan:
    """What a subject needs on some devices."""

    subject: PlannedRun
    devices: Devices
    dtype: str
    rows: int
    """Rows at once on each device."""
    parameters: Parameters
    ways: list[Way]
    running: Running | None = None
    """How it will run on this machine; None for other devices, and where it could not be timed."""

    @property
    def besides(self) -> list[str]:
        """What is to be known beside the figures."""
        timed = {way.timed for way in self.ways}
        how = HOW["timed and assumed" if len(timed) == 2 else "timed" if timed == {True} else "assumed"]
        notes = [EXPERTS] if self.subject.model.experts is not None else []
        if not row_of(self.subject.objective, self.subject.training.context).packed:
            notes.append(FULL_ROWS)
        if self.devices.device.name != "cpu" and not added_up(self.subject.model):
            notes.append(AS_ON_A_CPU)
        on = ON_A_CPU if self.devices.device.name == "cpu" else ON_A_GPU
        return [*self.subject.notes, *notes, on + how]

    def to_json(self) -> dict[str, Any]:
        """The same facts as the tables."""
        device = self.devices.device
        return {
            "name": self.subject.name,
            "besides": " ".join(self.besides),
            "model": self.subject.model.model_dump(mode="json"),
            "dtype": self.dtype,
            "rows": self.rows,
            "context": self.subject.training.context,
            "device": {**dataclasses.asdict(device), "count": self.devices.count},
            "parameters": self.parameters.by_part(),
            "ways": [
                {
                    "name": way.name,
                    "trained": way.trained,
                    "peak_bytes": way.memory.peak,
                    "moment": way.memory.moment,
                    "fits": way.fits,
                    "bytes": way.memory.sizes,
                    "bytes_at_peak": way.memory.at_peak,
                    "flops": {**dataclasses.asdict(way.flops), "all": way.flops.all},
                    "seconds": way.seconds,
                    "tokens_per_second": way.tokens_per_second,
                    "timed": way.timed,
                    "run_tokens": way.run_tokens,
                    "run_seconds": way.run_seconds,
                }
                for way in self.ways
            ],
            "running": None if self.running is None else dataclasses.asdict(self.running),
            "cache_bytes_per_token": cache_bytes(self.subject.model, 4 if self.dtype == "float32" else 2),
        }


def make_plan(subject: PlannedRun, devices: Devices) -> Plan:
    """Plan every way. Several devices share each step: its micro-batches first, then the rows of one; weights,
    gradients and moments are divided among them.

    ConfigError for adapters on projections that the model does not have.
    """
    _must_be_known(subject)
    cuda = devices.device.name != "cpu"
    dtype = dtype_of(subject.dtype) or fast_dtype() if not cuda else dtype_of(subject.dtype or "bfloat16")
    name = str(dtype).removeprefix("torch.")
    training = subject.training
    rows = min(training.rows, math.ceil(training.rows * training.accumulate / devices.count))
    each = training.but(rows=rows, accumulate=math.ceil(training.accumulate * training.rows / (rows * devices.count)))
    lora = subject.lora
    try:
        parameters = count_parameters(subject.model, lora)
    except ConfigError as error:
        raise error.inside(("lora",)) from None
    others = [] if subject.chosen is None or _is_added_up(subject.chosen) else [subject.chosen]
    qlora = Chosen(METHODS["qlora"], QLoRAConfig(**lora.model_dump()))
    methods = (None, Chosen(METHODS["lora"], lora), qlora, *others)
    each_way = [_with_products(each, subject.model, None if cuda else dtype, one) for one in methods]
    whole, adapters, few_bits, *rest = (
        None
        if cuda
        else step_seconds(
            subject.model, training.but(frozen_products=way.frozen_products), name, one, subject.objective
        )
        for way, one in zip(each_way, methods, strict=True)
    )
    path = None if cuda else path_of(subject, name)
    found = None if path is None else rates(subject.model, name, path.bits)
    runs = None if path is None or found is None else running(subject.model, path, found, devices.device)
    ways = [
        _trained("from nothing", subject, devices, each, Formats.of(name), None, whole),
        _trained("full fine-tuning", subject, devices, each, Formats.of(name), None, whole),
        _trained("LoRA", subject, devices, each_way[1], Formats.of(name, adapters=True), lora, adapters),
        _trained(
            "QLoRA", subject, devices, each_way[2], Formats.of(name, adapters=True, quantised=True), lora, few_bits
        ),
        *(
            _adapted(one, subject, devices, way, name, timed)
            for one, way, timed in zip(others, each_way[3:], rest, strict=True)
        ),
        _served(subject, devices, Formats.of(name), path, runs),
    ]
    return Plan(subject, devices, name, rows, parameters, ways, runs)


def _with_products(
    training: TrainingConfig, config: ModelConfig, dtype: torch.dtype | None, chosen: Chosen | None
) -> TrainingConfig:
    """The settings of one way to train, with what is left to the processor decided; `dtype` None for a GPU."""
    if dtype is None or chosen is None or chosen.method.adapter is None:
        return training.but(frozen_products="exact")
    compares, few_bits = bool(_kept_by(chosen)), chosen.method.few_bits
    return choose_products(training, config, dtype, adapter=True, compares=compares, few_bits=few_bits)


def _must_be_known(subject: PlannedRun) -> None:
    """ConfigError for a network that is not counted."""
    config = subject.model
    if reads_images(config) or hears(config):
        what = "images" if reads_images(config) else "sound"
        raise ConfigError(f"{subject.name} reads {what}, and plans count networks that read text")
    if not isinstance(config, ModelConfig):
        raise ConfigError(
            f"{subject.name} is a recurrent network, and plans count transformers; train it for a few steps to see "
            "what it takes (lmworks train ... --set training.steps=5)"
        )
    if config.experts is not None and not added_up(config):
        raise ConfigError(
            f"{subject.name} has experts in {config.arrangement} blocks that plans do not count: experts are counted "
            "in decoders of pre-norm blocks, one part after the other; leave out model.experts to see the dense network"
        )


def _is_added_up(chosen: Chosen) -> bool:
    """Is there a way among those of every plan that is this one? What keeps old skills may take memory of its own."""
    return chosen.method.name in ADDED_UP and not _kept_by(chosen)


def _kept_by(chosen: Chosen) -> str:
    return "" if chosen.retention is None or chosen.retention.name == "nothing" else f", {chosen.retention.name}"


def _trained(
    name: str,
    subject: PlannedRun,
    devices: Devices,
    each: TrainingConfig,
    formats: Formats,
    lora: LoRAConfig | None,
    timed: float | None,
) -> Way:
    """`timed` are the seconds of a step on one device, where they could be had."""
    config, cuda = subject.model, devices.device.name != "cpu"
    parameters = count_parameters(config, lora)
    memory = training_memory(
        config, each, formats, lora=lora, cuda=cuda, devices=devices.count, objective=subject.objective
    )
    trained = parameters.base if lora is None else parameters.adapters
    return _way(name, subject, devices, memory, parameters, trained, timed, frozen=lora is not None)


def _adapted(
    chosen: Chosen, subject: PlannedRun, devices: Devices, each: TrainingConfig, dtype: str, timed: float | None
) -> Way:
    """A method of build that has no way of its own above."""
    config, cuda = subject.model, devices.device.name != "cpu"
    memory = adapted_memory(config, each, dtype, chosen, cuda=cuda, devices=devices.count, objective=subject.objective)
    trained = trained_by(config, chosen)
    parameters, name = count_parameters(config), f"{chosen.method.name}{_kept_by(chosen)}"
    return _way(name, subject, devices, memory, parameters, trained, timed, frozen=trained < parameters.base)


def _way(
    name: str,
    subject: PlannedRun,
    devices: Devices,
    memory: DeviceMemory,
    parameters: Parameters,
    trained: int,
    timed: float | None,
    frozen: bool,
) -> Way:
    """Work and time of a way to train that takes this memory; `frozen` is a base whose weights need no gradient."""
    training = subject.training
    memory = memory if devices.device.name != "cpu" else in_a_process(memory)
    row = row_of(subject.objective, training.context)
    one = training_flops(
        subject.model,
        parameters,
        training.context,
        frozen=frozen,
        recompute=training.recompute,
        row=row,
    )
    sequences = training.rows * training.accumulate
    step = Flops(*(sequences * value for value in dataclasses.astuple(one)))
    # Fewer sequences than devices leave some of them idle.
    busy = min(devices.count, sequences)
    seconds = (step.all / (devices.device.flops * devices.device.utilisation) if timed is None else timed) / busy
    tokens = sequences * training.context
    run = training.steps * tokens if training.steps is not None else None
    if run is None and training.max_seconds is not None:
        run = round(training.max_seconds * tokens / seconds)
    if run is None and name == "from nothing" and row.packed:
        run = TOKENS_A_PARAMETER * parameters.base
    return Way(name, trained, memory, _fits(memory, devices), step, seconds, tokens / seconds, timed is not None, run)


def _served(
    subject: PlannedRun, devices: Devices, formats: Formats, path: ComputePath | None, runs: Running | None
) -> Way:
    """One request over the model's whole context, on the path that will run it on this machine.

    What is not timed is as fast as the devices multiply, and never faster than they read weights and cache.
    """
    config, device = subject.model, devices.device
    parameters = count_parameters(config)
    cuda = device.name != "cpu"
    packed = path.weights if path is not None and path.bits is not None else None
    memory = serving_memory(config, formats, 1, config.context, cuda=cuda, devices=devices.count, packed=packed)
    memory = memory if cuda else in_a_process(memory)
    context, writes = config.context, config.arrangement != "encoder"
    if config.arrangement == "encoder-decoder":
        prompt = forward_flops(config, parameters, context, FullRow(1, context, 1))
    else:
        prompt = forward_flops(
            config, parameters, context, FullRow(context, 0, int(writes))
        )  # its last token alone is judged
    read = (
        weight_bytes(parameters, formats)
        - parameters.idle * formats.weights
        - (0 if config.tied else parameters.embedding * formats.weights)
    )
    read += config.context / 2 * cache_bytes(config, formats.weights)
    written = decoding_flops(config, parameters, config.context // 2 or 1).all
    token = max(read / device.bandwidth, written / device.flops) / devices.count
    seconds = prompt.all / (devices.count * device.flops * device.utilisation)
    if runs is not None:
        seconds, token = runs.prompt / devices.count, 1 / (runs.generate or 1) / devices.count
    if not writes:
        token = seconds / context
    return Way("serving", 0, memory, _fits(memory, devices), prompt, seconds, 1 / token, runs is not None, None)


def _fits(memory: DeviceMemory, devices: Devices) -> bool | None:
    return None if devices.device.memory is None else memory.peak <= devices.device.memory
